/* The training loop: batches → forward → loss → backward → update, with evaluation, checkpoints,
 * and resumption that gives the same bits as never having stopped. */
#ifndef KD_DISTILL_TRAINER_H
#define KD_DISTILL_TRAINER_H

#include "data/store.h"
#include "distill/learner.h"

typedef struct {
    const char *stage;  /* "train", "alone" or "qat": names the files and log lines   */
    const char *folder; /* the run's                                                  */
    const kd_train_spec *spec;
    const kd_loss_config *loss;
    kd_run_mode mode;    /* KD_RUN_FLOAT or KD_RUN_FAKE_TRAIN                          */
    int64_t delay_steps; /* FAKE_TRAIN: updates before fake-quant begins               */
    const kd_dataset *train;
    const kd_dataset *validation; /* NULL: the last weights are the result                       */
    kd_augment augment;
    int64_t views;
    const kd_store *store;     /* soft targets, or NULL                                      */
    const kd_learner *teacher; /* for hints, or NULL                                         */
    kd_precision precision;
    uint64_t seed;
    kd_hash key; /* of everything above                                        */
    const char *config_json;
} kd_train_job;

/* Trains `learner`, going on from <folder>/<stage>.last.h5 when it is there; a finished job only
 * loads its result and writes nothing. At the end the learner
 * holds the weights that did best on the validation split, which are also in <stage>.best.h5.
 * KD_EAGAIN after kd_train_request_stop: the state is saved. KD_EDATA when the checkpoint belongs
 * to another job. */
int kd_train(kd_learner *learner, const kd_train_job *job);

/* Runs `steps` updates on throw-away state and gives the seconds of a median one, for --dry-run and
 * the bench. The learner's parameters change. */
int kd_train_measure(kd_learner *learner, const kd_train_job *job, int steps,
                     double *seconds_per_step, size_t *arena_bytes);

/* Asks the loop to save and stop at the next update; safe in a signal handler. */
void kd_train_request_stop(void);
/* Whether a stop was asked for and not yet carried out; carries it out. For other long loops. */
bool kd_train_take_stop(void);

#endif
