#ifndef KD_TASKS_SPEECH_BENCH_WHISPER_H
#define KD_TASKS_SPEECH_BENCH_WHISPER_H

#include <stdbool.h>

#include "layers/whisper.h"

/* Whether `name` is one of the recipes: "whisper_base_en" or "whisper_small". */
bool kd_bench_is_whisper(const char *name);

/* Times training steps of a recipe with random weights, `windows` of 30 s each: the frozen encoder,
 * and the student's decoder with the loss against hidden states, clipping and AdamW. Prints one
 * line. */
int kd_bench_whisper(const char *name, int64_t windows, kd_precision precision);

/* What training a student costs on this machine. */
typedef struct {
    double listening; /* seconds of the frozen encoder for one window                            */
    double learning;  /* seconds of an update behind it: decoder, loss, backward, AdamW          */
    double updating;  /* of them, those of AdamW                                                 */
    double bytes;     /* of parameters, gradients, moments and activations                       */
    int64_t parameters, trained;
} kd_whisper_costs;

/* Measures students of `spec` with random weights, a few updates from batches of `windows`. */
int kd_bench_whisper_costs(kd_whisper_costs *out, const kd_whisper_spec *spec, int64_t windows,
                           kd_precision precision);

#endif
