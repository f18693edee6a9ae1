/* What was measured, by the names of metrics that no task has: a regression over sites. */
#include "test_data.h"

#include <math.h>

#include "asserts.h"
#include "base/json.h"
#include "report/measured.h"

enum { R2, ERROR, OUTLIERS, SEEN, METRICS, SITES = 3 };
static const kd_metric METRIC[METRICS] = {
    [R2] = {.name = "r2", .title = "R²", .higher_is_better = true, .has_interval = true},
    [ERROR] = {.name = "error", .title = "mean error", .unit = KD_UNIT_TIME},
    [OUTLIERS] = {.name = "outliers", .unit = KD_UNIT_COUNT},
    [SEEN] = {.name = "seen", .unit = KD_UNIT_SHARE}};

static void fill(kd_measured_table *table, const char *name, const char *kind, double r2,
                 const double site[SITES]) {
    kd_measured *m = kd_measured_add(table, name, kind, "train");
    m->value[R2] = (kd_estimate){r2, r2 - 0.1, r2 + 0.05, 40};
    m->value[OUTLIERS] = kd_estimate_plain(12, 40);
    for (int g = 0; g < SITES; g++) {
        *kd_measured_group(table, m, g, R2) = kd_estimate_plain(site[g], 10 + g);
        *kd_measured_group(table, m, g, OUTLIERS) = kd_estimate_plain(3 + g, 10 + g);
    }
}

static void make(kd_measured_table *table, const kd_metric *metric) {
    static const char *const name[SITES] = {"north", "east \"x\"", "south"};
    assert_ok(kd_measured_create(table, 2, METRICS, metric, SITES));
    table->unit = "rows";
    table->group = "site";
    table->groups = "sites";
    for (int g = 0; g < SITES; g++) table->group_name[g] = name[g];
    fill(table, "teacher", "teacher", 0.9, (double[]){0.8, 0.95, NAN});
    fill(table, "student", "student", 0.75, (double[]){0.7, 0.5, NAN});
}

static void the_worst_group_follows_the_metric(void **state) {
    (void)state;
    kd_measured_table table;
    make(&table, METRIC);
    const kd_measured *teacher = kd_measured_teacher(&table), *student = &table.model[1];
    assert_ptr_equal(teacher, &table.model[0]);
    assert_ptr_equal(kd_measured_of(&table, "student"), student);
    assert_null(kd_measured_of(&table, "blob"));
    assert_int_equal(kd_measured_worst(&table, student, teacher), 1); /* lost 0.45 */
    assert_int_equal(kd_measured_worst(&table, teacher, teacher), 0); /* its least */
    kd_metric less[METRICS];
    memcpy(less, METRIC, sizeof less);
    less[R2].higher_is_better = false;
    table.metric = less;
    assert_int_equal(kd_measured_worst(&table, student, teacher), 0); /* won least */
    assert_int_equal(kd_measured_worst(&table, teacher, NULL), 1);    /* its most */
    kd_measured_clear(&table);
}

static void text_has_what_was_measured(void **state) {
    (void)state;
    kd_measured_table table;
    kd_text text = {0};
    make(&table, METRIC);
    kd_measured_add_text(&text, &table);
    assert_ok(kd_text_finish(&text, "a table"));
    assert_string_equal(
        text.text,
        "model         R²     95 % interval   site that lost most against the teacher\n"
        "teacher   0.9000   0.8000 … 0.9500   north 0.8000\n"
        "student   0.7500   0.6500 … 0.8000   east \"x\" 0.5000 (−0.4500)\n"
        "\n"
        "site       rows       teacher         student\n"
        "north        10   0.8000  (3)     0.7000  (3)\n"
        "east \"x\"     11   0.9500  (4)     0.5000  (4) ▼\n"
        "south        12             –               –\n"
        "all          40   0.9000 (12)     0.7500 (12)\n"
        "R² (outliers); ▼ lost most against the teacher\n");
    free(text.text);
    kd_measured_clear(&table);
}

static void json_says_the_same(void **state) {
    (void)state;
    kd_measured_table table;
    kd_text text = {0};
    kd_json *json;
    make(&table, METRIC);
    kd_text_add(&text, "{");
    kd_measured_add_json(&text, &table);
    kd_text_add(&text, "}");
    assert_ok(kd_text_finish(&text, "JSON"));
    assert_ok(kd_json_parse(&json, text.text, text.length, "j"));
    const cJSON *metrics = kd_json_get(kd_json_root(json), "metrics");
    assert_int_equal(cJSON_GetArraySize(metrics), METRICS);
    assert_string_equal(kd_json_get(metrics->child, "name")->valuestring, "r2");
    assert_true(cJSON_IsTrue(kd_json_get(metrics->child, "higher_is_better")));
    assert_true(cJSON_IsFalse(kd_json_get(metrics->child->next, "higher_is_better")));
    const cJSON *student = cJSON_GetArrayItem(kd_json_get(kd_json_root(json), "models"), 1);
    assert_string_equal(kd_json_get(student, "stage")->valuestring, "train");
    assert_true(kd_json_get(student, "r2")->valuedouble == 0.75);
    assert_true(kd_json_get(student, "r2_interval")->child->valuedouble == 0.65);
    assert_true(kd_json_get(student, "outliers")->valuedouble == 12);
    assert_true(cJSON_IsNull(kd_json_get(student, "error"))); /* of the table, not measured */
    assert_null(kd_json_get(student, "seen"));                /* of files only              */
    const cJSON *worst = kd_json_get(student, "worst_site");
    assert_string_equal(kd_json_get(worst, "name")->valuestring, "east \"x\"");
    assert_true(kd_json_get(worst, "teacher_r2")->valuedouble == 0.95);
    const cJSON *sites = kd_json_get(student, "sites");
    assert_int_equal(cJSON_GetArraySize(sites), SITES);
    assert_true(kd_json_get(sites->child, "r2")->valuedouble == 0.7);
    assert_true(cJSON_IsNull(kd_json_get(cJSON_GetArrayItem(sites, 2), "r2")));
    free(text.text);
    kd_json_free(json);
    kd_measured_clear(&table);
}

static void assert_text(const kd_metric *metric, double value, const char *expected) {
    char text[64];
    kd_metric_text(text, sizeof text, metric, value);
    assert_string_equal(text, expected);
}

static void values_are_written_for_people(void **state) {
    (void)state;
    char text[64];
    static const kd_metric share = {.name = "a", .unit = KD_UNIT_SHARE},
                           count = {.name = "b", .unit = KD_UNIT_COUNT},
                           bytes = {.name = "c", .unit = KD_UNIT_BYTES};
    assert_text(&share, 0.12345, "12.35 %");
    assert_text(&count, 58142, "58,142");
    assert_text(&bytes, 4100000, "4.1 MB");
    assert_text(&METRIC[R2], -0.25, "-0.2500");
    assert_text(&METRIC[ERROR], 0.0625, "0.062");
    assert_text(&share, NAN, "–");
    kd_estimate e = {0.5, 0.25, INFINITY, 4};
    kd_metric_interval_text(text, sizeof text, &share, &e);
    assert_string_equal(text, "at least 25.00");
    e.high = 0.625;
    kd_metric_interval_text(text, sizeof text, &share, &e);
    assert_string_equal(text, "25.00 … 62.50");
    e.low = NAN;
    kd_metric_interval_text(text, sizeof text, &share, &e);
    assert_string_equal(text, "");
    assert_int_equal(kd_metric_find(METRIC, METRICS, "outliers"), OUTLIERS);
    assert_int_equal(kd_metric_find(METRIC, METRICS, "r"), -1);
    assert_true(kd_metric_is_better(&METRIC[R2], 0.5, 0.4));
    assert_true(kd_metric_is_better(&METRIC[ERROR], 0.4, 0.5));
    assert_false(kd_metric_is_better(&METRIC[R2], 0.5, 0.5));
    assert_true(kd_metric_is_better(&METRIC[R2], -1, NAN));
    assert_false(kd_metric_is_better(&METRIC[ERROR], NAN, 1));
    assert_false(kd_metric_is_better(&METRIC[ERROR], NAN, NAN));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_worst_group_follows_the_metric),
                                       cmocka_unit_test(text_has_what_was_measured),
                                       cmocka_unit_test(json_says_the_same),
                                       cmocka_unit_test(values_are_written_for_people)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
