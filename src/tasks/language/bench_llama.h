#ifndef KD_TASKS_LANGUAGE_BENCH_LLAMA_H
#define KD_TASKS_LANGUAGE_BENCH_LLAMA_H

#include <stdbool.h>

#include "layers/llama.h"

/* Whether `name` is that of the recipe, "smollm_student". */
bool kd_bench_is_llama(const char *name);

/* Times training steps of the recipe with random weights, `contexts` of 512 tokens each: a student
 * of 14 layers of SmolLM2-135M, the loss against its teacher's stored hidden states, clipping and
 * AdamW. Prints one line. */
int kd_bench_llama(int64_t contexts, kd_precision precision);

#endif
