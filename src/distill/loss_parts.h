/* What loss.c and loss_vocab.c share. */
#ifndef KD_DISTILL_LOSS_PARTS_H
#define KD_DISTILL_LOSS_PARTS_H

#include "distill/loss.h"

/* log(Σ_kept e^{v·rate} + e^tail): the log-sum-exp of a teacher's row of k kept logits and a tail.
 */
double kd_topk_log_sum(const kd_real *kept, int k, kd_real tail, double rate);

/* ∂x ← ∂x + dloss · saved; `saved` is of x's size, from kd_tape_take, and is given away. */
void kd_loss_hand_over(kd_tape *tape, kd_tensor *x, kd_real *saved, kd_real dloss);

/* The loss out of the sums of its rows, which are added to `parts` when that is not NULL. */
kd_real kd_loss_total(const kd_loss_spec *spec, const kd_loss_parts *sum, kd_loss_parts *parts);

#endif
