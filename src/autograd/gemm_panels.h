/* Inside gemm: products of a layer with a batch. */
#ifndef KD_AUTOGRAD_GEMM_PANELS_H
#define KD_AUTOGRAD_GEMM_PANELS_H

#include "autograd/gemm.h"

/* Whether kd_panels_run is faster than kd_gemm; decided by the shape alone. Only then may it run.
 */
bool kd_panels_pay(const kd_matrix_product *p);

/* With bfloat16, A and B are rounded as they are packed. Threaded; scratch is the tape's. The same
 * bits at any thread count. */
void kd_panels_run(kd_tape *tape, const kd_matrix_product *p);

#endif
