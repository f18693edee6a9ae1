/* The loops of integer inference that want the processor's full width: u8 activations, int8
 * weights, int32 sums. One of the Makefile's KERNELS. `x` is a sample's input, `zero` its stored
 * zero; `out` is where the task's part of the output begins, unless it is said to be the whole. */
#ifndef KD_QUANT_INT8_OPS_H
#define KD_QUANT_INT8_OPS_H

#include "quant/blob_internal.h"

/* Products with packed weights. The lines of the image that the task's lines of `whole` read are
 * copied to t->input, with zeros around. */
void kd_int8_conv(const kd_blob_task *t, const kd_blob_node *node, const uint8_t *x,
                  uint8_t *whole);
/* All samples of the task at once: they are the rows. */
void kd_int8_linear(const kd_blob_task *t, int index);

/* out[c] = requantized Σ_taps (x − zero)·w at each place, channels side by side. */
void kd_int8_depthwise(const kd_blob_node *node, const uint8_t *x, int32_t zero,
                       kd_blob_range lines, uint8_t *out);

/* By the windows of node->spec. */
void kd_int8_max_pool(const kd_blob_node *node, const uint8_t *x, kd_blob_range lines,
                      uint8_t *out);
void kd_int8_mean_pool(const kd_blob_node *node, const uint8_t *x, int32_t zero,
                       kd_blob_range lines, uint8_t *out);

/* kd_add_steps of the two inputs' values; `whole` output. */
void kd_int8_add(const kd_blob *blob, const kd_blob_node *node, const uint8_t *a, const uint8_t *b,
                 kd_blob_range values, uint8_t *whole);

/* Real numbers to stored values; `whole` both. */
void kd_int8_input(const kd_blob_node *node, const float *x, kd_blob_range values, uint8_t *whole);

#endif
