/* Inside gemm: products with so few rows that reading B is what they cost. A library packs B first,
 * which reads and writes it once more; here each number of B is read once. */
#ifndef KD_AUTOGRAD_GEMM_FEW_H
#define KD_AUTOGRAD_GEMM_FEW_H

#include "autograd/compact.h"
#include "autograd/gemm.h"

enum { KD_FEW_ROWS = 6 };

/* M ≤ KD_FEW_ROWS, A plain; on the calling thread, in float32 (double). */
void kd_gemm_few(const kd_matrix_product *p);

/* The product with Wᵀ in place of B, W (N,K) a parameter with a compact copy; alpha is 1 and beta
 * 0. The values are the same, and so is the order of the sums, so that this gives the bits of
 * kd_gemm_few. Threaded. */
void kd_gemm_few_compact(const kd_matrix_product *p, const kd_compact *W);

#endif
