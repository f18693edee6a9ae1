/* What a quantizer sees of a language model before it rounds, and whoever makes it narrower:
 * training contexts on their way through it. */
#ifndef KD_TASKS_LANGUAGE_CALIBRATE_H
#define KD_TASKS_LANGUAGE_CALIBRATE_H

#include "layers/llama.h"
#include "quant/budget.h"
#include "quant/input_squares.h"
#include "tasks/language/contexts.h"

/* The first `samples` contexts of a fixed shuffle, or all; with progress on stderr. Then `q`, which
 * is on `model`, may round. KD_EAGAIN after kd_train_request_stop. */
int kd_language_calibrate(kd_quantized *q, const kd_llama *model, kd_contexts *contexts,
                          int64_t samples);

/* The same for what the products of the model see, which then is known. */
int kd_language_watch(kd_input_squares *seen, const kd_llama *model, kd_contexts *contexts,
                      int64_t samples);

/* A choice of formats (distill/budget.h) by the first spec->samples contexts of that shuffle; the
 * matrices of `model` are trained ones. The caller frees *out. */
int kd_language_budget(kd_budget **out, const kd_budget_spec *spec,
                       const kd_quantizable *quantizable, const kd_llama *model,
                       kd_contexts *contexts, const char *name);

#endif
