/* Products of a few rows with the matrices of a model, as decoding with a cache makes them: they
 * cost what reading the weights costs, so those that fit into fewer bytes are kept a second time
 * (autograd/compact.h). No gradients. */
#ifndef KD_LAYERS_FEW_ROWS_H
#define KD_LAYERS_FEW_ROWS_H

#include "autograd/compact.h"
#include "layers/layer.h"

typedef struct {
    kd_compact **compact; /* (count) */
    int count;
} kd_few_rows;

/* Of the parameters whose names begin with `prefix`. The caller clears, also after an error. */
int kd_few_rows_create(kd_few_rows *out, const kd_params *params, const char *prefix);
void kd_few_rows_clear(kd_few_rows *few);

/* C (rows,N) = A (rows,K), lda apart, · Wᵀ; many rows read the weights as they are. */
void kd_few_rows_product(const kd_few_rows *few, kd_tape *tape, const kd_param *W, int64_t rows,
                         const kd_real *A, int64_t lda, kd_real *C);
/* kd_linear_layer_forward by that product. */
kd_tensor *kd_few_rows_linear(const kd_few_rows *few, kd_tape *tape, const kd_linear_layer *layer,
                              kd_tensor *x);

#endif
