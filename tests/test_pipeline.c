/* The program as its user runs it, on a small data set made here: every stage, the files it leaves,
 * the exit codes, and the same bits from another start and another thread count. */
#include <cjson/cJSON.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"
#include "distill/trainer.h"
#include "report/runlog.h"
#include "tiny_run.h"

#define TRAIN                                                                                      \
    " \"train\": {\"epochs\": 4, \"batch\": 32, \"optimizer\": \"adamw\", "                        \
    "\"learning_rate\": 0.01}"
#define CNN                                                                                        \
    " \"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 6, \"kernel\": 3}, "                  \
    "{\"max_pool\": 2}, {\"conv\": 8, \"kernel\": 3}, {\"avg_pool\": 2}]},\n"

static int setup(void **state) {
    (void)state;
    if (enter_folder() != 0) return -1;
    write_config("big", " \"model\": {\"type\": \"resnet\", \"depth\": 8, \"width\": 4},\n" TRAIN);
    write_config("wide", " \"model\": {\"type\": \"mlp\", \"hidden\": [24]},\n" TRAIN);
    write_config("small",
                 CNN " \"teacher\": {\"config\": \"big.json\", \"views\": 2},\n"
                     " \"loss\": {\"temperature\": 3, \"kl\": 0.8, \"hard\": 0.2},\n" TRAIN ",\n"
                     " \"quantize\": {\"calibration_samples\": 64, \"qat\": {\"epochs\": 1, "
                     "\"learning_rate\": 0.001}}, \"baseline\": true");
    write_config("hinted",
                 CNN " \"teacher\": {\"config\": \"big.json\"},\n"
                     " \"loss\": {\"hints\": [{\"kind\": \"cosine\", \"student\": \"conv0\", "
                     "\"teacher\": \"conv1\", \"weight\": 0.1}]},\n" TRAIN);
    write_config("topk",
                 CNN " \"teacher\": {\"ensemble\": [{\"config\": \"big.json\"}, "
                     "{\"config\": \"wide.json\"}], \"targets\": {\"kind\": \"topk\", \"k\": 2}},\n"
                     " \"loss\": {\"temperature\": 2},\n" TRAIN ",\n"
                     " \"quantize\": [{\"weight_bits\": 4, \"method\": \"lsq\", \"qat\": "
                     "{\"epochs\": 1, \"learning_rate\": 0.001, \"delay_steps\": 5}}, "
                     "{\"name\": \"eight\"}]");
    write_config("frugal", CNN TRAIN ",\n \"quantize\": [{\"format\": \"int8\"}, {\"budget\": "
                                     "{\"bits_per_weight\": 14, \"sensitivity\": \"measured\", "
                                     "\"samples\": 2}, \"qat\": {\"epochs\": 1}}]");
    return 0;
}

static cJSON *read_report(const char *path) {
    char *text;
    size_t length;
    assert_int_equal(kd_file_read(&text, &length, path, 1 << 20), KD_OK);
    cJSON *report = cJSON_Parse(text);
    free(text);
    assert_non_null(report);
    return report;
}

/* The model of `kind` in a report. */
static const cJSON *find_model(const cJSON *report, const char *kind) {
    const cJSON *model;
    cJSON_ArrayForEach(model, cJSON_GetObjectItem(report, "models")) {
        if (strcmp(cJSON_GetObjectItem(model, "kind")->valuestring, kind) == 0) return model;
    }
    fail_msg("the report has no model of kind %s", kind);
    return NULL;
}

static double number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItem(object, key);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static void whole_run(void **state) {
    (void)state;
    assert_int_equal(DISTILL("train", "small.json"), 0);
    cJSON *report = read_report("runs/small/report.json");
    static const char *const kinds[] = {"teacher", "student", "baseline", "ptq", "blob"};
    for (int i = 0; i < 5; i++) {
        const cJSON *model = find_model(report, kinds[i]);
        assert_true(number(model, "accuracy") > 0.8);
        assert_true(number(model, "bytes") > 0);
        assert_true(number(model, "ms_per_sample") > 0);
        assert_true(number(model, "parameters") > 0);
        assert_true(cJSON_HasObjectItem(cJSON_GetObjectItem(model, "worst_class"), "name"));
    }
    for (int i = 3; i < 5; i++) { /* the gate */
        assert_true(number(find_model(report, kinds[i]), "disagreements") == 0);
        assert_true(number(find_model(report, kinds[i]), "largest_difference") == 0);
    }
    assert_true(number(find_model(report, "blob"), "bytes") <
                number(find_model(report, "teacher"), "bytes"));
    cJSON_Delete(report);
    assert_true(kd_file_exists("runs/small/report.html"));
    assert_int_equal(DISTILL("eval", "small.json", "runs/small/student.int8.gguf"), 0);
    assert_int_equal(DISTILL("eval", "small.json", "runs/small/train.best.h5"), 0);
    assert_int_equal(DISTILL("verify", "runs/small/student.int8.gguf"), 0);
    assert_int_equal(DISTILL("inspect", "runs/small/student.int8.gguf"), 0);
    assert_int_equal(DISTILL("inspect", "runs/small/train.best.h5"), 0);
    assert_int_equal(DISTILL("inspect", "runs/small/store"), 0);
    assert_int_equal(DISTILL("inspect", "small.json"), 0);
    assert_int_equal(DISTILL("run", "runs/small/student.int8.gguf", "t10k-images-idx3-ubyte:3"), 0);
}

/* Of how many of the test samples of a class a model of a report is right. */
static double class_accuracy(const cJSON *report, const char *kind, int label) {
    const cJSON *classes = cJSON_GetObjectItem(find_model(report, kind), "classes");
    return number(cJSON_GetArrayItem(classes, label), "accuracy");
}

/* The teacher knows class c, the student's samples are all of others; its bias is corrected. */
static void a_missing_class_is_found(void **state) {
    (void)state;
    static const char *const model = "runs/lacking/train.best.h5";
    write_config("lacking",
                 CNN " \"teacher\": {\"config\": \"big.json\"},\n"
                     " \"loss\": {\"temperature\": 6, \"kl\": 1, \"hard\": 0},\n" TRAIN
                     ",\n \"quantize\": {\"qat\": {\"epochs\": 1}}, \"correct_bias\": [2]");
    assert_int_equal(DISTILL("train", "lacking.json", "--set", "data.exclude=[2]"), 0);
    cJSON *report = read_report("runs/lacking/report.json");
    assert_true(class_accuracy(report, "teacher", 2) > 0.8);
    assert_true(class_accuracy(report, "student", 2) < 0.1);
    static const char *const mended[] = {"corrected", "ptq", "blob"};
    for (int i = 0; i < 3; i++) assert_true(class_accuracy(report, mended[i], 2) > 0.3);
    assert_true(number(find_model(report, "corrected"), "bias_shift") > 1);
    assert_true(number(find_model(report, "blob"), "disagreements") == 0);
    cJSON_Delete(report);
    assert_int_equal(DISTILL("train", "lacking.json", "--set", "correct_bias=[0,1,2,3]"), 78);
    assert_int_equal(DISTILL("train", "lacking.json", "--set", "correct_bias=[2,2]"), 78);
    assert_int_equal(DISTILL("train", "lacking.json", "--set", "data.validation=0"), 78);
    assert_int_equal(DISTILL("eval", "lacking.json", model, "--bias", "c=auto"), 0);
    assert_int_equal(DISTILL("eval", "lacking.json", model, "--bias", "c=+2", "--bias", "a,b=-1"),
                     0);
    assert_int_equal(
        DISTILL("eval", "lacking.json", "runs/lacking/student.int8.gguf", "--bias=a=auto"), 0);
    static const char *const wrong[] = {"e=1",   "c",         "c=",          "=1",  "c=1x",
                                        "c,c=1", "a,b,c,d=1", "c=automatic", "c,=1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(DISTILL("eval", "lacking.json", model, "--bias", wrong[i]), 64);
    assert_int_equal(
        DISTILL("eval", "lacking.json", model, "--bias", "c=auto", "--set", "data.validation=0"),
        78);
    assert_int_equal(DISTILL("eval", "lacking.json", model, "--bias", "c=auto", "--set",
                             "data.validation=1", "--bias", "b=auto", "--bias", "a=auto"),
                     78); /* one sample cannot be of all of them */
}

static void assert_same_file(const char *a, const char *b) {
    char *x, *y;
    size_t x_length, y_length;
    assert_int_equal(kd_file_read(&x, &x_length, a, 1 << 24), KD_OK);
    assert_int_equal(kd_file_read(&y, &y_length, b, 1 << 24), KD_OK);
    assert_int_equal(x_length, y_length);
    assert_memory_equal(x, y, x_length);
    free(x);
    free(y);
}

static void same_bits_elsewhere(void **state) {
    (void)state;
    omp_set_num_threads(1);
    assert_int_equal(DISTILL("export", "small.json", "--runs", "other"), 0);
    omp_set_num_threads(2);
    assert_same_file("runs/small/student.int8.gguf", "other/small/student.int8.gguf");
}

/* Starts `distill train small.json` in a child, its output thrown away. */
static pid_t start_train(const char *runs) {
    pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stdout) && freopen("/dev/null", "w", stderr))
            execl("/proc/self/exe", "distill", "--as-distill", "train", "small.json", "--runs",
                  runs, "--set", "train.checkpoint_seconds=0", "--set",
                  "quantize.qat.checkpoint_seconds=0", (char *)NULL);
        _exit(70);
    }
    return child;
}

/* -9 at random moments of every stage: what the run ends with has the same bytes. */
static void kills_change_nothing(void **state) {
    (void)state;
    const char *asked = getenv("DISTILL_KILLS");
    int wanted = asked ? atoi(asked) : 10, kills = 0, rounds = 0, status;
    kd_rng rng = kd_rng_init((uint64_t)time(NULL), 1);
    double began = kd_clock();
    waitpid(start_train("whole"), &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    const uint64_t longest = (uint64_t)(1000 * (kd_clock() - began) / 3) + 1;
    while (kills < wanted) {
        assert_int_equal(system("rm -rf killed"), 0);
        do {
            pid_t child = start_train("killed");
            if (kills < wanted) { /* the last start may finish */
                long ms = 5 + (long)kd_rng_below(&rng, longest);
                struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
                nanosleep(&pause, NULL);
                kill(child, SIGKILL);
            }
            waitpid(child, &status, 0);
            kills += WIFSIGNALED(status);
            assert_false(WIFEXITED(status) && WEXITSTATUS(status) != 0);
        } while (status != 0);
        rounds++;
        assert_same_file("whole/small/student.int8.ptq.gguf", "killed/small/student.int8.ptq.gguf");
        assert_same_file("whole/small/student.int8.gguf", "killed/small/student.int8.gguf");
    }
    print_message("%d kills in %d runs, the same bytes each time\n", kills, rounds);
}

static void a_changed_config_is_refused(void **state) {
    (void)state;
    assert_int_equal(DISTILL("train", "small.json", "--set", "train.learning_rate=0.02"), 65);
    assert_int_equal(DISTILL("train", "small.json", "--set", "train.learning_rate=0.02", "--fresh"),
                     0);
}

/* The loss that the log and its curve show holds every term, hints too, each with its weight. */
static void logged_loss_holds(const char *path, double kl, double hard, double hint) {
    kd_runlog_curves log;
    assert_int_equal(kd_runlog_read(&log, path), KD_OK);
    assert_true(log.step_count > 0);
    for (int64_t i = 0; i < log.step_count; i++) {
        const kd_runlog_point *step = &log.step[i];
        const double loss = kd_runlog_value(&log, step, "loss");
        const double part[] = {kl * kd_runlog_value(&log, step, "kl"),
                               hard * kd_runlog_value(&log, step, "hard"),
                               hint * kd_runlog_value(&log, step, "hint")};
        assert_true(part[2] > 0);
        assert_true(fabs(loss - part[0] - part[1] - part[2]) < 1e-5 * loss);
    }
    kd_runlog_free(&log);
}

static void hints_train(void **state) {
    (void)state;
    assert_int_equal(DISTILL("train", "hinted.json"), 0);
    logged_loss_holds("runs/hinted/log.jsonl", 0.9, 0.1, 0.1);
    assert_int_equal(DISTILL("train", "hinted.json", "--set", "name=bad", "--set",
                             "loss.hints=[{\"kind\":\"mse\",\"student\":\"conv9\","
                             "\"teacher\":\"conv1\",\"weight\":1}]"),
                     78);
}

/* A store written by tools/teacher_store.py from arrays, as a teacher in PyTorch would have it. */
static void store_from_python_trains(void **state) {
    (void)state;
    char command[2 * KD_PATH_MAX];
    if (system("/usr/bin/python3 -c 'import h5py, numpy' 2>/dev/null") != 0) {
        print_message("SKIP python3-h5py and python3-numpy are not there\n");
        skip();
    }
    assert_int_equal(
        system("/usr/bin/python3 -c \"import numpy as n; "
               "l = n.fromfile('train-labels-idx1-ubyte', n.uint8)[8:].astype(n.int32); "
               "n.savez('rows.npz', id=n.arange(len(l), dtype=n.uint64), label=l, "
               "logits=6 * n.eye(4, dtype=n.float32)[l])\""),
        0);
    snprintf(command, sizeof command,
             "/usr/bin/python3 '%s/tools/teacher_store.py' write python-store --npz rows.npz",
             source_folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(DISTILL("inspect", "python-store"), 0);
    write_config("foreign", CNN " \"teacher\": {\"store\": \"python-store\"},\n"
                                " \"loss\": {\"temperature\": 2, \"kl\": 1, \"hard\": 0},\n" TRAIN);
    assert_int_equal(DISTILL("train", "foreign.json"), 0);
    cJSON *report = read_report("runs/foreign/report.json");
    assert_true(number(find_model(report, "student"), "accuracy") > 0.8);
    cJSON_Delete(report);
}

static void ensemble_topk_lsq_4_bit(void **state) {
    (void)state;
    assert_int_equal(DISTILL("train", "topk.json"), 0);
    cJSON *report = read_report("runs/topk/report.json");
    const cJSON *blob = find_model(report, "blob");
    assert_true(number(blob, "accuracy") > 0.7);
    assert_true(number(blob, "disagreements") == 0);
    cJSON_Delete(report);
}

static void exit_codes(void **state) {
    (void)state;
    assert_int_equal(DISTILL("trian", "small.json"), 64);
    assert_int_equal(DISTILL("train"), 64);
    assert_int_equal(DISTILL("train", "small.json", "--frsh"), 64);
    assert_int_equal(DISTILL("train", "nowhere.json"), 66);
    assert_int_equal(DISTILL("train", "small.json", "--set", "train.epoch=3"), 78);
    assert_int_equal(DISTILL("train", "big.json", "--set", "name=x", "--set", "data.folder=no"),
                     66);
    assert_int_equal(DISTILL("verify", "t10k-labels-idx1-ubyte"), 65);
    assert_int_equal(DISTILL("train", "small.json", "--help"), 0);
    assert_int_equal(DISTILL("train", "small.json", "--dry-run"), 0);
    assert_int_equal(DISTILL("--version"), 0);
}

/* Formats of a classifier by a budget, by calibration and trained: measured as all others are, with
 * their distance from the float student; compress is train of a config with "quantize". */
static void keeps_a_budget(void **state) {
    (void)state;
    assert_int_equal(DISTILL("compress", "big.json"), 78);
    kd_train_request_stop();
    assert_int_equal(DISTILL("quantize", "frugal.json"), 75);
    assert_int_equal(DISTILL("compress", "frugal.json", "--dry-run", "--formats",
                             "awq:q8_0,awq_gptq:q8_0,gptq:q8_0,importance:q8_0,q8_0,integers"),
                     0);
    assert_int_equal(DISTILL("compress", "frugal.json"), 0);
    static const char *const written[] = {"pareto.svg", "report.html", "budget.budget.svg",
                                          "budget.budget.json", "student.budget.ptq.gguf"};
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        char path[64];
        snprintf(path, sizeof path, "runs/frugal/%s", written[i]);
        assert_true(kd_file_exists(path));
    }
    cJSON *choice = read_report("runs/frugal/budget.budget.json");
    assert_true(number(choice, "bits_per_weight") <= 14);
    cJSON_Delete(choice);
    cJSON *report = read_report("runs/frugal/report.json");
    const double kl = number(find_model(report, "ptq"), "kl_to_float");
    assert_true(kl >= 0 && kl < 0.01); /* of int8 */
    cJSON_Delete(report);
    assert_int_equal(DISTILL("quantize", "frugal.json", "--runs", "tight", "--set",
                             "quantize={\"budget\":{\"bits_per_weight\":2}}"),
                     78);
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--as-distill") == 0) return kd_cli_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kills_change_nothing),     cmocka_unit_test(whole_run),
        cmocka_unit_test(same_bits_elsewhere),      cmocka_unit_test(hints_train),
        cmocka_unit_test(ensemble_topk_lsq_4_bit),  cmocka_unit_test(keeps_a_budget),
        cmocka_unit_test(store_from_python_trains), cmocka_unit_test(a_changed_config_is_refused),
        cmocka_unit_test(a_missing_class_is_found), cmocka_unit_test(exit_codes)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
