/* What is multiplied by each weight: the mean square of every input of every matrix and
 * convolution, over all rows and windows that pass while a tape is watched. An error of a weight
 * costs that much.
 *
 *     importance[g][j] = Σ x_j² / rows        of group g of a convolution's channels; a matrix has
 * one
 */
#ifndef KD_QUANT_INPUT_SQUARES_H
#define KD_QUANT_INPUT_SQUARES_H

#include "autograd/param.h"
#include "autograd/tape.h"

typedef struct kd_input_squares kd_input_squares;

/* Of the products with these parameters, borrowed. The caller frees. */
int kd_input_squares_create(kd_input_squares **out, const kd_params *params);
void kd_input_squares_free(kd_input_squares *squares); /* NULL is allowed */

/* From here on the tape's products are counted; with NULL no more. Same sums at any thread count.
 */
void kd_input_squares_watch(kd_input_squares *squares, kd_tape *tape);

/* (groups, length of a row) of parameter `param`; NULL when nothing was multiplied by it. */
const float *kd_input_squares_of(const kd_input_squares *squares, int param, int *groups);

/* The largest magnitude of what was multiplied by it; 0 when nothing was. */
float kd_input_squares_largest(const kd_input_squares *squares, int param);

/* What was counted before it is means: sum (groups, length of a row), borrowed, of so many rows.
 * False when nothing was. */
typedef struct {
    const double *sum;
    double rows;
    int groups;
    int64_t length;
} kd_squares_sum;
bool kd_input_squares_sum(kd_squares_sum *out, const kd_input_squares *squares, int param);

/* Means that come from elsewhere: sums (groups, length of a row) over counts (groups); all alike
 * where a count is 0. */
int kd_input_squares_set(kd_input_squares *squares, int param, int groups, const float *sums,
                         const float *counts);

/* Turns what was counted into means; KD_EDATA when there is nothing, KD_EINTERNAL when memory was
 * out while it was counted. */
int kd_input_squares_finish(kd_input_squares *squares);

#endif
