/* The training loop: micro-batches → loss → backward → update, with evaluation, checkpoints, and
 * resumption that gives the same bits as never having stopped. What is learnt, and from what, is a
 * kd_objective's business: one for each task. */
#ifndef KD_DISTILL_TRAINER_H
#define KD_DISTILL_TRAINER_H

#include "autograd/param.h"
#include "autograd/tape.h"
#include "base/hash.h"
#include "distill/origin.h"
#include "distill/train_spec.h"
#include "report/metric.h"

/* Where the loop stands: the micro-batch to take next, and the updates done so far; and the
 * micro-batch of the epoch that this rank takes after that, −1 when there is none. */
typedef struct {
    int64_t epoch, batch, step, after;
} kd_train_place;

enum { KD_TERMS_MAX = 8 };

/* Sums over rows of the terms of the loss, before weighting, and their rows: for the log. */
typedef struct {
    double term[KD_TERMS_MAX]; /* in the order of the objective's terms */
    double rows;
} kd_loss_sums;

/* What the loop asks of whoever has a model and data. Everything is a pure function of the place,
 * so that a loop may begin anywhere. */
typedef struct {
    void *context;     /* handed to the functions                                              */
    kd_params *params; /* updated, saved and restored                                          */
    int64_t batches;   /* micro-batches per epoch ≥ 1                                          */
    const char *unit;  /* what a micro-batch has train.batch of, for the progress line         */
    int term_count;    /* terms of the loss, as log and progress line call them: "kl", "hard"  */
    const kd_metric *term;
    int metric_count; /* what `evaluate` measures; the first chooses the best weights         */
    const kd_metric *metric;

    /* Rows of n micro-batches from `at` on: what their losses are divided by; of none, whose loss
     * is 0, by 1. */
    double (*rows)(void *context, const kd_train_place *at, int64_t n);
    /* Records the loss of the micro-batch at `at` on an empty, guarded tape → *out (1); adds to
     * *sums. A negative status ends the training. */
    int (*loss)(kd_tensor **out, void *context, kd_tape *tape, const kd_train_place *at,
                double normalizer, kd_loss_sums *sums);
    /* Measures the present weights on held-out samples → out (metric_count); NULL: the last weights
     * are the result. The tape is free to use. */
    int (*evaluate)(kd_estimate *out, void *context, kd_tape *tape);
} kd_objective;

typedef struct {
    const char *stage;  /* "train", "baseline" or "qat": names the files and log lines   */
    const char *folder; /* the run's                                                  */
    const kd_train_spec *spec;
    kd_precision precision;
    uint64_t seed;           /* of dropout */
    kd_hash key;             /* of everything that decides the result */
    const kd_origin *origin; /* the same, fact by fact, for the files and refusals; or NULL */
    const char *config_json;
} kd_train_job;

/* Trains, going on from <folder>/<stage>.last.h5 when it is there; a finished job only loads its
 * result and writes nothing. At the end the parameters are those that scored best, which are also
 * in <stage>.best.h5; curves for TensorBoard lie in <folder>/tensorboard/<stage>. KD_EAGAIN after
 * kd_train_request_stop: the state is saved. KD_EDATA when a checkpoint belongs to another job, or
 * its best weights were chosen by another metric. */
int kd_train(const kd_objective *task, const kd_train_job *job);

/* Runs `steps` updates on throw-away state and gives the seconds of a median one, for --dry-run and
 * the bench. The parameters change; job->folder is not needed. */
int kd_train_measure(const kd_objective *task, const kd_train_job *job, int steps,
                     double *seconds_per_step, size_t *arena_bytes);

/* Asks the loop to save and stop at the next update; safe in a signal handler. */
void kd_train_request_stop(void);
/* Whether a stop was asked for and not yet carried out; the second carries it out. For other long
 * loops. */
bool kd_train_stop_asked(void);
bool kd_train_take_stop(void);

#endif
