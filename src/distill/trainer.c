#include "distill/trainer.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "distill/checkpoint.h"
#include "distill/evaluate.h"
#include "distill/loss.h"
#include "distill/optimizer.h"
#include "distill/runlog.h"

/* About this many loss lines are written to the log over a whole stage. */
enum { LOG_LINES = 1000 };

static volatile sig_atomic_t stop_requested;

void kd_train_request_stop(void) {
    stop_requested = 1;
}

bool kd_train_take_stop(void) {
    bool asked = stop_requested != 0;
    stop_requested = 0;
    return asked;
}

typedef struct {
    kd_learner *learner;
    const kd_train_job *job;
    kd_tape *tape;
    kd_loader *loader;
    kd_optimizer optimizer;
    kd_runlog *log;
    kd_progress_state state;
    int64_t batches, updates, total, warmup; /* batches and updates per epoch; updates in all */
    kd_tensor **student_tap, **teacher_tap;  /* per node, when there are hints               */
    float *soft;                             /* (batch,V) dense, or kept logits (batch,k)    */
    float *tail;                             /* (batch)                                      */
    int32_t *soft_index;                     /* (batch,k)                                    */
    kd_loss_parts recent;                    /* since the last log line                      */
    kd_loss_parts shown;                     /* the same, fading: for the progress line      */
    double began, last_saved;
    char last_path[KD_PATH_MAX], best_path[KD_PATH_MAX], log_path[KD_PATH_MAX];
} trainer;

static void trainer_clear(trainer *t) {
    kd_tape_free(t->tape);
    kd_loader_free(t->loader);
    kd_optimizer_clear(&t->optimizer);
    kd_runlog_close(t->log);
    free(t->student_tap);
    free(t->teacher_tap);
    free(t->soft);
    free(t->tail);
    free(t->soft_index);
}

static int make_paths(trainer *t) {
    const kd_train_job *job = t->job;
    char name[64];
    snprintf(name, sizeof name, "%s.last.h5", job->stage);
    int status = kd_path_join(t->last_path, job->folder, name);
    snprintf(name, sizeof name, "%s.best.h5", job->stage);
    if (status == KD_OK) status = kd_path_join(t->best_path, job->folder, name);
    return status < 0 ? status : kd_path_join(t->log_path, job->folder, "log.jsonl");
}

/* Buffers for soft targets and hints; all there is to allocate for a step besides the tape. */
static int make_buffers(trainer *t) {
    const kd_train_job *job = t->job;
    size_t rows = (size_t)job->spec->batch;
    if (job->store) {
        const kd_store_header *header = kd_store_describe(job->store);
        size_t width = (size_t)(header->kind == KD_STORE_DENSE ? header->classes : header->k);
        t->soft = malloc(rows * width * sizeof *t->soft);
        t->tail = malloc(rows * sizeof *t->tail);
        t->soft_index = malloc(rows * width * sizeof *t->soft_index);
        if (!t->soft || !t->tail || !t->soft_index)
            return kd_fail_memory(rows * width * sizeof *t->soft, "soft targets");
    }
    if (job->loss->hint_count > 0) {
        KD_CONTRACT(job->teacher, "hints without a teacher");
        t->student_tap = calloc((size_t)t->learner->net->count, sizeof *t->student_tap);
        t->teacher_tap = calloc((size_t)job->teacher->net->count, sizeof *t->teacher_tap);
        if (!t->student_tap || !t->teacher_tap) return kd_fail_memory(4096, "hint taps");
    }
    return KD_OK;
}

static int trainer_init(trainer *t, kd_learner *learner, const kd_train_job *job) {
    *t = (trainer){.learner = learner, .job = job};
    t->state.best_accuracy = -1;
    kd_loader_spec spec = {.batch = job->spec->batch,
                           .shuffle = true,
                           .augment = job->augment,
                           .views = job->views,
                           .seed = job->seed};
    int status = make_paths(t);
    if (status == KD_OK) status = kd_tape_create(&t->tape, job->seed);
    if (status == KD_OK) status = kd_loader_create(&t->loader, job->train, &spec);
    if (status == KD_OK) status = kd_optimizer_init(&t->optimizer, learner->params, job->spec);
    if (status == KD_OK) status = make_buffers(t);
    if (status < 0) return status;
    t->tape->precision = job->precision;
    t->batches = kd_loader_batches(t->loader);
    t->updates = (t->batches + job->spec->accumulate - 1) / job->spec->accumulate;
    t->total = t->updates * job->spec->epochs;
    t->warmup = (int64_t)llround(job->spec->warmup_epochs * (double)t->updates);
    return KD_OK;
}

static kd_checkpoint describe_checkpoint(trainer *t) {
    kd_checkpoint c = {.params = t->learner->params,
                       .moment_count = t->optimizer.moment_count,
                       .state = t->state,
                       .key = t->job->key,
                       .config_json = t->job->config_json,
                       .stage = t->job->stage};
    for (int m = 0; m < c.moment_count; m++) c.moment[m] = t->optimizer.moment[m];
    c.state.dropout = t->tape->rng;
    c.state.optimizer_step = t->optimizer.step;
    c.state.elapsed += kd_clock() - t->began;
    return c;
}

static int save(trainer *t, const char *path) {
    kd_checkpoint c = describe_checkpoint(t);
    int status = kd_checkpoint_save(path, &c);
    t->last_saved = kd_clock();
    return status;
}

/* Puts everything back to what <stage>.last.h5 holds, when it is there. */
static int resume(trainer *t) {
    if (!kd_file_exists(t->last_path)) return KD_OK;
    kd_checkpoint c = describe_checkpoint(t);
    int status = kd_checkpoint_load(t->last_path, &c);
    if (status < 0) return status;
    t->state = c.state;
    t->tape->rng = c.state.dropout;
    t->optimizer.step = c.state.optimizer_step;
    kd_params_touch(t->learner->params);
    kd_loader_seek(t->loader, t->state.epoch, t->state.batch);
    return KD_OK;
}

/* The soft targets of a batch, on the tape. */
static int read_soft(trainer *t, const kd_batch *batch, kd_soft_targets *out) {
    const kd_store *store = t->job->store;
    const kd_store_header *header = kd_store_describe(store);
    const double temperature = t->job->loss->temperature;
    bool dense = header->kind == KD_STORE_DENSE;
    int64_t width = dense ? header->classes : header->k;
    int status = dense ? kd_store_read(store, batch->n, batch->view, batch->id, t->soft)
                       : kd_store_read_topk(store, batch->n, batch->view, batch->id,
                                            kd_store_temperature_index(store, temperature),
                                            t->soft_index, t->soft, t->tail);
    if (status < 0) return status;
    kd_real *logits = kd_tape_alloc(t->tape, (size_t)(batch->n * width) * sizeof *logits);
    for (int64_t i = 0; i < batch->n * width; i++) logits[i] = (kd_real)t->soft[i];
    if (dense) {
        *out = (kd_soft_targets){.logits = logits};
        return KD_OK;
    }
    kd_real *tail = kd_tape_alloc(t->tape, (size_t)batch->n * sizeof *tail);
    for (int64_t i = 0; i < batch->n; i++) tail[i] = (kd_real)t->tail[i];
    *out = (kd_soft_targets){.k = header->k, .index = t->soft_index, .kept = logits, .tail = tail};
    return KD_OK;
}

static kd_tensor *hint_loss(trainer *t, int i, double normalizer) {
    const kd_hint_spec *hint = &t->job->loss->hint[i];
    kd_tensor *x = t->student_tap[kd_net_find(t->learner->net, hint->student)];
    kd_tensor *target = t->teacher_tap[kd_net_find(t->job->teacher->net, hint->teacher)];
    int64_t rows = kd_rows(x), flat[2] = {rows, kd_channels(x)};
    normalizer *= (double)(rows / x->shape[0]); /* the mean over positions too */
    x = kd_reshape(t->tape, x, 2, flat);
    if (t->learner->projection[i])
        x = kd_linear(t->tape, x, &t->learner->projection[i]->tensor, NULL, KD_ACT_NONE);
    kd_real weight = (kd_real)hint->weight;
    return hint->kind == KD_HINT_MSE
               ? kd_hint_mse(t->tape, x, target->value, weight, normalizer)
               : kd_hint_cosine(t->tape, x, target->value, weight, normalizer);
}

/* The teacher's hidden values for the same input, without recording. */
static void run_teacher(trainer *t, kd_tensor *x) {
    t->tape->recording = t->tape->training = false;
    kd_learner_forward(t->job->teacher, t->tape, x, KD_RUN_FLOAT, t->teacher_tap);
    t->tape->recording = t->tape->training = true;
}

static kd_run_mode current_mode(const trainer *t) {
    bool delayed = t->job->mode == KD_RUN_FAKE_TRAIN && t->state.step < t->job->delay_steps;
    return delayed ? KD_RUN_OBSERVE : t->job->mode;
}

/* Forward and backward of one micro-batch; gradients add up in the slab. */
static int micro_step(trainer *t, const kd_batch *batch, double normalizer) {
    if (kd_tape_guard(t->tape)) return KD_EINTERNAL;
    kd_tape_reset(t->tape);
    const kd_loss_config *loss = t->job->loss;
    kd_tensor *x = kd_learner_input(t->learner, t->tape, batch->n, batch->x);
    kd_tensor *z = kd_learner_forward(t->learner, t->tape, x, current_mode(t), t->student_tap);
    kd_soft_targets soft = {0};
    if (t->job->store) {
        int status = read_soft(t, batch, &soft);
        if (status < 0) return status;
    }
    kd_loss_spec spec = {.hard_weight = (kd_real)loss->hard,
                         .kl_weight = t->job->store ? (kd_real)loss->kl : 0,
                         .temperature = (kd_real)loss->temperature,
                         .label_smoothing = (kd_real)loss->label_smoothing,
                         .normalizer = normalizer};
    kd_tensor *total = kd_distill_loss(t->tape, z, batch->label, NULL, t->job->store ? &soft : NULL,
                                       spec, &t->recent);
    if (loss->hint_count > 0) run_teacher(t, x);
    for (int i = 0; i < loss->hint_count; i++)
        total = kd_add(t->tape, total, hint_loss(t, i, normalizer), KD_ACT_NONE);
    kd_tape_backward(t->tape, total);
    return KD_OK;
}

/* Samples in micro-batches [first, first + accumulate) of an epoch: the loss's normalizer. */
static double group_samples(const trainer *t, int64_t first) {
    int64_t begin = first * t->job->spec->batch;
    int64_t end = begin + t->job->spec->accumulate * t->job->spec->batch;
    return (double)((end < t->job->train->count ? end : t->job->train->count) - begin);
}

/* One update from `accumulate` micro-batches. */
static int update(trainer *t) {
    double normalizer = group_samples(t, t->state.batch);
    kd_params_begin_step(t->learner->params);
    for (int64_t i = 0; i < t->job->spec->accumulate && t->state.batch < t->batches; i++) {
        kd_batch batch;
        kd_loader_next(t->loader, &batch);
        int status = micro_step(t, &batch, normalizer);
        if (status < 0) return status;
        t->state.batch++;
    }
    kd_params_finish_grads(t->learner->params);
    double rate = kd_schedule_rate(t->job->spec, t->state.step, t->warmup, t->total);
    double norm = kd_optimizer_update(&t->optimizer, rate);
    if (!isfinite(norm))
        return kd_fail(
            KD_EDATA,
            "%s: the gradient is not finite at update %lld; lower train.learning_rate or "
            "set train.clip",
            t->job->stage, (long long)t->state.step);
    t->state.step++;
    if (t->state.batch == t->batches) {
        t->state.batch = 0;
        t->state.epoch++;
    }
    return KD_OK;
}

/* The weighted loss of sums over rows; *kl and *hard get the parts per row. */
static double mean_loss(const trainer *t, const kd_loss_parts *sums, double *kl, double *hard) {
    const double rows = sums->rows > 0 ? sums->rows : 1;
    *hard = sums->hard / rows;
    *kl = sums->kl / rows;
    return t->job->loss->hard * *hard + (t->job->store ? t->job->loss->kl * *kl : 0);
}

/* Moves what the update added from `recent` into the fading sums of the progress line. */
static void show_losses(trainer *t, const kd_loss_parts *before, char *detail, size_t capacity) {
    const double keep = 0.98;
    kd_loss_parts *shown = &t->shown;
    shown->hard = keep * shown->hard + t->recent.hard - before->hard;
    shown->kl = keep * shown->kl + t->recent.kl - before->kl;
    shown->rows = keep * shown->rows + t->recent.rows - before->rows;
    double kl, hard, total = mean_loss(t, shown, &kl, &hard);
    snprintf(detail, capacity, "loss %.4f (kl %.4f hard %.4f)", total, kl, hard);
}

/* Logs the mean losses since the last line. */
static int log_losses(trainer *t) {
    int64_t every = t->total / LOG_LINES + 1;
    if (t->state.step % every != 0 && t->state.step != t->total) return KD_OK;
    kd_runlog_step line = {
        .step = t->state.step,
        .epoch = (double)t->state.step / (double)t->updates,
        .rate = kd_schedule_rate(t->job->spec, t->state.step - 1, t->warmup, t->total)};
    line.loss = mean_loss(t, &t->recent, &line.kl, &line.hard);
    snprintf(line.stage, sizeof line.stage, "%s", t->job->stage);
    t->recent = (kd_loss_parts){0};
    return kd_runlog_write_step(t->log, &line);
}

/* At the end of an epoch: measure on the validation split, keep the best. */
static int evaluate_epoch(trainer *t) {
    const kd_train_job *job = t->job;
    bool last = t->state.epoch == job->spec->epochs;
    if (t->state.epoch % job->spec->evaluate_every != 0 && !last) return KD_OK;
    if (!job->validation) return last ? save(t, t->best_path) : KD_OK;
    kd_result result;
    kd_run_mode mode = job->mode == KD_RUN_FLOAT ? KD_RUN_FLOAT : KD_RUN_FAKE_EVAL;
    int status = kd_evaluate(&result, t->learner, mode, t->tape, job->validation, NULL);
    if (status < 0) return status;
    double accuracy = kd_result_accuracy(&result);
    kd_log("%s epoch %lld/%lld  validation %.2f %%  cross-entropy %.4f", job->stage,
           (long long)t->state.epoch, (long long)job->spec->epochs, 100 * accuracy, result.loss);
    kd_runlog_eval line = {.step = t->state.step,
                           .epoch = (double)t->state.epoch,
                           .accuracy = accuracy,
                           .loss = result.loss};
    snprintf(line.stage, sizeof line.stage, "%s", job->stage);
    status = kd_runlog_write_eval(t->log, &line);
    kd_result_free_counts(&result);
    if (status < 0 || accuracy <= t->state.best_accuracy) return status;
    t->state.best_accuracy = accuracy;
    t->state.best_epoch = t->state.epoch;
    return save(t, t->best_path);
}

static int loop(trainer *t) {
    const kd_train_spec *spec = t->job->spec;
    kd_progress progress;
    kd_progress_begin(&progress, t->job->stage, "samples", (double)(spec->batch * spec->accumulate),
                      t->state.step, t->total);
    char detail[96] = "";
    while (t->state.epoch < spec->epochs) {
        const kd_loss_parts before = t->recent;
        int status = update(t);
        if (status == KD_OK) {
            show_losses(t, &before, detail, sizeof detail);
            status = log_losses(t);
        }
        bool epoch_ended = t->state.batch == 0;
        if (status == KD_OK && epoch_ended) status = evaluate_epoch(t);
        bool due = kd_clock() - t->last_saved >= spec->checkpoint_seconds;
        if (status == KD_OK && (due || stop_requested || t->state.epoch == spec->epochs))
            status = save(t, t->last_path);
        if (status < 0) return status;
        if (t->state.epoch < spec->epochs && kd_train_take_stop())
            return kd_fail(KD_EAGAIN,
                           "%s: stopped on request after update %lld of %lld; saved: the "
                           "same command goes on from here",
                           t->job->stage, (long long)t->state.step, (long long)t->total);
        kd_progress_show(&progress, t->state.step, detail);
    }
    kd_progress_end(&progress);
    return KD_OK;
}

/* The loop between its notes in the run's log. */
static int train_on(trainer *t) {
    const kd_train_job *job = t->job;
    if (t->state.step > 0)
        kd_log("%s: going on from update %lld of %lld (epoch %lld)", job->stage,
               (long long)t->state.step, (long long)t->total, (long long)t->state.epoch + 1);
    int status = kd_runlog_open(&t->log, t->log_path, 0);
    if (status == KD_OK)
        status = kd_runlog_write_note(t->log, "start", job->stage, t->state.step, "");
    if (status == KD_OK) status = loop(t);
    if (status == KD_OK)
        status = kd_runlog_write_note(t->log, "done", job->stage, t->state.step, "");
    return status;
}

int kd_train(kd_learner *learner, const kd_train_job *job) {
    trainer t;
    int status = trainer_init(&t, learner, job);
    t.began = t.last_saved = kd_clock();
    if (status == KD_OK) status = resume(&t);
    if (status == KD_OK && t.state.epoch >= job->spec->epochs)
        kd_log("%s: already trained", job->stage);
    else if (status == KD_OK)
        status = train_on(&t);
    if (status == KD_OK) status = kd_checkpoint_load_params(t.best_path, learner->params, false);
    trainer_clear(&t);
    return status;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int kd_train_measure(kd_learner *learner, const kd_train_job *job, int steps,
                     double *seconds_per_step, size_t *arena_bytes) {
    enum { STEPS_MAX = 256 };
    double seconds[STEPS_MAX];
    KD_CONTRACT(steps >= 1 && steps <= STEPS_MAX, "%d steps", steps);
    trainer t;
    int status = trainer_init(&t, learner, job);
    for (int i = -1; i < steps && status == KD_OK; i++) { /* the first warms up */
        double began = kd_clock();
        status = update(&t);
        if (i >= 0) seconds[i] = kd_clock() - began;
    }
    if (status == KD_OK) {
        qsort(seconds, (size_t)steps, sizeof *seconds, compare_doubles);
        *seconds_per_step = seconds[steps / 2];
        *arena_bytes = kd_arena_reserved(t.tape->arena);
    }
    trainer_clear(&t);
    return status;
}
