/* Inside gemm: the bfloat16 product of a processor that has one. */
#ifndef KD_AUTOGRAD_GEMM_BF16_H
#define KD_AUTOGRAD_GEMM_BF16_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/gemm.h"

/* True when oneDNN is built in, the processor has AMX and DISTILL_ISA allows it, and
 * a small product came out right. Decided at the first call. */
bool kd_onednn_is_live(void);

/* The product whose factors are the bfloat16 bits A and B, dense in the order of p->A and p->B;
 * alpha is 1, beta 0 or 1. False, with C untouched, when oneDNN refuses it. */
bool kd_onednn_bf16(const kd_matrix_product *p, const uint16_t *A, const uint16_t *B);

#endif
