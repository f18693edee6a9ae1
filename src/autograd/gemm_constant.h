/* Inside gemm: matrices whose rows are made when they are read. */
#ifndef KD_AUTOGRAD_GEMM_CONSTANT_H
#define KD_AUTOGRAD_GEMM_CONSTANT_H

#include "autograd/gemm.h"

/* So many numbers are made at once, 32 MiB; of a larger matrix, part after part. */
enum { KD_CONSTANT_WHOLE = 1 << 23 };

/* n rows of K numbers from `first` on, in memory of the tape that goes back by kd_tape_give. */
kd_real *kd_constant_rows(kd_tape *tape, const kd_constant *B, int64_t first, int64_t n, int64_t K);

/* kd_gemm_tape of a B that is a constant. */
void kd_gemm_tape_constant(kd_tape *tape, const kd_matrix_product *p);

#endif
