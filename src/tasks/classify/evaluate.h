/* The same test set through every model, counted per class. */
#ifndef KD_TASKS_CLASSIFY_EVALUATE_H
#define KD_TASKS_CLASSIFY_EVALUATE_H

#include "quant/blob.h"
#include "tasks/classify/learner.h"
#include "tasks/classify/report.h"

/* Anything that turns n samples x (n,h,w,c) into logits (n,classes). */
typedef int (*kd_logits_function)(void *context, int64_t n, const float *x, float *logits);

/* Accuracy, per-class counts, mean cross-entropy and time of `run` on `dataset`, in batches of one
 * hundred; the time is the median over the batches, after one that is not counted. `logits` (count,classes) receives every output unless NULL. The caller frees the counts
 * with kd_result_free_counts. KD_EDATA when a logit is not finite. */
int kd_evaluate_with(kd_result *out, kd_logits_function run, void *context,
                     const kd_dataset *dataset, float *logits);

/* The same from logits (count,classes) that a model has given; time, size and memory stay 0. */
int kd_evaluate_logits(kd_result *out, const kd_dataset *dataset, const float *logits);

/* kd_evaluate_with for a learner, with its size and memory filled in. `tape` is used without
 * recording. */
int kd_evaluate(kd_result *out, const kd_learner *learner, kd_run_mode mode, kd_tape *tape,
                const kd_dataset *dataset, float *logits);

/* The logits of n samples through a learner, without recording. */
int kd_learner_logits(const kd_learner *learner, kd_run_mode mode, kd_tape *tape, int64_t n,
                      const float *x, float *logits);

/* An exported file: the integers of a blob (`tape` NULL is allowed), or rounded weights, which are
 * those of `model`. `reference` (count,classes), the logits of the learner it was written from,
 * fills largest_difference and disagreements. Size and memory are those of the file in use. */
int kd_evaluate_exported(kd_result *out, const char *path, const kd_learner_spec *model,
                         kd_tape *tape, const kd_dataset *dataset, const float *reference);

/* The accuracy of counts that a result holds; 0 when it has no samples. */
double kd_result_accuracy(const kd_result *result);

#endif
