/* Products with the matrices of a model as generating with a cache makes them: mostly of a few
 * rows, which cost what reading the weights costs. No gradients.
 *
 *   KD_PRODUCTS_EXACT   of the weights' values and the inputs as they are. Matrices that fit into
 *                       fewer bytes are kept a second time (autograd/compact.h).
 *   KD_PRODUCTS_STEPS   Matrices that are small whole numbers in their file stay such, kept a
 * second time as well, and inputs are rounded to 8 bits (autograd/packed.h); others are multiplied
 * exactly.
 */
#ifndef KD_LAYERS_FEW_ROWS_H
#define KD_LAYERS_FEW_ROWS_H

#include "autograd/compact.h"
#include "autograd/packed.h"
#include "layers/layer.h"

typedef enum { KD_PRODUCTS_EXACT, KD_PRODUCTS_STEPS } kd_products;

typedef struct {
    const kd_param *param;
    kd_compact *compact; /* or NULL        */
    kd_packed packed;    /* .kernel NULL: none */
} kd_few_rows_matrix;

typedef struct {
    kd_few_rows_matrix *matrix; /* (count), by address of the parameter */
    int count;
    void *memory; /* of all that is packed */
} kd_few_rows;

/* Of the parameters whose names begin with `prefix`. The caller clears, also after an error. */
int kd_few_rows_create(kd_few_rows *out, const kd_params *params, const char *prefix,
                       kd_products products);
void kd_few_rows_clear(kd_few_rows *few);

/* C (rows,N) = A (rows,K), lda apart, · Wᵀ; many rows read exact weights as they are. */
void kd_few_rows_product(const kd_few_rows *few, kd_tape *tape, const kd_param *W, int64_t rows,
                         const kd_real *A, int64_t lda, kd_real *C);
/* kd_linear_layer_forward by that product. */
kd_tensor *kd_few_rows_linear(const kd_few_rows *few, kd_tape *tape, const kd_linear_layer *layer,
                              kd_tensor *x);
/* The same of several layers over one x, y[i] = layer[i](x); together where that is faster. */
enum { KD_FEW_ROWS_LAYERS = 3 };
void kd_few_rows_linears(const kd_few_rows *few, kd_tape *tape, const kd_linear_layer *const *layer,
                         int count, kd_tensor *x, kd_tensor **y);

#endif
