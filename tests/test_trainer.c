/* The training loop: it learns, it resumes to the same bits, at any thread count, after any kill;
 * it allocates nothing after the first step; accumulation changes nothing. */
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

#include "base/error.h"
#include "base/file.h"
#include "distill/checkpoint.h"
#include "tasks/classify/evaluate.h"
#include "tiny.h"

enum { SAMPLES = 400, HELD_OUT = 100 };

static char folder[] = "/tmp/distill-trainer-XXXXXX";
static kd_dataset train, validation;

static int setup(void **state) {
    (void)state;
    tiny_dataset(&train, SAMPLES);
    tiny_dataset(&validation, HELD_OUT);
    return mkdtemp(folder) ? 0 : -1;
}

static void empty_folder(void) {
    static const char *const names[] = {"train.last.h5", "train.best.h5", "log.jsonl",
                                        "train.last.h5.part", "train.best.h5.part"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[KD_PATH_MAX];
        kd_path_join(path, folder, names[i]);
        unlink(path);
    }
}

static int teardown(void **state) {
    (void)state;
    empty_folder();
    rmdir(folder);
    tiny_dataset_clear(&train);
    tiny_dataset_clear(&validation);
    return 0;
}

/* Trains to the end (or to the next requested stop) and hashes the weights. */
static int run_job(const kd_train_spec *spec, kd_hash *hash) {
    kd_model_spec model = tiny_cnn();
    kd_learner *learner = tiny_learner(&model, 7);
    assert_non_null(learner);
    kd_classifier_job job = tiny_job(folder, spec, &train, &validation);
    int status = kd_classifier_train(learner, &job);
    if (status == KD_OK) kd_params_hash(hash, learner->params);
    kd_learner_free(learner);
    return status;
}

static kd_hash uninterrupted(void) {
    kd_train_spec spec = tiny_train();
    kd_hash hash;
    empty_folder();
    assert_int_equal(run_job(&spec, &hash), KD_OK);
    empty_folder();
    return hash;
}

static void learns(void **state) {
    (void)state;
    kd_model_spec model = tiny_cnn();
    kd_learner *learner = tiny_learner(&model, 7);
    kd_train_spec spec = tiny_train();
    kd_classifier_job job = tiny_job(folder, &spec, &train, &validation);
    empty_folder();
    assert_int_equal(kd_classifier_train(learner, &job), KD_OK);
    kd_tape *tape;
    kd_result result;
    assert_int_equal(kd_tape_create(&tape, 1), KD_OK);
    assert_int_equal(kd_evaluate(&result, learner, KD_RUN_FLOAT, tape, &validation, NULL), KD_OK);
    assert_true(kd_result_accuracy(&result) > 0.9);
    kd_result_free_counts(&result);
    /* A finished job loads its result and writes nothing. */
    kd_hash trained, loaded;
    char *before, *after, log[KD_PATH_MAX];
    size_t before_length, after_length;
    assert_int_equal(kd_params_hash(&trained, learner->params), KD_OK);
    assert_int_equal(kd_path_join(log, folder, "log.jsonl"), KD_OK);
    assert_int_equal(kd_file_read(&before, &before_length, log, 1 << 24), KD_OK);
    assert_int_equal(kd_classifier_train(learner, &job), KD_OK);
    assert_int_equal(kd_params_hash(&loaded, learner->params), KD_OK);
    assert_string_equal(loaded.hex, trained.hex);
    assert_int_equal(kd_file_read(&after, &after_length, log, 1 << 24), KD_OK);
    assert_int_equal(after_length, before_length);
    assert_memory_equal(after, before, before_length);
    free(before);
    free(after);
    kd_tape_free(tape);
    kd_learner_free(learner);
    empty_folder();
}

static void thread_count_changes_nothing(void **state) {
    (void)state;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    kd_hash one = uninterrupted();
    omp_set_num_threads(2);
    kd_hash two = uninterrupted();
    omp_set_num_threads(5);
    kd_hash five = uninterrupted();
    omp_set_num_threads(threads);
    assert_string_equal(one.hex, two.hex);
    assert_string_equal(one.hex, five.hex);
}

static void stop_and_resume_changes_nothing(void **state) {
    (void)state;
    kd_hash expected = uninterrupted(), hash;
    kd_train_spec spec = tiny_train();
    int stops = 0, status;
    do { /* every start does exactly one update before it stops */
        omp_set_num_threads(1 + stops % 3);
        kd_train_request_stop();
        status = run_job(&spec, &hash);
        stops++;
    } while (status == KD_EAGAIN);
    assert_int_equal(status, KD_OK);
    assert_true(stops > 60);
    assert_string_equal(hash.hex, expected.hex);
    omp_set_num_threads(2);
}

static void another_job_is_refused(void **state) {
    (void)state;
    kd_train_spec spec = tiny_train();
    kd_hash hash;
    empty_folder();
    kd_train_request_stop();
    assert_int_equal(run_job(&spec, &hash), KD_EAGAIN);
    kd_model_spec model = tiny_cnn();
    kd_learner *learner = tiny_learner(&model, 7);
    kd_classifier_job job = tiny_job(folder, &spec, &train, &validation);
    job.loop.key.hex[0] = 'f';
    assert_int_equal(kd_classifier_train(learner, &job), KD_EDATA);
    assert_non_null(strstr(kd_error(), "train.last.h5"));
    kd_learner_free(learner);
    empty_folder();
}

static void accumulation_changes_nothing(void **state) {
    (void)state;
    kd_model_spec model = {.kind = KD_MODEL_MLP, .hidden_count = 1, .hidden = {12}};
    kd_real *first = NULL;
    for (int parts = 1; parts <= 4; parts *= 2) {
        kd_train_spec spec = tiny_train();
        spec.epochs = 1;
        spec.batch = 32 / parts;
        spec.accumulate = parts;
        spec.optimizer = KD_OPTIMIZER_SGD;
        spec.momentum = 0.9;
        kd_learner *learner = tiny_learner(&model, 7);
        kd_classifier_job job = tiny_job(folder, &spec, &train, NULL);
        empty_folder();
        assert_int_equal(kd_classifier_train(learner, &job), KD_OK);
        int64_t n = learner->params->trained_size;
        if (!first) {
            first = malloc((size_t)n * sizeof *first);
            memcpy(first, learner->params->value, (size_t)n * sizeof *first);
        }
        const double tolerance = sizeof(kd_real) == 8 ? 1e-12 : 1e-5;
        for (int64_t i = 0; i < n; i++)
            assert_true(fabs((double)(first[i] - learner->params->value[i])) < tolerance);
        kd_learner_free(learner);
    }
    free(first);
    empty_folder();
}

/* The child of the kill test: trains in `where`, saving after every update. */
static int train_in(const char *where) {
    snprintf(folder, sizeof folder, "%s", where);
    tiny_dataset(&train, SAMPLES);
    tiny_dataset(&validation, HELD_OUT);
    kd_train_spec spec = tiny_train();
    spec.checkpoint_seconds = 0;
    kd_hash hash;
    int status = run_job(&spec, &hash);
    if (status < 0) {
        fprintf(stderr, "%s\n", kd_error());
        return -status;
    }
    puts(hash.hex);
    return 0;
}

/* Starts the child; kills it after `microseconds` unless that is 0. Returns its wait status. */
static int start_and_kill(long microseconds, char *out, size_t capacity) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        if (!freopen("/dev/null", "w", stderr)) _exit(70);
        execl("/proc/self/exe", "test_trainer", "--train-in", folder, (char *)NULL);
        _exit(70);
    }
    close(ends[1]);
    if (microseconds > 0) {
        struct timespec pause = {.tv_nsec = microseconds * 1000};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
    }
    ssize_t n = read(ends[0], out, capacity - 1);
    out[n > 0 ? n : 0] = '\0';
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    return status;
}

static void kills_change_nothing(void **state) {
    (void)state;
    const char *asked = getenv("DISTILL_KILLS");
    int wanted = asked ? atoi(asked) : 25, kills = 0, rounds = 0;
    kd_hash expected = uninterrupted();
    kd_rng rng = kd_rng_init((uint64_t)time(NULL), 0);
    char hash[64] = "";
    while (kills < wanted) {
        empty_folder();
        int status = -1;
        for (int start = 0; status != 0; start++) {
            long pause = start % 400 == 399 ? 0 : 15000 + (long)kd_rng_below(&rng, 250000);
            status = start_and_kill(pause, hash, sizeof hash);
            kills += WIFSIGNALED(status);
            assert_false(WIFEXITED(status) && WEXITSTATUS(status) != 0);
        }
        rounds++;
        assert_int_equal(strncmp(hash, expected.hex, 32), 0);
    }
    print_message("%d kills in %d runs, the same bits each time\n", kills, rounds);
    empty_folder();
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--train-in") == 0) return train_in(argv[2]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(kills_change_nothing),
                                       cmocka_unit_test(learns),
                                       cmocka_unit_test(thread_count_changes_nothing),
                                       cmocka_unit_test(stop_and_resume_changes_nothing),
                                       cmocka_unit_test(another_job_is_refused),
                                       cmocka_unit_test(accumulation_changes_nothing)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
