/* What is multiplied by each weight, in pairs: the Hessian of a layer's squared output error by a
 * row of its weights, gathered over all rows and windows that pass while a tape is watched,
 *
 *     H[g] = 2/rows · Σ x·xᵀ        (n,n) of group g of a convolution's channels; a matrix has one
 *
 * in kd_real. Memory is bounded: in one pass over the samples only so many parameters are gathered,
 * in the order in which the model uses them; whoever calibrates runs the samples again for the
 * rest, with those before already rounded if he likes.
 */
#ifndef KD_QUANT_INPUT_PRODUCTS_H
#define KD_QUANT_INPUT_PRODUCTS_H

#include "autograd/param.h"
#include "autograd/tape.h"

typedef struct kd_input_products kd_input_products;

/* Of a pass's matrices together; a larger one is gathered by itself. */
enum { KD_INPUT_PRODUCTS_MIB = 1024 };

/* Of the products with these parameters, borrowed, of which wanted[i] says which (params->count).
 * The caller frees. */
int kd_input_products_create(kd_input_products **out, const kd_params *params, const bool *wanted,
                             int64_t most_bytes);
void kd_input_products_free(kd_input_products *products); /* NULL is allowed */

/* From here on the tape's products are summed; with NULL no more. Same sums at any thread count. */
void kd_input_products_watch(kd_input_products *products, kd_tape *tape);

/* Ends a pass; *again: others are left, and the samples are to be run once more. KD_EDATA when
 * nothing was seen at all, KD_EINTERNAL when memory was out while it was summed. */
int kd_input_products_finish(kd_input_products *products, bool *again);

/* (groups,n,n) of parameter `param` in the pass that was finished, to be changed by the caller as
 * he likes; NULL when it was not gathered in it. */
kd_real *kd_input_products_of(kd_input_products *products, int param, int *groups);

/* (groups,n) mean |x| of the same. */
const double *kd_input_products_size(const kd_input_products *products, int param);

/* Input j of the parameter is divided by s[j mod count] from now on; H and mean |x| with it. */
void kd_input_products_divide(kd_input_products *products, int param, const double *s,
                              int64_t count);

/* Forgets those of the pass; what was gathered once is not gathered again. */
void kd_input_products_release(kd_input_products *products);

#endif
