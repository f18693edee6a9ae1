/* GPTQ (Frantar et al. 2023, algorithm 1): the codes of a matrix, column by column, each column's
 * error made good by the columns that are still to come. With the Hessian H of the matrix' inputs
 * (input_products.h), damped, and U upper triangular, UᵀU = H⁻¹, for each column j
 *
 *     q_j ← nearest number of the grid to w_j          e ← (w_j − q_j)/U_jj
 *     w_k ← w_k − e·U_jk   for k > j
 *
 * The grid is that of the file's format: each block's scales are chosen first, with the diagonal of
 * H as importance, and stay. An input that was never anything but 0 says nothing of its column: the
 * column becomes 0, as in the paper's program.
 */
#ifndef KD_QUANT_GPTQ_H
#define KD_QUANT_GPTQ_H

#include <stdbool.h>

#include "autograd/real.h"

struct kd_rounding; /* quantizer.h */

typedef struct {
    double damping; /* share of the mean of H's diagonal that is added to it (0.01); ten times
                       as much at most, where H is not positive definite without             */
    bool activation_order; /* columns in the order of H's diagonal, largest first */
} kd_gptq_spec;

/* matrix->bytes from matrix->w and H (groups,n,n), which is left as it is; `groups` equal parts of
 * the rows. The format has a grid (contract). Same bits at any thread count. KD_EDATA when H is no
 * Hessian of numbers. */
int kd_gptq_round(const struct kd_rounding *matrix, const kd_real *H, int groups,
                  const kd_gptq_spec *spec);

/* For quantizers: the same where the matrix' products were seen and its format has a grid; numbers
 * without a scale (f16), and matrices of which nothing was seen, go to the nearest. */
int kd_gptq_round_seen(const struct kd_rounding *matrix);

#endif
