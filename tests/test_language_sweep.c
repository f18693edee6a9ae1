/* A sweep of a language model: its runs share the tokens of the texts and the stores, and may be
 * interrupted anywhere. */
#include "language_folder.h"

#include "distill/trainer.h"
#include "run_cli.h"
#include "sweep_results.h"

static const char SWEEP[] =
    "{\"base\": \"tiny.json\", \"name\": \"kinds\", \"seeds\": [1, 2],\n \"variants\": [\n"
    "{\"name\": \"labels\", \"set\": {\"loss\": {\"kl\": 0, \"hard\": 1}}},\n"
    "{\"name\": \"hidden\", \"set\": {\"teacher.targets\": {\"kind\": \"hidden\"}}},\n"
    "{\"name\": \"reverse\", \"set\": {\"teacher.targets\": {\"kind\": \"hidden\"},"
    " \"loss.divergence\": \"reverse_kl\"}},\n"
    "{\"name\": \"draws\", \"set\": {\"teacher.targets\": {\"kind\": \"sampled\"}}}]}";

static int sweep(test_folder *folder, const char *runs, const char *option) {
    char file[KD_PATH_MAX], where[KD_PATH_MAX];
    snprintf(file, sizeof file, "%s", test_path(folder, "kinds.json"));
    snprintf(where, sizeof where, "%s", test_path(folder, runs));
    test_write(file, SWEEP, strlen(SWEEP));
    return DISTILL("sweep", file, "--runs", where, option);
}

/* Tokens of three lists, two of which are the same; hidden states once, draws for each seed. */
static void check_shared(test_folder *folder) {
    assert_int_equal(count_of(folder, "runs/kinds", "text-"), 2);
    assert_int_equal(count_of(folder, "runs/kinds", "store-"), 3);
    assert_int_equal(count_of(folder, "runs/kinds/draws-s2", "text-"), 0);
    assert_int_equal(count_of(folder, "runs/kinds/draws-s2", "store"), 0);
    assert_int_equal(count_of(folder, "runs/kinds/draws-s2", "student.gguf"), 1);
}

/* The figures are those of the runs' reports, means over the seeds. */
static void check_rows(test_folder *folder, const kd_json *json) {
    static const char *const label[] = {"labels", "hidden", "reverse", "draws"};
    const cJSON *rows = kd_json_get(kd_json_root(json), "rows");
    const char *const metric[] = {"perplexity", "kl_to_teacher"};
    assert_int_equal(cJSON_GetArraySize(rows), 6); /* and the teacher, the student before */
    for (int v = 0; v < 4; v++) {
        const cJSON *row = cJSON_GetArrayItem(rows, 2 + v);
        double sum[2] = {0};
        assert_string_equal(kd_json_get(row, "label")->valuestring, label[v]);
        for (int s = 1; s <= 2; s++) {
            char path[64];
            snprintf(path, sizeof path, "runs/kinds/%s-s%d/report.json", label[v], s);
            kd_json *report = results(folder, path);
            for (int m = 0; m < 2; m++) sum[m] += number(student_of(report), metric[m]);
            kd_json_free(report);
        }
        for (int m = 0; m < 2; m++) {
            const cJSON *figure = kd_json_get(row, metric[m]);
            assert_true(number(figure, "n") == 2);
            assert_true(fabs(number(figure, "mean") - sum[m] / 2) < 1e-5 * sum[m]);
        }
        assert_true(number(kd_json_get(row, "validation"), "n") == 2);
    }
}

static void runs_share_what_they_need(void **state) {
    test_folder *folder = *state;
    if (sweep(folder, "runs", "--dry-run") != 0) fail_msg("%s", complained);
    assert_says(printed, "what its like need, too");
    assert_says(printed, "draws-s2");
    assert_int_equal(count_of(folder, "runs", ""), -1);
    if (sweep(folder, "runs", NULL) != 0) fail_msg("%s", complained);
    assert_says(printed, "perplexity");
    assert_says(printed, "gap closed");
    assert_null(strstr(printed, "next token")); /* no table of a run */
    check_shared(folder);
    kd_json *json = results(folder, "runs/kinds/sweep.json");
    check_rows(folder, json);

    /* Once more: everything is there; and without the summary it is made anew from the runs. */
    assert_int_equal(remove(test_path(folder, "runs/kinds/sweep.json")), 0);
    if (sweep(folder, "runs", NULL) != 0) fail_msg("%s", complained);
    kd_json *again = results(folder, "runs/kinds/sweep.json");
    assert_same_rows(json, again);
    kd_json_free(again);
    if (sweep(folder, "runs", NULL) != 0) fail_msg("%s", complained);
    assert_says(complained, "sweep: 8 of 8 runs are finished");
    kd_json_free(json);
}

static void an_interrupted_sweep_goes_on(void **state) {
    test_folder *folder = *state;
    enum { STOPS = 5 };
    int code, stops = -1;
    if (sweep(folder, "whole", NULL) != 0) fail_msg("%s", complained);
    do {
        if (++stops < STOPS) kd_train_request_stop();
        code = sweep(folder, "parts", NULL);
        if (code != 0 && code != -KD_EAGAIN) fail_msg("%s", complained);
    } while (code != 0);
    assert_int_equal(stops, STOPS);
    kd_json *whole = results(folder, "whole/kinds/sweep.json");
    kd_json *parts = results(folder, "parts/kinds/sweep.json");
    const cJSON *rows = kd_json_get(kd_json_root(parts), "rows");
    for (int i = 2; i < 6; i++) { /* but for speeds, the same */
        const cJSON *a = cJSON_GetArrayItem(kd_json_get(kd_json_root(whole), "rows"), i);
        const cJSON *b = cJSON_GetArrayItem(rows, i);
        assert_true(number(kd_json_get(a, "perplexity"), "mean") ==
                    number(kd_json_get(b, "perplexity"), "mean"));
    }
    kd_json_free(whole);
    kd_json_free(parts);
}

/* Other texts of a run that is there are refused before any run begins; without texts to be
 * compared on, too. */
static void others_are_refused(void **state) {
    static const char untested[] = "{\"base\": \"tiny.json\", \"variants\": [{\"name\": \"a\", "
                                   "\"set\": {\"data.test\": null}}]}";
    test_folder *folder = *state;
    char file[KD_PATH_MAX], where[KD_PATH_MAX];
    snprintf(file, sizeof file, "%s", test_path(folder, "other.json"));
    snprintf(where, sizeof where, "%s", test_path(folder, "other"));
    test_write(file, untested, strlen(untested));
    assert_int_equal(DISTILL("sweep", file, "--runs", where), -KD_ECONFIG);
    assert_says(complained, "data.test names no texts");
    assert_int_equal(count_of(folder, "other", ""), -1);
    if (sweep(folder, "runs", NULL) != 0) fail_msg("%s", complained);
    test_write(test_path(folder, "b.txt"), "something else", 14);
    assert_int_equal(sweep(folder, "runs", NULL), -KD_EDATA);
    assert_says(complained, "contexts.train");
    assert_int_equal(count_of(folder, "runs/kinds", "text-"), 2);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)
    const struct CMUnitTest tests[] = {TEST(runs_share_what_they_need),
                                       TEST(an_interrupted_sweep_goes_on),
                                       TEST(others_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
