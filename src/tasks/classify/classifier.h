/* The task of a network that answers with a class: labels, soft targets from the store, and hints
 * from a teacher's hidden layers. */
#ifndef KD_TASKS_CLASSIFY_CLASSIFIER_H
#define KD_TASKS_CLASSIFY_CLASSIFIER_H

#include "data/store.h"
#include "distill/trainer.h"
#include "tasks/classify/learner.h"

typedef struct {
    kd_train_job loop; /* `seed` is also that of the order and the augmentations              */
    const kd_loss_config *loss;
    kd_run_mode mode;    /* KD_RUN_FLOAT or KD_RUN_FAKE_TRAIN                          */
    int64_t delay_steps; /* FAKE_TRAIN: updates before fake-quant begins               */
    const kd_dataset *train;
    const kd_dataset *validation; /* NULL: the last weights are the result                       */
    kd_augment augment;
    int64_t views;
    const kd_store *store;     /* soft targets, or NULL                                      */
    const kd_learner *teacher; /* for hints, or NULL                                         */
} kd_classifier_job;

/* kd_train of `learner`. At the end it holds the weights that did best on the validation split. */
int kd_classifier_train(kd_learner *learner, const kd_classifier_job *job);

/* kd_train_measure of it. */
int kd_classifier_measure(kd_learner *learner, const kd_classifier_job *job, int steps,
                          double *seconds_per_step, size_t *arena_bytes);

#endif
