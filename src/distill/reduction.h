/* Sums over the micro-batches of an update, the same to the last bit however many ranks computed
 * them: the leaves 0 … n − 1 are added along a tree that depends on n alone,
 *
 *     S(a, b) = leaf a                       if b = a + 1
 *             = S(a, a + h) + S(a + h, b)    h the largest power of two below b − a
 *
 * A rank computes its share of the leaves (kd_ranks_part), adds what lies whole in its share, and
 * the ranks exchange the rest: each adds up its part of the elements from all others, then all
 * gather the parts; 2·size·(R − 1)/R numbers go out of each rank when the shares are powers of two.
 */
#ifndef KD_DISTILL_REDUCTION_H
#define KD_DISTILL_REDUCTION_H

#include <stdint.h>

#include "autograd/real.h"

typedef struct kd_reduction kd_reduction;

/* For arrays of `size` numbers and updates of `full` leaves, or `last` (the end of an epoch). Takes
 * memory for the blocks that a rank holds at once: none for one leaf, an array for two or three,
 * about log2 of them for more. The caller frees. */
int kd_reduction_create(kd_reduction **out, int64_t size, int64_t full, int64_t last);
void kd_reduction_free(kd_reduction *reduction); /* NULL is allowed */

/* One update of n leaves: begin; for each of this rank's leaves in order, its numbers in `values`
 * (size), which are changed; finish, which leaves the sum of all in `values`. `values` is one array
 * throughout, and what a leaf finds in it means nothing. */
void kd_reduction_begin(kd_reduction *reduction, int64_t n);
void kd_reduction_add(kd_reduction *reduction, kd_real *values);
void kd_reduction_finish(kd_reduction *reduction, kd_real *values);

#endif
