/* --bias CLASSES=SHIFT of `distill eval`. */
#ifndef KD_TASKS_CLASSIFY_BIAS_OPTION_H
#define KD_TASKS_CLASSIFY_BIAS_OPTION_H

#include "tasks/classify/class_bias.h"
#include "tasks/classify/evaluate.h"

enum { KD_BIAS_OPTIONS_MAX = 16 };

typedef struct {
    int count;
    kd_class_bias bias[KD_BIAS_OPTIONS_MAX];
    bool chosen[KD_BIAS_OPTIONS_MAX]; /* "auto": the shift is to be found */
} kd_bias_options;

/* The `count` values of --bias. CLASSES are names, with commas between them; SHIFT is a number or
 * "auto". */
int kd_bias_options_parse(kd_bias_options *out, int count, const char *const *values,
                          const kd_dataset *dataset);

/* Whether one is "auto". */
bool kd_bias_options_auto(const kd_bias_options *options);

/* Finds those that are "auto" from a model's logits (count,classes) of held-out samples, which
 * `result` has counted; each with the ones before it in force, which `logits` then are too. */
int kd_bias_options_choose(kd_bias_options *options, const kd_result *result,
                           const kd_dataset *held, float *logits);

/* "bias 3 +3.50, 7,8 −7.60" */
void kd_bias_options_name(const kd_bias_options *options, const kd_dataset *dataset, char *out,
                          size_t capacity);

#endif
