/* --bias CLASSES=SHIFT: what is understood, what is refused, and what "auto" finds. */
#include "test_data.h"

#include <math.h>

#include "asserts.h"
#include "tasks/classify/bias_option.h"

enum { CLASSES = 80, COUNT = 60 };

static char names[CLASSES][KD_CLASS_NAME_MAX];
static int32_t labels[COUNT];

static kd_dataset make_dataset(int classes) {
    static const char *const first[] = {"cat", "dog", "a=b", "catalogue"};
    for (int i = 0; i < 4; i++) snprintf(names[i], sizeof names[i], "%s", first[i]);
    for (int i = 4; i < CLASSES; i++) snprintf(names[i], sizeof names[i], "class%d", i);
    return (kd_dataset){.count = COUNT, .classes = classes, .class_name = names, .label = labels};
}

#define PARSE(out, dataset, ...)                                                                   \
    kd_bias_options_parse(out, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),      \
                          (const char *const[]){__VA_ARGS__}, dataset)

static void options_are_understood(void **state) {
    (void)state;
    const kd_dataset d = make_dataset(CLASSES);
    kd_bias_options o;
    char text[64];
    assert_ok(PARSE(&o, &d, "cat=+3.5", "dog,catalogue=-7.6", "a=b=auto", "class79=0"));
    assert_int_equal(o.count, 4);
    assert_true(kd_bias_options_auto(&o));
    assert_int_equal(o.bias[0].count, 1);
    assert_int_equal(o.bias[0].label[0], 0);
    assert_true(fabs(o.bias[0].shift - 3.5) < 1e-12);
    assert_int_equal(o.bias[1].count, 2);
    assert_int_equal(o.bias[1].label[0], 1);
    assert_int_equal(o.bias[1].label[1], 3);
    assert_int_equal(o.bias[2].label[0], 2);
    assert_int_equal(o.bias[3].label[0], 79);
    for (int i = 0; i < 4; i++) assert_true(o.chosen[i] == (i == 2));
    o.bias[2].shift = 1.006;
    kd_bias_options_name(&o, &d, text, sizeof text);
    assert_string_equal(text, "bias cat +3.50, dog,catalogue −7.60, a=b +1.01, class79 +0.00");
    char all[24];
    kd_bias_options_name(&o, &d, all, sizeof all);
    assert_memory_equal(all, text, sizeof all - 1); /* as much as there is room for */
    assert_int_equal(all[sizeof all - 1], '\0');
    assert_ok(PARSE(&o, &d, "cat=1"));
    assert_false(kd_bias_options_auto(&o));
}

static void others_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {{"cat", "expected CLASS=SHIFT"},
                 {"cat=", "expected CLASS=SHIFT"},
                 {"cat=x", "expected CLASS=SHIFT"},
                 {"cat=1x", "expected CLASS=SHIFT"},
                 {"cat=inf", "expected CLASS=SHIFT"},
                 {"cat=nan", "expected CLASS=SHIFT"},
                 {"cat=automatic", "expected CLASS=SHIFT"},
                 {"cart=1", "there is no class 'cart'; did you mean 'cat'?"},
                 {"xyzzy=1", "there is no class 'xyzzy'; there are 'cat' … 'class79'"},
                 {"cat,dog,cat=1", "class 'cat' twice"},
                 {"cat,=1", "there is no class ''"},
                 {"=1", "there is no class ''"}};
    const kd_dataset d = make_dataset(CLASSES), few = make_dataset(3);
    kd_bias_options o;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(PARSE(&o, &d, cases[i].text), KD_EUSAGE, cases[i].says);
    /* Not all classes: that would shift nothing. */
    assert_ok(PARSE(&o, &few, "cat,dog=1"));
    assert_refused(PARSE(&o, &few, "cat,dog,a=b=1"), KD_EUSAGE, "at most 2 of 3");
    /* As many as there is room for. */
    char many[2048] = "";
    for (int i = 4; i < 4 + KD_BIAS_LABELS_MAX; i++)
        snprintf(many + strlen(many), 32, "class%d%s", i, i < 3 + KD_BIAS_LABELS_MAX ? "," : "=1");
    assert_ok(PARSE(&o, &d, many));
    assert_int_equal(o.bias[0].count, KD_BIAS_LABELS_MAX);
    strcpy(strchr(many, '='), ",cat=1");
    assert_refused(PARSE(&o, &d, many), KD_EUSAGE, "at most 64 of 80");
    const char *often[KD_BIAS_OPTIONS_MAX + 1];
    for (int i = 0; i <= KD_BIAS_OPTIONS_MAX; i++) often[i] = "cat=1";
    assert_ok(kd_bias_options_parse(&o, KD_BIAS_OPTIONS_MAX, often, &d));
    assert_int_equal(o.count, KD_BIAS_OPTIONS_MAX);
    assert_refused(kd_bias_options_parse(&o, KD_BIAS_OPTIONS_MAX + 1, often, &d), KD_EUSAGE,
                   "more than 16 times");
}

/* Class 1 is always 2.5 too low, class 2 as it should be once class 1 is mended. */
static void auto_finds_what_was_taken(void **state) {
    (void)state;
    enum { FEW = 3 };
    kd_dataset d = make_dataset(FEW);
    float logits[COUNT * FEW], before[COUNT * FEW];
    kd_bias_options o;
    kd_result result;
    for (int i = 0; i < COUNT; i++) {
        labels[i] = i % FEW;
        for (int v = 0; v < FEW; v++)
            logits[i * FEW + v] = (v == labels[i] ? 1 : 0) - (v == 1 ? 2.5f : 0);
    }
    memcpy(before, logits, sizeof logits);
    assert_ok(PARSE(&o, &d, "cat=0.25", "dog=auto"));
    assert_ok(kd_evaluate_logits(&result, &d, logits));
    assert_int_equal(result.correct, COUNT / 3 * 2);
    assert_ok(kd_bias_options_choose(&o, &result, &d, logits));
    assert_true(fabs(o.bias[0].shift - 0.25) < 1e-12);
    /* Right from where class 1 beats 1.25 − 1 on its own samples to where it loses to the others'.
     */
    assert_true(o.bias[1].shift > 1.75 && o.bias[1].shift < 3.25);
    for (int i = 0; i < COUNT * FEW; i++) {
        const double want = before[i] + (i % FEW == 0 ? 0.25 : i % FEW == 1 ? o.bias[1].shift : 0);
        assert_true(fabs(logits[i] - want) < 1e-5);
    }
    kd_result_free_counts(&result);
    assert_ok(kd_evaluate_logits(&result, &d, logits));
    assert_int_equal(result.correct, COUNT);
    kd_result_free_counts(&result);
    /* Nobody can choose for a class that is not there; a number needs no samples. */
    for (int i = 0; i < COUNT; i++) labels[i] = i % 2 * 2;
    assert_ok(kd_evaluate_logits(&result, &d, logits));
    assert_ok(PARSE(&o, &d, "dog=auto"));
    assert_refused(kd_bias_options_choose(&o, &result, &d, logits), KD_ECONFIG,
                   "none of the 60 validation samples is of class 'dog'");
    assert_ok(PARSE(&o, &d, "dog=1"));
    assert_ok(kd_bias_options_choose(&o, &result, &d, logits));
    kd_result_free_counts(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_understood),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(auto_finds_what_was_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
