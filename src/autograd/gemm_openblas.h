/* Inside gemm: OpenBLAS where it knows the processor, and our own product where it does not. */
#ifndef KD_AUTOGRAD_GEMM_OPENBLAS_H
#define KD_AUTOGRAD_GEMM_OPENBLAS_H

#include "autograd/gemm.h"

/* The product of kd_gemm_serial by the register tile (gemm_blocks.c). */
void kd_gemm_own(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha,
                 const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb, kd_real beta,
                 kd_real *C, int64_t ldc);

/* The same with A and B rounded to bfloat16 (not in double precision) and sums in float32. */
void kd_gemm_bfloat16(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha,
                      const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb, kd_real beta,
                      kd_real *C, int64_t ldc);

/* kd_gemm at a precision, by the products above. Threaded. */
void kd_gemm_at(kd_precision precision, kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K,
                kd_real alpha, const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb,
                kd_real beta, kd_real *C, int64_t ldc);

/* Whether OpenBLAS takes part: its kernels are of the level of ours (base/isa.h), and its first
 * product was right. Decided once. */
bool kd_openblas_is_used(void);

/* The same product by OpenBLAS, on the calling thread alone. */
void kd_openblas_gemm(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha,
                      const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb, kd_real beta,
                      kd_real *C, int64_t ldc);

#endif
