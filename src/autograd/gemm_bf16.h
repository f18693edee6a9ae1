/* Inside gemm: the bfloat16 product of a processor that has one. */
#ifndef KD_AUTOGRAD_GEMM_BF16_H
#define KD_AUTOGRAD_GEMM_BF16_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/gemm.h"

/* C (M,N) = op(A) (M,K) · op(B) (K,N) + beta · C; A and B are bfloat16 bits, sums are float32. */
typedef struct {
    kd_trans ta, tb;
    int64_t M, N, K;
    const uint16_t *A, *B;
    int64_t lda, ldb;
    bool adding; /* beta is 1, else 0 */
    float *C;
    int64_t ldc;
} kd_bf16_product;

/* True when oneDNN is built in, the processor has AMX and DISTILL_ISA allows it, and
 * a small product came out right. Decided at the first call. */
bool kd_onednn_is_live(void);

/* False, with C untouched, when oneDNN refuses this product. */
bool kd_onednn_bf16(const kd_bf16_product *p);

#endif
