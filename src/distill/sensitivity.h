/* What it costs a model when a matrix is rounded: the increase of KL(float ‖ rounded) of its
 * answers, in nats an answer, on calibration samples.
 *
 * By gradients. Near the float weights w the divergence is a quadratic form, and rounding errors Δ
 * of different weights are as good as independent, so that its diagonal is left:
 *
 *   KL ≈ ½·Σ_j F_j·Δ_j²,    F_j = E (∂ log p(y)/∂w_j)²,   y drawn from the model's own p
 *
 * the diagonal of Fisher's information. With a label drawn for each answer the square of the
 * gradient's sum over a sample estimates the sum of the squares: one backward pass a sample serves
 * every matrix and every format.
 *
 * By measuring. Each matrix alone is rounded, the samples are answered and compared. That is one
 * forward pass over all samples for each matrix, so it is done at one format, the one that the
 * gradients chose; the other formats of the matrix scale by the gradients' ratio.
 */
#ifndef KD_DISTILL_SENSITIVITY_H
#define KD_DISTILL_SENSITIVITY_H

#include "autograd/tape.h"
#include "quant/budget.h"

/* A model that answers samples with what its parameters point to. */
typedef struct {
    kd_params *params; /* all matrices among the trained ones: they have gradients */
    int64_t samples;
    /* The logits (rows,V) of sample i, on an empty tape that the caller guards. Samples are asked
     * for in any order. */
    int (*answer)(kd_tensor **out, void *context, kd_tape *tape, int64_t i);
    void *context;
} kd_answers;

/* Fills in the costs of all options. KD_EAGAIN after kd_train_request_stop, likewise below. */
int kd_sensitivity_by_gradient(kd_budget *budget, const kd_answers *model);
/* Measures each matrix at its chosen option, and scales the costs of its options. */
int kd_sensitivity_by_measuring(kd_budget *budget, const kd_answers *model);
/* budget->together: the whole choice at once. */
int kd_sensitivity_together(kd_budget *budget, const kd_answers *model);

#endif
