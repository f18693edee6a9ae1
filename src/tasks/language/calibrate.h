/* What a quantizer sees of a language model before it rounds, or who makes it narrower: training
 * contexts on their way through it.
 */
#ifndef KD_TASKS_LANGUAGE_CALIBRATE_H
#define KD_TASKS_LANGUAGE_CALIBRATE_H

#include "layers/llama.h"
#include "quant/budget.h"
#include "tasks/language/contexts.h"

/* The first `samples` contexts of a fixed shuffle, or all, through the whole model, without
 * gradients; with progress on stderr. KD_EAGAIN after kd_train_request_stop. */
int kd_language_read_contexts(const kd_llama *model, kd_tape *tape, kd_contexts *contexts,
                              int64_t samples);

/* The same for a quantizer. Then `q`, which
 * is on `model`, may round. KD_EAGAIN after kd_train_request_stop. */
int kd_language_calibrate(kd_quantized *q, const kd_llama *model, kd_contexts *contexts,
                          int64_t samples);

/* A choice of formats (distill/budget.h) by the first spec->samples contexts of that shuffle; the
 * matrices of `model` are trained ones. The caller frees *out. */
int kd_language_budget(kd_budget **out, const kd_budget_spec *spec,
                       const kd_quantizable *quantizable, const kd_llama *model,
                       kd_contexts *contexts, const char *name);

#endif
