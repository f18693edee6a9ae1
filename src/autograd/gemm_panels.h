/* Inside gemm: products of a layer with a batch. */
#ifndef KD_AUTOGRAD_GEMM_PANELS_H
#define KD_AUTOGRAD_GEMM_PANELS_H

#include "autograd/gemm.h"

/* C (M,N) = op(A) (M,K) · op(B) (K,N) + beta · C, beta is 0 or 1. */
typedef struct {
    kd_trans ta, tb;
    int64_t M, N, K;
    const kd_real *A, *B;
    int64_t lda, ldb;
    kd_real beta, *C;
    int64_t ldc;
} kd_panels_product;

/* Whether kd_panels_run is faster than kd_gemm; decided by the shape alone. */
bool kd_panels_pay(const kd_panels_product *p);

/* At the tape's precision: with bfloat16, A and B are rounded as they are packed. Threaded; scratch
 * is the tape's. The same bits at any thread count. */
void kd_panels_run(kd_tape *tape, const kd_panels_product *p);

#endif
