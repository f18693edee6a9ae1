#include "distill/trainer.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"
#include "base/slurm.h"
#include "distill/checkpoint.h"
#include "distill/gradient.h"
#include "distill/optimizer.h"
#include "layers/weights.h"
#include "report/runlog.h"
#include "report/tensorboard.h"

/* About this many loss lines are written to the log over a whole stage. */
enum { LOG_LINES = 1000 };

static volatile sig_atomic_t stop_requested;

void kd_train_request_stop(void) {
    stop_requested = 1;
}

bool kd_train_stop_asked(void) {
    return stop_requested != 0;
}

bool kd_train_take_stop(void) {
    const bool asked = kd_train_stop_asked();
    stop_requested = 0;
    return asked;
}

typedef struct {
    kd_loss_sums parts;
    double total; /* Σ over rows of what was minimised: every term, weighted */
} loss_sums;

typedef struct {
    const kd_objective *task;
    const kd_train_job *job;
    kd_tape *tape;
    kd_gradient gradient;
    kd_optimizer optimizer;
    uint64_t dropout; /* key of its streams, one for each micro-batch */
    kd_real
        *whole[KD_OPTIMIZER_MOMENTS]; /* moments of all ranks, on the first, to save and resume */
    loss_sums *leaf;                  /* of each micro-batch of an update             */
    kd_runlog *log;                   /* this and the board: of the first rank */
    kd_tensorboard *board;
    kd_progress_state state;
    int64_t updates, total, warmup; /* per epoch; in all; of them with a rising rate */
    loss_sums recent;               /* since the last log line                      */
    loss_sums shown;                /* the same, fading: for the progress line      */
    double began, last_saved;
    char last_path[KD_PATH_MAX], best_path[KD_PATH_MAX], log_path[KD_PATH_MAX],
        board_path[KD_PATH_MAX];
} trainer;

static void trainer_clear(trainer *t) {
    kd_tape_free(t->tape);
    kd_gradient_clear(&t->gradient);
    kd_optimizer_clear(&t->optimizer);
    free(t->leaf);
    kd_runlog_close(t->log);
    kd_tensorboard_close(t->board);
}

static int make_paths(trainer *t) {
    const kd_train_job *job = t->job;
    char name[64];
    snprintf(name, sizeof name, "%s.last.h5", job->stage);
    int status = kd_path_join(t->last_path, job->folder, name);
    snprintf(name, sizeof name, "%s.best.h5", job->stage);
    if (status == KD_OK) status = kd_path_join(t->best_path, job->folder, name);
    if (status == KD_OK) status = kd_path_join(t->log_path, job->folder, "log.jsonl");
    snprintf(name, sizeof name, "tensorboard/%s", job->stage);
    return status < 0 ? status : kd_path_join(t->board_path, job->folder, name);
}

/* What an update is put together in. */
static int make_leaves(trainer *t) {
    const int64_t batches = t->task->batches, most = t->job->spec->accumulate;
    const int64_t full = most < batches ? most : batches, rest = batches % full;
    int status = kd_gradient_init(&t->gradient, t->task->params, &t->optimizer.deal, full,
                                  rest ? rest : full);
    if (status < 0) return status;
    t->leaf = malloc(kd_array_bytes(full, sizeof *t->leaf));
    if (t->leaf) return KD_OK;
    return kd_fail_memory((size_t)full * sizeof *t->leaf, "the losses of an update");
}

static int trainer_init(trainer *t, const kd_objective *task, const kd_train_job *job) {
    *t = (trainer){.task = task, .job = job};
    t->state.best_value = NAN;
    t->state.best_metric[0] = '\0';
    KD_CONTRACT(task->term_count <= KD_TERMS_MAX && task->metric_count <= KD_METRICS_MAX &&
                    (!task->evaluate || task->metric_count > 0),
                "%d terms, %d metrics", task->term_count, task->metric_count);
    if (task->evaluate)
        snprintf(t->state.best_metric, sizeof t->state.best_metric, "%s", task->metric[0].name);
    int status = kd_tape_create(&t->tape, job->seed);
    if (status == KD_OK) status = kd_optimizer_init(&t->optimizer, task->params, job->spec);
    if (status == KD_OK) status = make_leaves(t);
    if (status < 0) return status;
    t->dropout = t->tape->rng.key;
    t->tape->precision = job->precision;
    t->tape->recompute = job->spec->recompute;
    t->updates = (task->batches + job->spec->accumulate - 1) / job->spec->accumulate;
    t->total = t->updates * job->spec->epochs;
    t->warmup = (int64_t)llround(job->spec->warmup_epochs * (double)t->updates);
    return KD_OK;
}

static kd_checkpoint describe_checkpoint(trainer *t) {
    kd_checkpoint c = {.params = t->task->params,
                       .moment_count = t->optimizer.moment_count,
                       .state = t->state,
                       .key = t->job->key,
                       .origin = t->job->origin,
                       .config_json = t->job->config_json,
                       .stage = t->job->stage};
    for (int m = 0; m < c.moment_count; m++) c.moment[m] = t->whole[m];
    c.state.dropout = (kd_rng){.key = t->dropout};
    c.state.optimizer_step = t->optimizer.step;
    c.state.elapsed += kd_clock() - t->began;
    return c;
}

/* Room for the moments of all ranks on the first; alone, they are there. */
static int make_whole(trainer *t) {
    const size_t bytes = kd_array_bytes(t->task->params->trained_size, sizeof(kd_real));
    int status = KD_OK;
    for (int m = 0; m < t->optimizer.moment_count && status == KD_OK; m++) {
        if (kd_rank_count() == 1) t->whole[m] = t->optimizer.moment[m];
        if (kd_rank_count() == 1 || !kd_rank_first()) continue;
        t->whole[m] = kd_large_alloc(bytes + 1);
        if (t->whole[m])
            memset(t->whole[m], 0, bytes);
        else
            status = kd_fail_memory(bytes, "the optimizer's moments of all ranks");
    }
    return kd_ranks_worst(status);
}

static void drop_whole(trainer *t) {
    for (int m = 0; m < KD_OPTIMIZER_MOMENTS; m++) {
        if (kd_rank_count() > 1) free(t->whole[m]);
        t->whole[m] = NULL;
    }
}

static int save_first(trainer *t, const char *path) {
    kd_checkpoint c = describe_checkpoint(t);
    int status = kd_params_check(c.params, t->job->stage); /* the file before stays good */
    return status < 0 ? status : kd_checkpoint_save(path, &c);
}

/* By the first rank, who asks the others for their moments. */
static int save(trainer *t, const char *path) {
    int status = make_whole(t);
    for (int m = 0; m < t->optimizer.moment_count && status == KD_OK && kd_rank_count() > 1; m++)
        kd_optimizer_collect(&t->optimizer, m, t->whole[m]);
    if (status == KD_OK && kd_rank_first()) status = save_first(t, path);
    drop_whole(t);
    t->last_saved = kd_clock();
    return status;
}

/* The best so far was chosen by the metric that chooses now: others cannot be compared. */
static int check_best(const trainer *t, const kd_progress_state *saved) {
    const char *now = t->state.best_metric;
    if (strcmp(saved->best_metric, now) == 0 || saved->best_epoch == 0 || !now[0]) return KD_OK;
    return kd_fail(KD_EDATA,
                   "%s: its best weights, of epoch %lld, were chosen by \"%s\", and this program "
                   "chooses by \"%s\"; use --fresh to start over, or another name",
                   t->last_path, (long long)saved->best_epoch, saved->best_metric, now);
}

/* Puts everything back to what <stage>.last.h5 holds, when it is there. */
static int read_last(trainer *t) {
    if (!kd_file_exists(t->last_path)) return KD_OK;
    kd_checkpoint c = describe_checkpoint(t);
    int status = kd_checkpoint_load(t->last_path, &c);
    if (status == KD_OK) status = check_best(t, &c.state);
    if (status < 0) return status;
    memcpy(c.state.best_metric, t->state.best_metric, sizeof c.state.best_metric);
    if (c.state.dropout.counter != 0)
        kd_warn("%s: an older program began this stage, whose dropout drew other numbers",
                t->last_path);
    t->state = c.state;
    t->optimizer.step = c.state.optimizer_step;
    return KD_OK;
}

/* The weights of the first rank to all. */
static void share_weights(kd_params *params) {
    kd_ranks_share(params->value, (size_t)params->slab_size * sizeof *params->value);
    kd_params_touch(params);
}

/* What the first rank read, on all. */
static int resume(trainer *t) {
    int status = make_whole(t);
    if (status == KD_OK) status = kd_ranks_worst(kd_rank_first() ? read_last(t) : KD_OK);
    if (status == KD_OK) {
        kd_ranks_share(&t->state, sizeof t->state);
        kd_ranks_share(&t->optimizer.step, sizeof t->optimizer.step);
        for (int m = 0; m < t->optimizer.moment_count && kd_rank_count() > 1; m++)
            kd_optimizer_spread(&t->optimizer, m, t->whole[m]);
        share_weights(t->task->params);
    }
    drop_whole(t);
    return status;
}

/* Forward and backward of one micro-batch; its gradient is in the slab, its losses in *losses. */
static int micro_step(trainer *t, const kd_train_place *at, double normalizer, loss_sums *losses) {
    *losses = (loss_sums){0};
    if (kd_tape_guard(t->tape)) return KD_EINTERNAL;
    kd_tape_reset(t->tape);
    t->tape->rng = kd_rng_init(t->dropout, (uint64_t)(at->epoch * t->task->batches + at->batch));
    kd_gradient_enter(&t->gradient);
    kd_tensor *loss;
    int status = t->task->loss(&loss, t->task->context, t->tape, at, normalizer, &losses->parts);
    if (status < 0) return status;
    if (!isfinite((double)loss->value[0]))
        return kd_fail(KD_EDATA,
                       "%s: the loss is %g at update %lld; lower train.learning_rate or set "
                       "train.clip",
                       t->job->stage, (double)loss->value[0], (long long)t->state.step);
    losses->total = (double)loss->value[0] * normalizer;
    kd_gradient_backward(&t->gradient, t->tape, loss);
    return KD_OK;
}

/* The losses of all micro-batches into `recent`, in their order. */
static void add_losses(trainer *t, int64_t n) {
    kd_ranks_gather_parts(t->leaf, n, sizeof *t->leaf);
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < t->task->term_count; k++)
            t->recent.parts.term[k] += t->leaf[i].parts.term[k];
        t->recent.parts.rows += t->leaf[i].parts.rows;
        t->recent.total += t->leaf[i].total;
    }
}

/* The micro-batches of the update that begins with `batch`. */
static int64_t batches_of_update(const trainer *t, int64_t batch) {
    return kd_smaller(t->job->spec->accumulate, t->task->batches - batch);
}

/* This rank's first of the update that begins with `batch`, −1 when it has none. */
static int64_t first_of_update(const trainer *t, int64_t batch) {
    int64_t first, end;
    kd_ranks_part(kd_rank(), batches_of_update(t, batch), &first, &end);
    return first < end ? batch + first : -1;
}

/* The gradient of `accumulate` micro-batches, those of all ranks; → how many there were. */
static int find_gradient(trainer *t, int64_t *count) {
    const kd_objective *task = t->task;
    kd_train_place at = {t->state.epoch, t->state.batch, t->state.step, -1};
    const int64_t begin = at.batch, n = batches_of_update(t, begin);
    int64_t first, end;
    const double rows = task->rows(task->context, &at, n), normalizer = rows > 0 ? rows : 1;
    int status = KD_OK;
    kd_gradient_begin(&t->gradient, n, &first, &end);
    for (int64_t i = first; i < end && status == KD_OK; i++) {
        at.batch = begin + i;
        at.after = i + 1 < end ? at.batch + 1 : first_of_update(t, begin + n);
        status = micro_step(t, &at, normalizer, &t->leaf[i]);
    }
    kd_gradient_exchange(&t->gradient, status < 0);
    status = kd_ranks_worst(status);
    if (status < 0) return status;
    kd_gradient_finish(&t->gradient);
    add_losses(t, n);
    *count = n;
    return KD_OK;
}

static int update(trainer *t) {
    int64_t n;
    int status = find_gradient(t, &n);
    if (status < 0) return status;
    double rate = kd_schedule_rate(t->job->spec, t->state.step, t->warmup, t->total);
    const double norm = kd_optimizer_update(&t->optimizer, rate);
    if (!isfinite(norm))
        return kd_fail(
            KD_EDATA,
            "%s: the gradient is not finite at update %lld; lower train.learning_rate or "
            "set train.clip",
            t->job->stage, (long long)t->state.step);
    t->state.step++;
    t->state.batch += n;
    if (t->state.batch == t->task->batches) {
        t->state.batch = 0;
        t->state.epoch++;
    }
    return KD_OK;
}

enum { NUMBERS_MAX = KD_TERMS_MAX + 2 };

/* What was minimised, for each row, and the terms of it before weighting → out (1 + terms). */
static int mean_losses(const trainer *t, const loss_sums *sums, kd_scalar out[NUMBERS_MAX]) {
    const double rows = sums->parts.rows > 0 ? sums->parts.rows : 1;
    int n = 0;
    out[n++] = (kd_scalar){"loss", sums->total / rows};
    for (int i = 0; i < t->task->term_count; i++)
        out[n++] = (kd_scalar){t->task->term[i].name, sums->parts.term[i] / rows};
    return n;
}

/* "loss 0.4120 (kl 0.3100 hard 0.1020)" */
static void write_losses(char *out, size_t capacity, int count, const kd_scalar *mean) {
    size_t used = 0;
    for (int i = 0; i < count && used < capacity; i++)
        used += (size_t)snprintf(out + used, capacity - used, "%s%s %.4f%s",
                                 i == 1  ? " ("
                                 : i > 1 ? " "
                                         : "",
                                 mean[i].name, mean[i].value, i > 0 && i + 1 == count ? ")" : "");
}

/* Moves what the update added from `recent` into the fading sums of the progress line. */
static void show_losses(trainer *t, const loss_sums *before, char *detail, size_t capacity) {
    const double keep = 0.98;
    const loss_sums *now = &t->recent;
    loss_sums *shown = &t->shown;
    for (int i = 0; i < t->task->term_count; i++)
        shown->parts.term[i] =
            keep * shown->parts.term[i] + now->parts.term[i] - before->parts.term[i];
    shown->parts.rows = keep * shown->parts.rows + now->parts.rows - before->parts.rows;
    shown->total = keep * shown->total + now->total - before->total;
    kd_scalar mean[NUMBERS_MAX];
    write_losses(detail, capacity, mean_losses(t, shown, mean), mean);
}

static kd_runlog_place place_of(const trainer *t) {
    return (kd_runlog_place){t->job->stage, t->state.step,
                             (double)t->state.step / (double)t->updates};
}

/* Logs the mean losses since the last line. */
static int log_losses(trainer *t) {
    int64_t every = t->total / LOG_LINES + 1;
    if (t->state.step % every != 0 && t->state.step != t->total) return KD_OK;
    const kd_runlog_place at = place_of(t);
    kd_scalar number[NUMBERS_MAX];
    int n = mean_losses(t, &t->recent, number);
    number[n++] =
        (kd_scalar){"lr", kd_schedule_rate(t->job->spec, t->state.step - 1, t->warmup, t->total)};
    t->recent = (loss_sums){0};
    if (!t->log) return KD_OK;
    int status = kd_runlog_write_step(t->log, &at, n, number);
    number[n - 1].name = "learning_rate";
    return status < 0 ? status : kd_tensorboard_add(t->board, at.step, n, number);
}

/* "train epoch 2/8  validation accuracy 84.21 %  cross-entropy 0.4312" */
static void tell_scores(const trainer *t, const kd_estimate *score) {
    char text[512], value[48];
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < t->task->metric_count && used < sizeof text; i++) {
        const kd_metric *metric = &t->task->metric[i];
        kd_metric_text(value, sizeof value, metric, score[i].value);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s %s", i ? "  " : "",
                                 metric->title ? metric->title : metric->name, value);
    }
    kd_log("%s epoch %lld/%lld  validation %s", t->job->stage, (long long)t->state.epoch,
           (long long)t->job->spec->epochs, text);
}

static int log_scores(trainer *t, const kd_estimate *score) {
    char name[KD_METRICS_MAX][KD_METRIC_NAME_MAX + 12];
    kd_scalar scalar[KD_METRICS_MAX];
    const kd_runlog_place at = place_of(t);
    const int count = t->task->metric_count;
    for (int i = 0; i < count; i++) {
        snprintf(name[i], sizeof name[i], "validation/%s", t->task->metric[i].name);
        scalar[i] = (kd_scalar){name[i], score[i].value};
    }
    int status = kd_runlog_write_eval(t->log, &at, count, t->task->metric, score);
    return status < 0 ? status : kd_tensorboard_add(t->board, at.step, count, scalar);
}

/* At the end of an epoch: measure on what is held out, keep the best. */
static int evaluate_epoch(trainer *t) {
    const kd_train_job *job = t->job;
    bool last = t->state.epoch == job->spec->epochs;
    if (t->state.epoch % job->spec->evaluate_every != 0 && !last) return KD_OK;
    if (!t->task->evaluate) return last ? save(t, t->best_path) : KD_OK;
    kd_estimate score[KD_METRICS_MAX];
    int status = t->task->evaluate(score, t->task->context, t->tape);
    if (status < 0) return status;
    tell_scores(t, score);
    if (t->log) status = log_scores(t, score);
    const bool first = t->state.best_epoch == 0;
    if (status < 0 ||
        (!first && !kd_metric_is_better(&t->task->metric[0], score[0].value, t->state.best_value)))
        return status;
    t->state.best_value = score[0].value;
    t->state.best_epoch = t->state.epoch;
    return save(t, t->best_path);
}

static int loop(trainer *t) {
    const kd_train_spec *spec = t->job->spec;
    kd_progress progress;
    kd_progress_begin(&progress, t->job->stage, t->task->unit,
                      (double)(spec->batch * spec->accumulate), t->state.step, t->total);
    char detail[256] = "";
    while (t->state.epoch < spec->epochs) {
        const loss_sums before = t->recent;
        int status = update(t);
        if (status == KD_OK) {
            show_losses(t, &before, detail, sizeof detail);
            status = log_losses(t);
        }
        bool epoch_ended = t->state.batch == 0;
        if (status == KD_OK && epoch_ended) status = evaluate_epoch(t);
        const bool waited = kd_clock() - t->last_saved >= spec->checkpoint_seconds;
        const bool due = kd_ranks_any(waited && kd_rank_first());
        const bool stop = kd_ranks_any(stop_requested);
        if (status == KD_OK && (due || stop || t->state.epoch == spec->epochs))
            status = save(t, t->last_path);
        if (status < 0) return status;
        if (t->state.epoch < spec->epochs && stop) {
            kd_train_take_stop();
            kd_fail(KD_EAGAIN,
                    "%s: stopped on request after update %lld of %lld; saved: the "
                    "same command goes on from here",
                    t->job->stage, (long long)t->state.step, (long long)t->total);
            return kd_ranks_worst(KD_EAGAIN); /* not before the first has saved */
        }
        kd_progress_show(&progress, t->state.step, detail);
    }
    kd_progress_end(&progress);
    return KD_OK;
}

/* The curves of a stage that begins anew replace those there were. */
static int open_board(trainer *t) {
    static const char *const events[] = {"events.out.tfevents.*", NULL};
    int status = t->state.step == 0 ? kd_file_remove_matching(t->board_path, events) : KD_OK;
    return status < 0 ? status : kd_tensorboard_open(&t->board, t->board_path, t->state.step + 1);
}

/* The loop between its notes in the run's log, which the first rank keeps. */
static int train_on(trainer *t) {
    const kd_train_job *job = t->job;
    if (!kd_rank_first()) return loop(t);
    if (t->state.step > 0)
        kd_log("%s: going on from update %lld of %lld (epoch %lld)", job->stage,
               (long long)t->state.step, (long long)t->total, (long long)t->state.epoch + 1);
    int status = kd_runlog_take_back(t->log_path, job->stage, t->state.step);
    if (status == KD_OK) status = kd_runlog_open(&t->log, t->log_path, 0);
    char started_by[512];
    kd_slurm_describe(started_by, sizeof started_by);
    if (status == KD_OK)
        status = kd_runlog_write_note(t->log, "start", job->stage, t->state.step, started_by);
    if (status == KD_OK) status = open_board(t);
    if (status == KD_OK) status = loop(t);
    if (status == KD_OK)
        status = kd_runlog_write_note(t->log, "done", job->stage, t->state.step, "");
    return status;
}

static int read_best(trainer *t) {
    const kd_checkpoint c = describe_checkpoint(t);
    int status = kd_checkpoint_check(t->best_path, &c);
    return status < 0 ? status : kd_checkpoint_load_params(t->best_path, t->task->params, NULL);
}

/* The best weights, which are this job's like the last ones. */
static int load_best(trainer *t) {
    int status = kd_ranks_worst(kd_rank_first() ? read_best(t) : KD_OK);
    if (status == KD_OK) share_weights(t->task->params);
    return status;
}

int kd_train(const kd_objective *task, const kd_train_job *job) {
    trainer t;
    int status = trainer_init(&t, task, job);
    if (status == KD_OK) status = make_paths(&t);
    t.began = t.last_saved = kd_clock();
    if (status == KD_OK) status = resume(&t);
    if (status == KD_OK && t.state.epoch >= job->spec->epochs)
        kd_log("%s: already trained", job->stage);
    else if (status == KD_OK)
        status = train_on(&t);
    if (status == KD_OK) status = load_best(&t);
    trainer_clear(&t);
    return status;
}

int kd_train_measure(const kd_objective *task, const kd_train_job *job, int steps,
                     double *seconds_per_step, size_t *arena_bytes) {
    enum { STEPS_MAX = 256 };
    double seconds[STEPS_MAX];
    KD_CONTRACT(steps >= 1 && steps <= STEPS_MAX, "%d steps", steps);
    trainer t;
    int status = trainer_init(&t, task, job);
    for (int i = -1; i < steps && status == KD_OK; i++) { /* the first warms up */
        double began = kd_clock();
        status = update(&t);
        if (i >= 0) seconds[i] = kd_clock() - began;
    }
    if (status == KD_OK) {
        *seconds_per_step = kd_median(seconds, steps);
        *arena_bytes = kd_tape_reserved(t.tape);
    }
    trainer_clear(&t);
    return status;
}
