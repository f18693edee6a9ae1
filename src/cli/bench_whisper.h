#ifndef KD_CLI_BENCH_WHISPER_H
#define KD_CLI_BENCH_WHISPER_H

#include <stdbool.h>

#include "autograd/tape.h"

/* Whether `name` is one of the recipes: "whisper_base_en" or "whisper_small". */
bool kd_bench_is_whisper(const char *name);

/* Times training steps of a recipe with random weights, `windows` of 30 s each: the frozen encoder,
 * and the student's decoder with the loss against hidden states, clipping and AdamW. Prints one
 * line. */
int kd_bench_whisper(const char *name, int64_t windows, kd_precision precision);

#endif
