/* A sweep of a speech recogniser: its runs share labels, what the encoder heard and the store, and
 * may be interrupted anywhere. */
#include "speech_folder.h"

#include "distill/trainer.h"
#include "run_cli.h"
#include "sweep_results.h"

static const char SWEEP[] =
    "{\"base\": \"tiny.json\", \"name\": \"rates\", \"seeds\": [1, 2],\n"
    " \"variants\": [{\"name\": \"fast\", \"set\": {\"data.test\": [\"few.tsv\"], "
    "\"train.epochs\": 2}},"
    "\n {\"name\": \"slow\", \"set\": {\"data.test\": [\"few.tsv\"], \"train.epochs\": 2,"
    " \"train.learning_rate\": 0.0005}}]}";

static int sweep(test_folder *folder, const char *runs, const char *option) {
    char file[KD_PATH_MAX], where[KD_PATH_MAX];
    test_copy(file, sizeof file, test_path(folder, "rates.json"));
    test_copy(where, sizeof where, test_path(folder, runs));
    test_write(file, SWEEP, strlen(SWEEP));
    write_list(folder, "few.tsv", TRAINING, 2); /* decoding what a random teacher says is slow */
    return DISTILL("sweep", file, "--runs", where, option);
}

static double statistic(const cJSON *row, const char *metric, const char *which) {
    return number(kd_json_get(row, metric), which);
}

static void runs_share_what_they_need(void **state) {
    test_folder *folder = *state;
    if (sweep(folder, "runs", "--dry-run") != 0) fail_msg("%s", complained);
    assert_says(printed, "what its like need, too");
    assert_says(printed, "slow-s2");
    assert_int_equal(count_of(folder, "runs", ""), -1);
    if (sweep(folder, "runs", NULL) != 0) fail_msg("%s", complained);
    assert_says(printed, "variant");
    assert_says(printed, "WER");
    assert_says(printed, "against the first: WER in points");
    assert_int_equal(count_of(folder, "runs/rates", "store-"), 1);
    assert_int_equal(count_of(folder, "runs/rates/labels", "train-"), 1);
    assert_int_equal(count_of(folder, "runs/rates/labels", "validation-"), 1);
    assert_int_equal(
        count_of(folder, "runs/rates", "fast-s") + count_of(folder, "runs/rates", "slow-s"), 4);
    assert_int_equal(count_of(folder, "runs/rates/slow-s2", "store"), 0);
    assert_int_equal(count_of(folder, "runs/rates/slow-s2", "labels"), 0);
    assert_int_equal(count_of(folder, "runs/rates/slow-s2", "student.bin"), 1);

    kd_json *json = results(folder, "runs/rates/sweep.json");
    const cJSON *rows = kd_json_get(kd_json_root(json), "rows");
    /* The teacher and the student before training once, then each variant's student. */
    assert_int_equal(cJSON_GetArraySize(rows), 4);
    const cJSON *fast = cJSON_GetArrayItem(rows, 2), *slow = cJSON_GetArrayItem(rows, 3);
    assert_string_equal(kd_json_get(fast, "label")->valuestring, "fast");
    assert_string_equal(kd_json_get(slow, "label")->valuestring, "slow");
    assert_true(statistic(fast, "wer", "n") == 2 && statistic(slow, "wer", "n") == 2);
    assert_true(statistic(fast, "validation", "mean") > statistic(slow, "validation", "mean"));
    assert_true(statistic(fast, "against_first", "mean") == 0);
    /* The figures are those of the runs' reports. */
    kd_json *report = results(folder, "runs/rates/slow-s2/report.json");
    const cJSON *student = student_of(report);
    const cJSON *run = cJSON_GetArrayItem(kd_json_get(kd_json_root(json), "runs"), 3);
    assert_string_equal(kd_json_get(run, "folder")->valuestring, "slow-s2");
    const cJSON *kept = cJSON_GetArrayItem(kd_json_get(run, "models"), 2);
    assert_true(kd_json_get(kept, "wer")->valuedouble == kd_json_get(student, "wer")->valuedouble);
    kd_json_free(report);

    /* Once more: everything is there; and without the summary it is made anew from the runs. */
    assert_int_equal(remove(test_path(folder, "runs/rates/sweep.json")), 0);
    if (sweep(folder, "runs", NULL) != 0) fail_msg("%s", complained);
    assert_says(complained, "already trained");
    kd_json *again = results(folder, "runs/rates/sweep.json");
    assert_same_rows(json, again);
    kd_json_free(again);
    if (sweep(folder, "runs", NULL) != 0) fail_msg("%s", complained);
    assert_says(complained, "sweep: 4 of 4 runs are finished");

    /* Stopped again and again, with what is shared in place: a stop while the encoder hears loses
     * what it has not written. */
    char command[6 * KD_PATH_MAX], from[KD_PATH_MAX], to[KD_PATH_MAX];
    test_copy(from, sizeof from, test_path(folder, "runs/rates"));
    test_copy(to, sizeof to, test_path(folder, "stopped/rates"));
    snprintf(command, sizeof command,
             "mkdir -p %s && cp -r %s/encoder_cache %s/labels %s/store-* %s", to, from, from, from,
             to);
    assert_int_equal(system(command), 0);
    enum { STOPS = 3 };
    int code, stops = -1;
    do {
        if (++stops < STOPS) kd_train_request_stop();
        code = sweep(folder, "stopped", NULL);
        if (code != 0 && code != -KD_EAGAIN) fail_msg("%s", complained);
    } while (code != 0);
    assert_int_equal(stops, STOPS);
    again = results(folder, "stopped/rates/sweep.json");
    assert_same_rows(json, again);
    kd_json_free(again);
    kd_json_free(json);
}

/* What cannot be compared, and configs of two kinds. */
static void others_are_refused(void **state) {
    test_folder *folder = *state;
    static const char untested[] =
        "{\"base\": \"tiny.json\", \"grid\": {\"train.learning_rate\": [0.1, 0.2]}}";
    static const char wrong[] = "{\"base\": \"tiny.json\", \"variants\": [{\"name\": \"a\", "
                                "\"set\": {\"train.epochss\": 2}}]}";
    static const char mixed[] =
        "{\"base\": \"tiny.json\", \"variants\": [{\"name\": \"a\", \"base\": \"digits.json\"}]}";
    static const char digits[] =
        "{\"data\": {\"kind\": \"idx\", \"folder\": \".\"}, \"train\": {\"epochs\": 1},"
        " \"model\": {\"type\": \"mlp\", \"hidden\": [4]}}";
    char file[KD_PATH_MAX], where[KD_PATH_MAX];
    test_copy(file, sizeof file, test_path(folder, "other.json"));
    test_copy(where, sizeof where, test_path(folder, "other"));
    test_write(file, untested, strlen(untested));
    assert_int_equal(DISTILL("sweep", file, "--runs", where), -KD_ECONFIG);
    assert_says(complained, "data.test names no recordings");
    test_write(file, wrong, strlen(wrong));
    assert_int_equal(DISTILL("sweep", file, "--runs", where), -KD_ECONFIG);
    assert_says(complained, "$.train.epochss: unknown key; did you mean \"epochs\"?");
    test_write(test_path(folder, "digits.json"), digits, strlen(digits));
    test_write(file, mixed, strlen(mixed));
    assert_int_equal(DISTILL("sweep", file, "--runs", where), -KD_ECONFIG);
    assert_says(complained, "\"a\" has a base of another kind");
    assert_int_equal(count_of(folder, "other", ""), -1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)
    const struct CMUnitTest tests[] = {TEST(runs_share_what_they_need), TEST(others_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
