/* Triangular factors of symmetric matrices, by the LAPACK that OpenBLAS brings. */
#ifndef KD_AUTOGRAD_CHOLESKY_H
#define KD_AUTOGRAD_CHOLESKY_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/real.h"

/* H (n,n), symmetric, becomes the upper triangular U with UᵀU = H⁻¹; what is below the diagonal
 * becomes 0. False, with H destroyed, when H is not positive definite (or holds a NaN).
 *
 * H = R·Rᵀ with R upper triangular, then U = R⁻¹: one factorization less than by H⁻¹. On the
 * calling thread alone: same bits at any thread count. n < 2³¹. */
bool kd_factor_of_inverse(kd_real *H, int64_t n);

#endif
