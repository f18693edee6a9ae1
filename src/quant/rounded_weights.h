/* Weights as a file will hold them, for any model: the part of quantizer.h that is the same however
 * a matrix is rounded, and training with them.
 *
 *     forward    w_r = decode(encode(w))        the file's own code, so the file's own numbers
 *     backward   ∂L/∂w ← ∂L/∂w_r                straight through (Bengio et al. 2013)
 *
 * The rule has no mask: a block's scale follows its largest weight, so no weight is ever clipped by
 * more than one step. Since the gradient of w is that of w_r, no node on the tape is needed: the
 * tensors of the model point at a second slab of values, and their gradients stay where they are.
 * Every use of a tensor (a token embedding is also the output matrix) sees the same rounding, once
 * per step; so do evaluation and decoding. Parts that are not trained are rounded too: what is
 * trained learns with what will be beside it in the file.
 *
 * kd_optimizer_update works on kd_params.value, the unrounded weights, as do checkpoints and
 * kd_params_hash.
 */
#ifndef KD_QUANT_ROUNDED_WEIGHTS_H
#define KD_QUANT_ROUNDED_WEIGHTS_H

#include "quant/quantizer.h"

/* Rows are shared among so many lanes, each with its own scratch; a row's bits depend on the row
 * alone. */
enum { KD_ROUNDING_LANES = 32 };

int kd_rounded_create(kd_quantized **out, const kd_quantizable *model,
                      const kd_quantize_spec *spec);
void kd_rounded_free(kd_quantized *q);
int kd_rounded_start(kd_quantized *q);
void kd_rounded_watch(kd_quantized *q, kd_tape *tape);
int kd_rounded_calibrated(kd_quantized *q);
int kd_rounded_round(kd_quantized *q);
void kd_rounded_leave(kd_quantized *q);
void kd_rounded_show(kd_quantized *q, kd_input_squares *seen);
const kd_encoding *kd_rounded_encodings(const kd_quantized *q);

/* What a row of KD_QUANTIZERS has besides its name, what it sees and round_matrix. */
#define KD_ROUNDED_WEIGHTS                                                                         \
    .create = kd_rounded_create, .free = kd_rounded_free, .start = kd_rounded_start,               \
    .watch = kd_rounded_watch, .show = kd_rounded_show, .calibrated = kd_rounded_calibrated,       \
    .round = kd_rounded_round, .leave = kd_rounded_leave, .encodings = kd_rounded_encodings

/* Encodes every row of the matrix by itself, in parallel. `importance` (groups,n) as in
 * number_format.h, of as many equal groups of rows; or NULL. */
void kd_round_rows(const kd_rounding *matrix, const float *importance, int groups);

#endif
