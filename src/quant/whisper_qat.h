/* Quantization-aware training of Whisper: the model computes with its weights as a file will hold
 * them, while the optimizer updates the unrounded ones.
 *
 *     forward    w_r = decode(encode(w))        the file's own code, so the file's own numbers
 *     backward   ∂L/∂w ← ∂L/∂w_r                straight through (Bengio et al. 2013)
 *
 * The rule has no mask: a block's scale follows its largest weight, so no weight is ever clipped by
 * more than one step. Since the gradient of w is that of w_r, no node on the tape is needed: the
 * tensors of the model point at a second slab of values, and their gradients stay where they are.
 * Every use of a tensor (the token embedding is also the output matrix) sees the same rounding,
 * once per step; so do evaluation, kd_whisper_encode and decoding sessions. The frozen encoder is
 * rounded too: the decoder learns with the encoder that will be beside it in the file. (Outputs of
 * the encoder that were kept from before do not belong to it.)
 *
 * A training step, and what belongs outside:
 *
 *     kd_whisper_qat_round(qat);      after every change of weights: updates, checkpoints read
 *     … forward, backward, evaluate …
 *     kd_optimizer_update(…);         works on kd_params.value, the unrounded weights, as do
 *                                     checkpoints and kd_params_hash
 *     kd_whisper_qat_leave(qat);      before the model is written to a file: the file rounds
 */
#ifndef KD_QUANT_WHISPER_QAT_H
#define KD_QUANT_WHISPER_QAT_H

#include "files/formats/number_format.h"
#include "layers/whisper.h"

typedef struct kd_whisper_qat kd_whisper_qat;

/* For matrices in `format`, any that can be encoded; the other parameters are rounded as
 * kd_whisper_format_of says. Borrows the model, which is laid out; nothing is rounded yet. Takes
 * the memory of the rounded weights once more. KD_EUSAGE when the width does not divide into
 * blocks; `name` is for that message. The caller frees, before the model. */
int kd_whisper_qat_create(kd_whisper_qat **out, kd_whisper *model, const kd_number_format *format,
                          const char *name);
void kd_whisper_qat_free(kd_whisper_qat *qat); /* leaves, too; NULL is allowed */

/* Rounds all weights anew; from now on the model computes with them. Allocates nothing. */
void kd_whisper_qat_round(kd_whisper_qat *qat);

/* The model computes with its own weights again. */
void kd_whisper_qat_leave(kd_whisper_qat *qat);

#endif
