/* Size against quality: which models are marked, what the table and the drawing have; distances
 * from the float student by their definition. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "asserts.h"
#include "distill/fidelity.h"

enum { QUALITY, BYTES, SPEED, FIDELITY, METRICS = FIDELITY + KD_FIDELITY_METRICS };
static const kd_metric METRIC[METRICS] = {
    [QUALITY] = {.name = "accuracy",
                 .title = "accuracy",
                 .unit = KD_UNIT_SHARE,
                 .higher_is_better = true,
                 .has_interval = true,
                 .most = 1},
    [BYTES] = {.name = "bytes", .title = "size", .unit = KD_UNIT_BYTES},
    [SPEED] = {.name = "ms", .title = "ms/sample", .unit = KD_UNIT_TIME},
    KD_FIDELITY_ROWS(FIDELITY),
};
/* The same where less is better. */
static kd_metric lower[METRICS];

static void add(kd_measured_table *t, const char *name, const char *kind, double quality,
                double bytes) {
    kd_estimate *value = kd_measured_add(t, name, kind, "")->value;
    value[QUALITY] = (kd_estimate){quality, quality - 0.01, quality + 0.01, 100};
    value[BYTES].value = bytes;
}

static void make_table(kd_measured_table *t, const kd_metric *metric, double sign) {
    assert_ok(kd_measured_create(t, 6, METRICS, metric, 0));
    t->speed = "ms";
    add(t, "teacher", "teacher", sign > 0 ? 0.9 : 0.1, 4e6);
    add(t, "student", "student", sign > 0 ? 0.85 : 0.15, 2e6);
    add(t, "wasteful", "ptq", sign > 0 ? 0.84 : 0.16, 2e6);
    add(t, "small", "ptq", sign > 0 ? 0.8 : 0.2, 1e6);
    add(t, "beaten", "ptq", sign > 0 ? 0.79 : 0.21, 1.5e6);
    add(t, "initial", "initial", sign > 0 ? 0.95 : 0.05, NAN); /* no file */
}

static void check_marks(const kd_metric *metric, double sign) {
    static const bool marked[] = {true, true, false, true, false, false};
    kd_measured_table t;
    make_table(&t, metric, sign);
    kd_text text = {0};
    kd_compression_add_text(&text, &t);
    assert_ok(kd_text_finish(&text, "a table"));
    for (int i = 0; i < t.count; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s ◆", t.model[i].name);
        assert_int_equal(strstr(text.text, name) != NULL, marked[i]);
    }
    assert_non_null(strstr(text.text, "4.0×")); /* of the smallest */
    free(text.text);
    kd_measured_clear(&t);
}

static void test_marks(void **state) {
    (void)state;
    memcpy(lower, METRIC, sizeof lower);
    lower[QUALITY].higher_is_better = false;
    check_marks(METRIC, 1);
    check_marks(lower, -1);
}

static void test_shown(void **state) {
    (void)state;
    kd_measured_table t;
    make_table(&t, METRIC, 1);
    assert_false(kd_compression_is_shown(&t));
    const kd_fidelity_summary summary = {0.1, 0.01, 0.2, 0.3, 0.4, 0.5, 0.9, 10};
    kd_fidelity_fill(&t.model[3].value[FIDELITY], &summary);
    assert_true(kd_compression_is_shown(&t));
    assert_true(t.model[3].value[FIDELITY + 5].value == 0.5);
    kd_text page = {0};
    kd_compression_add_html(&page, &t);
    assert_ok(kd_text_finish(&page, "a page"));
    assert_non_null(strstr(page.text, "0.01000")); /* the median */
    assert_non_null(strstr(page.text, "90.00 %"));
    int points = 0;
    for (const char *at = page.text; (at = strstr(at, " r=\"3\"")); at++) points++;
    assert_int_equal(points, 5); /* of all that are files */
    free(page.text);
    kd_measured_clear(&t);
}

/* p = (1/2, 1/4, 1/4) beside q = (1/4, 1/2, 1/4): KL = log 2 / 4. */
static void test_divergence(void **state) {
    (void)state;
    const float reference[6] = {logf(2), 0, 0, 1, 1, 1}, logits[6] = {0, logf(2), 0, 5, 5, 5};
    kd_fidelity f = {0};
    assert_ok(kd_fidelity_add_logits(&f, reference, logits, 2, 3));
    const kd_fidelity_summary s = kd_fidelity_summarise(&f);
    assert_int_equal(s.rows, 2);
    assert_true(fabs(s.most - log(2) / 4) < 1e-6 && fabs(s.mean - log(2) / 8) < 1e-6);
    assert_true(s.median == s.most && s.same == 0.5);
    kd_fidelity_clear(&f);
    assert_true(isnan(kd_fidelity_summarise(&f).mean));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_shown),
        cmocka_unit_test(test_divergence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
