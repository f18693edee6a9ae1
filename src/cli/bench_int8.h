/* The integer inference's part of `distill bench`. */
#ifndef KD_CLI_BENCH_INT8_H
#define KD_CLI_BENCH_INT8_H

#include <stdint.h>

/* Writes ResNet-8 with projection shortcuts as an exported blob: random weights, ranges observed
 * on noise. */
int kd_bench_export(const char *path);

/* Prints samples per second of a blob on batches of `batch` samples. `input` holds one batch as
 * float32 (NULL: noise); its logits are written to `output` (NULL: nowhere). */
int kd_bench_blob(const char *path, int64_t batch, const char *input, const char *output);

#endif
