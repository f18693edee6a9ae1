/* AWQ (Lin et al. 2024): channels whose inputs are large keep more of their weights' precision.
 *
 * Before anything is rounded, columns are scaled where the model allows it (scaling.h): of
 *
 *     s = x̄^(r/20),  r = 0 … 19,  x̄_j = mean |x_j|,  s ← max(s, 10⁻⁴)/√(max s · min s)
 *
 * the one that keeps Σ (W − Q(W·s)/s)·H·(…)ᵀ small, summed over all that takes the channels
 * (equation 4; H as in input_products.h). Then each block of a row may lose its largest values: of
 * the bounds max|w|·(1 − i/20), i = 0 … 9, each with the format's plain scales and with those that H's
 * diagonal makes important, the one whose numbers lose least before the block's own part of H (queries
 * and keys are not cut, whose scores would lose their peaks).
 */
#ifndef KD_QUANT_AWQ_H
#define KD_QUANT_AWQ_H

#include "files/formats/number_format.h"
#include "layers/scaling.h"
#include "quant/input_products.h"

struct kd_rounding; /* quantizer.h */

/* The format of parameter `param`, or NULL when it is no part of the file. */
typedef const kd_number_format *kd_awq_format(const void *context, int param);

/* Scales every place of which all takers are still to be rounded and the first was seen in this
 * pass, in the parameters' values and the products alike. `rounded` (params->count) says which have
 * been rounded already. */
int kd_awq_scale(const kd_params *params, const kd_scaling *scaling, int count,
                 kd_input_products *products, const bool *rounded, kd_awq_format *format,
                 const void *context);

/* matrix->bytes by the search for bounds; `clips` false: as the values are. */
void kd_awq_round(const struct kd_rounding *matrix, bool clips);

#endif
