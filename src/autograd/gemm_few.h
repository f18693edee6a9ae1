/* Inside gemm: products with so few rows that reading B is what they cost. A library packs B first,
 * which reads and writes it once more; here each number of B is read once. */
#ifndef KD_AUTOGRAD_GEMM_FEW_H
#define KD_AUTOGRAD_GEMM_FEW_H

#include "autograd/compact.h"
#include "autograd/gemm.h"

enum { KD_FEW_ROWS = 6 };

/* C (M,N) = alpha · A (M,K) · op(B) (K,N) + beta · C, M ≤ KD_FEW_ROWS, on the calling thread. */
void kd_gemm_few(kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha, const kd_real *A,
                 int64_t lda, const kd_real *B, int64_t ldb, kd_real beta, kd_real *C, int64_t ldc);

/* C (M,N) = A (M,K) · Wᵀ where W (N,K) is a parameter with a compact copy. The values are the same,
 * and so is the order of the sums, so that this gives the bits of kd_gemm_few. Threaded. */
void kd_gemm_few_compact(int64_t M, int64_t N, int64_t K, const kd_real *A, int64_t lda,
                         const kd_compact *W, kd_real *C, int64_t ldc);

#endif
