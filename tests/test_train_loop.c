/* The rules of the training loop, on a task that only writes down what it is asked: where each
 * micro-batch stands, which epoch counts as the best, what is saved when, what a resumed run knows.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "asserts.h"
#include "autograd/ops.h"
#include "base/file.h"
#include "base/log.h"
#include "data/h5.h"
#include "distill/checkpoint.h"
#include "distill/optimizer.h"
#include "report/runlog.h"
#include "distill/trainer.h"
#include "test_data.h"

enum { BATCHES = 5, CALLS_MAX = 256 };

/* A weight that falls by the rate in every update, so that it tells how many there were. */
typedef struct {
    kd_params *params;
    const double *scores; /* of the evaluations to come */
    int scored, called, asked;
    kd_train_place at[CALLS_MAX];
    double normalizer[CALLS_MAX];
    int64_t rows_of[CALLS_MAX];
    int fail_at;   /* the call of `loss` that fails, from 1; 0: none */
    bool infinite; /* … or whose gradient is not finite, and nothing else */
    int stop_at;   /* the call of `loss` in which a stop is asked for */
    const kd_metric *metric; /* two, the first of which chooses; NULL: ACCURACY */
} script;

static const kd_metric TERM[] = {{.name = "kl"}, {.name = "ce"}};
static const kd_metric ACCURACY[] = {{.name = "accuracy", .unit = KD_UNIT_SHARE,
                                      .higher_is_better = true},
                                     {.name = "mse"}};
static const kd_metric WER[] = {{.name = "wer", .unit = KD_UNIT_SHARE}, {.name = "mse"}};

static double count_rows(void *context, const kd_train_place *at, int64_t n) {
    script *s = context;
    (void)at;
    s->rows_of[s->asked++] = n;
    return (double)n;
}

static int one_loss(kd_tensor **out, void *context, kd_tape *tape, const kd_train_place *at,
                    double normalizer, kd_loss_sums *sums) {
    script *s = context;
    s->at[s->called] = *at;
    s->normalizer[s->called++] = normalizer;
    if (s->called == s->stop_at) kd_train_request_stop();
    if (s->called == s->fail_at && !s->infinite) return kd_fail(KD_EIO, "the data are gone");
    const double scale = s->called == s->fail_at ? INFINITY : 1 / normalizer;
    *out = kd_scale(tape, &s->params->list[0]->tensor, (kd_real)scale);
    sums->rows += 1;
    sums->term[1] += 1;
    return KD_OK;
}

static int next_score(kd_estimate *out, void *context, kd_tape *tape) {
    script *s = context;
    (void)tape;
    const double score = s->scores[s->scored++];
    out[0] = (kd_estimate){score, score - 0.1, score + 0.1, 10};
    out[1] = kd_estimate_plain(1, 10);
    return KD_OK;
}

static script make_script(const double *scores) {
    script s = {.scores = scores};
    assert_ok(kd_params_create(&s.params));
    kd_params_add(s.params, "w", 1, (int64_t[]){1}, KD_INIT_ZERO, 1, 1, KD_PARAM_TRAINED);
    assert_ok(kd_params_layout(s.params, 1));
    return s;
}

static kd_train_spec make_spec(int64_t epochs) {
    return (kd_train_spec){.epochs = epochs,
                           .batch = 1,
                           .accumulate = 1,
                           .optimizer = KD_OPTIMIZER_SGD,
                           .learning_rate = 1,
                           .schedule = KD_SCHEDULE_CONSTANT,
                           .evaluate_every = 1,
                           .checkpoint_seconds = 1e9};
}

static int train(script *s, test_folder *folder, const kd_train_spec *spec) {
    const kd_objective task = {.context = s,
                          .params = s->params,
                          .batches = BATCHES,
                          .unit = "rows",
                          .term_count = 2,
                          .term = TERM,
                          .metric_count = 2,
                          .metric = s->metric ? s->metric : ACCURACY,
                          .rows = count_rows,
                          .loss = one_loss,
                          .evaluate = s->scores ? next_score : NULL};
    const kd_train_job job = {.stage = "train",
                              .folder = folder->path,
                              .spec = spec,
                              .seed = 3,
                              .key = {"0123"},
                              .config_json = "{}"};
    return kd_train(&task, &job);
}

static double weight(const script *s) {
    return (double)s->params->value[0];
}

static void start_over(test_folder *folder) {
    assert_ok(
        kd_file_remove_matching(folder->path, (const char *const[]){"*.h5", "*.jsonl", NULL}));
}

/* The updates after which the result's weights were, with these scores of the epochs. */
static int64_t best_of(test_folder *folder, int64_t epochs, int64_t every, const double *scores,
                       int evaluations) {
    kd_train_spec spec = make_spec(epochs);
    script s = make_script(scores);
    spec.evaluate_every = every;
    start_over(folder);
    assert_ok(train(&s, folder, &spec));
    assert_int_equal(s.scored, evaluations);
    int64_t updates = llround(-weight(&s));
    kd_params_free(s.params);
    return updates;
}

static void the_first_of_the_best_epochs_stays(void **state) {
    test_folder *f = *state;
    assert_int_equal(best_of(f, 4, 1, (const double[]){0.5, 0.7, 0.7, 0.6}, 4), 2 * BATCHES);
    assert_int_equal(best_of(f, 3, 1, (const double[]){0.5, 0.6, 0.7}, 3), 3 * BATCHES);
    assert_int_equal(best_of(f, 3, 1, (const double[]){0.7, 0.6, 0.5}, 3), BATCHES);
    assert_int_equal(best_of(f, 3, 1, (const double[]){0, 0, 0}, 3), BATCHES);
    assert_int_equal(best_of(f, 3, 1, (const double[]){0.7, nextafter(0.7, 1), 0.7}, 3),
                     2 * BATCHES);
}

/* Every second epoch, and the last whatever its number. */
static void epochs_between_are_not_measured(void **state) {
    test_folder *f = *state;
    assert_int_equal(best_of(f, 5, 2, (const double[]){0.5, 0.4, 0.6}, 3), 5 * BATCHES);
    assert_int_equal(best_of(f, 5, 2, (const double[]){0.5, 0.9, 0.6}, 3), 4 * BATCHES);
    assert_int_equal(best_of(f, 5, 9, (const double[]){0.5}, 1), 5 * BATCHES);
    assert_int_equal(best_of(f, 5, 2, NULL, 0), 5 * BATCHES); /* nothing held out: the last */
}

/* Where less is better, the least is the best; what is no number never is, but before the first. */
static void the_metric_says_which_way_is_better(void **state) {
    test_folder *f = *state;
    static const double scores[] = {NAN, 0.3, 0.5, 0.2, NAN, 0.2};
    kd_train_spec spec = make_spec(6);
    script s = make_script(scores);
    s.metric = WER;
    assert_ok(train(&s, f, &spec));
    assert_int_equal(llround(-weight(&s)), 4 * BATCHES);
    kd_params_free(s.params);
}

/* An evaluation stands in the log by the metrics' names, with its interval. */
static void scores_are_logged_by_name(void **state) {
    test_folder *f = *state;
    static const double scores[] = {0.5, 0.25};
    kd_train_spec spec = make_spec(2);
    script s = make_script(scores);
    s.metric = WER;
    assert_ok(train(&s, f, &spec));
    kd_params_free(s.params);
    kd_runlog_curves curves;
    assert_ok(kd_runlog_read(&curves, test_path(f, "log.jsonl")));
    assert_int_equal(curves.eval_count, 2);
    const kd_runlog_point *last = &curves.eval[1];
    assert_true(kd_runlog_value(&curves, last, "wer") == 0.25);
    assert_float_equal((float)kd_runlog_value(&curves, last, "wer_low"), 0.15, 1e-6f);
    assert_float_equal((float)kd_runlog_value(&curves, last, "wer_high"), 0.35, 1e-6f);
    assert_true(kd_runlog_value(&curves, last, "mse") == 1);
    assert_true(isnan(kd_runlog_value(&curves, last, "mse_low")));
    assert_true(isnan(kd_runlog_value(&curves, last, "accuracy")));
    assert_true(kd_runlog_best(&curves, "train", &WER[0]) == 0.25);
    assert_true(kd_runlog_best(&curves, "train", &ACCURACY[1]) == 1);
    assert_true(isnan(kd_runlog_best(&curves, "qat", &WER[0])));
    kd_runlog_free(&curves);
}

/* What one metric chose is not compared with what another says. */
static void a_best_of_another_metric_is_refused(void **state) {
    test_folder *f = *state;
    static const double scores[] = {0.5, 0.4, 0.3};
    kd_train_spec spec = make_spec(3);
    script s = make_script(scores);
    s.stop_at = BATCHES + 1;
    assert_int_equal(train(&s, f, &spec), KD_EAGAIN);
    kd_params_free(s.params);
    s = make_script(scores + 1);
    s.metric = WER;
    assert_int_equal(train(&s, f, &spec), KD_EDATA);
    assert_non_null(strstr(kd_error(), "of epoch 1, were chosen by \"accuracy\""));
    assert_non_null(strstr(kd_error(), "by \"wer\""));
    assert_int_equal(s.called, 0);
    s.metric = ACCURACY;
    assert_ok(train(&s, f, &spec));
    assert_int_equal(llround(-weight(&s)), BATCHES);
    kd_params_free(s.params);
}

/* A number that the last checkpoint holds beside the weights. */
static double state_of(test_folder *folder, const char *name) {
    hid_t file;
    double value;
    assert_ok(kd_h5_open(&file, test_path(folder, "train.last.h5")));
    assert_ok(kd_h5_get_double(file, name, &value));
    kd_h5_close(file);
    return value;
}

/* What a stopped run has found to be the best, it still knows, and how long it all took. */
static void the_best_survives_resuming(void **state) {
    test_folder *folder = *state;
    static const double scores[] = {0.5, 0.7, 0.7, 0.6};
    const kd_train_spec spec = make_spec(4);
    int status, starts = 0, scored = 0;
    double elapsed = 0;
    const double began = kd_clock();
    do {
        script s = make_script(scores + scored);
        s.stop_at = 1;
        status = train(&s, folder, &spec);
        scored += s.scored;
        if (status == KD_EAGAIN) assert_int_equal(llround(-weight(&s)), ++starts);
        if (status == KD_OK) assert_int_equal(llround(-weight(&s)), 2 * BATCHES);
        kd_params_free(s.params);
        assert_true(state_of(folder, "elapsed") > elapsed);
        elapsed = state_of(folder, "elapsed");
        assert_true(elapsed < kd_clock() - began);
    } while (status == KD_EAGAIN);
    assert_int_equal(status, KD_OK);
    assert_int_equal(starts, 4 * BATCHES - 1); /* the last update ends the run; no stop any more */
    assert_int_equal(scored, 4);
    kd_train_take_stop();
}

/* Micro-batches in order, the last update of an epoch with what is left. */
static void updates_take_what_is_left(void **state) {
    test_folder *folder = *state;
    kd_train_spec spec = make_spec(2);
    script s = make_script(NULL);
    spec.accumulate = 2;
    assert_ok(train(&s, folder, &spec));
    assert_int_equal(s.called, 2 * BATCHES);
    assert_int_equal(s.asked, 6);
    for (int i = 0; i < s.called; i++) {
        const int batch = i % BATCHES, epoch = i / BATCHES;
        assert_int_equal(s.at[i].batch, batch);
        assert_int_equal(s.at[i].epoch, epoch);
        assert_int_equal(s.at[i].step, 3 * epoch + batch / 2);
        assert_true(s.normalizer[i] == (batch < 4 ? 2 : 1));
    }
    for (int i = 0; i < s.asked; i++) assert_int_equal(s.rows_of[i], i % 3 == 2 ? 1 : 2);
    assert_float_equal((float)weight(&s), -6, 1e-6f);
    kd_params_free(s.params);
}

/* The rate of each update is the schedule's over all updates; warm-up counts epochs. */
static void rates_follow_the_schedule(void **state) {
    test_folder *folder = *state;
    kd_train_spec spec = make_spec(4);
    script s = make_script(NULL);
    spec.accumulate = 2; /* 3 updates an epoch, 12 in all */
    spec.schedule = KD_SCHEDULE_LINEAR;
    spec.warmup_epochs = 1.5; /* 4.5 updates: 5 */
    spec.final_fraction = 0.1;
    assert_ok(train(&s, folder, &spec));
    double sum = 0;
    kd_runlog_curves curves;
    assert_ok(kd_runlog_read(&curves, test_path(folder, "log.jsonl")));
    assert_int_equal(curves.step_count, 12);
    for (int64_t i = 0; i < 12; i++) {
        const double rate = kd_schedule_rate(&spec, i, 5, 12);
        assert_int_equal(curves.step[i].step, i + 1);
        assert_float_equal((float)kd_runlog_value(&curves, &curves.step[i], "lr"), (float)rate, 1e-6f);
        assert_float_equal((float)curves.step[i].epoch, (float)(i + 1) / 3, 1e-6f);
        sum += rate;
    }
    assert_float_equal((float)weight(&s), (float)-sum, 1e-5f);
    assert_string_equal(curves.last_event, "done");
    kd_runlog_free(&curves);
    kd_params_free(s.params);
}

static double logged(const kd_runlog_curves *curves, int64_t i, const char *name) {
    return kd_runlog_value(curves, &curves->step[i], name);
}

/* The loss of a line is a mean over the rows since the line before. */
static void losses_are_means(void **state) {
    test_folder *folder = *state;
    const kd_train_spec spec = make_spec(1);
    script s = make_script(NULL);
    s.params->value[0] = 10;
    assert_ok(train(&s, folder, &spec));
    kd_runlog_curves curves;
    assert_ok(kd_runlog_read(&curves, test_path(folder, "log.jsonl")));
    assert_int_equal(curves.step_count, BATCHES);
    for (int i = 0; i < BATCHES; i++) {
        assert_float_equal((float)logged(&curves, i, "loss"), (float)(10 - i), 1e-5f);
        assert_float_equal((float)logged(&curves, i, "ce"), 1, 1e-6f);
        assert_float_equal((float)logged(&curves, i, "kl"), 0, 1e-6f);
    }
    kd_runlog_free(&curves);
    kd_params_free(s.params);
}

/* The updates that a run has on the disk after its call number `fail_at` failed; −1: none. */
static int64_t saved_before(test_folder *folder, double seconds, int fail_at, bool infinite,
                            int expected) {
    kd_train_spec spec = make_spec(3);
    script s = make_script(NULL);
    spec.checkpoint_seconds = seconds;
    s.fail_at = fail_at;
    s.infinite = infinite;
    start_over(folder);
    assert_int_equal(train(&s, folder, &spec), expected);
    const char *path = test_path(folder, "train.last.h5");
    int64_t updates = -1;
    if (kd_file_exists(path)) {
        assert_ok(kd_checkpoint_load_params(path, s.params, false));
        updates = llround(-weight(&s));
    }
    kd_params_free(s.params);
    return updates;
}

/* checkpoint_seconds says how much a failure may cost; a broken update is never saved. */
static void checkpoints_come_in_time(void **state) {
    test_folder *folder = *state;
    assert_int_equal(saved_before(folder, 0, 8, false, KD_EIO), 7);
    assert_int_equal(saved_before(folder, 1e9, 8, false, KD_EIO), -1);
    assert_int_equal(saved_before(folder, 0, 8, true, KD_EDATA), 7);
    assert_non_null(strstr(kd_error(), "at update 7"));
    assert_int_equal(saved_before(folder, 1e9, 0, false, KD_OK), 3 * BATCHES);
}

/* It is the measured updates alone that count, and the state of the job is untouched. */
static void measuring_leaves_no_trace(void **state) {
    test_folder *folder = *state;
    const kd_train_spec spec = make_spec(3);
    script s = make_script(NULL);
    const kd_objective task = {.context = &s,
                          .params = s.params,
                          .batches = BATCHES,
                          .unit = "rows",
                          .term_count = 2,
                          .term = TERM,
                          .rows = count_rows,
                          .loss = one_loss};
    const kd_train_job job = {.stage = "train", .folder = folder->path, .spec = &spec};
    double seconds = -1;
    size_t bytes = 0;
    assert_ok(kd_train_measure(&task, &job, 7, &seconds, &bytes));
    assert_int_equal(s.called, 8); /* the first warms up */
    assert_true(seconds > 0 && seconds < 1 && bytes > 0);
    assert_false(kd_file_exists(test_path(folder, "train.last.h5")));
    assert_false(kd_file_exists(test_path(folder, "log.jsonl")));
    kd_params_free(s.params);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_first_of_the_best_epochs_stays), TEST(the_metric_says_which_way_is_better),
        TEST(scores_are_logged_by_name), TEST(a_best_of_another_metric_is_refused),
        TEST(epochs_between_are_not_measured),
        TEST(the_best_survives_resuming),         TEST(updates_take_what_is_left),
        TEST(rates_follow_the_schedule),          TEST(losses_are_means),
        TEST(checkpoints_come_in_time),           TEST(measuring_leaves_no_trace)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
