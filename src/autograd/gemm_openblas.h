/* Inside gemm: OpenBLAS where it knows the processor, and our own product where it does not. */
#ifndef KD_AUTOGRAD_GEMM_OPENBLAS_H
#define KD_AUTOGRAD_GEMM_OPENBLAS_H

#include "autograd/gemm.h"

/* The product of kd_gemm_serial by the register tile (gemm_blocks.c), at either precision. */
void kd_gemm_own(const kd_matrix_product *p);

/* Whether OpenBLAS takes part: its kernels are of the level of ours (base/isa.h), and its first
 * product was right. Decided once. */
bool kd_openblas_is_used(void);

/* The same product by OpenBLAS in float32 (double), on the calling thread alone. */
void kd_openblas_gemm(const kd_matrix_product *p);

#endif
