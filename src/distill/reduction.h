/* Sums over the micro-batches of an update, the same to the last bit however many ranks computed
 * them: the leaves 0 … n − 1 are added along a tree that depends on n alone,
 *
 *     S(a, b) = leaf a                       if b = a + 1
 *             = S(a, a + h) + S(a + h, b)    h the largest power of two below b − a
 *
 * A rank computes its share of the leaves (kd_ranks_part), adds what lies whole in its share, and
 * the ranks exchange the rest, round by round of a deal (deal.h) from the end of the array: each
 * adds up its block from all others. A round leaves as soon as its numbers of a rank's last leaf
 * are known, while the rank computes the others; size·(R − 1)/R numbers go out of each rank when
 * the shares are powers of two.
 */
#ifndef KD_DISTILL_REDUCTION_H
#define KD_DISTILL_REDUCTION_H

#include "distill/deal.h"

typedef struct kd_reduction kd_reduction;

/* For arrays of the deal's size, which is borrowed, and updates of `full` leaves, or `last` (the
 * end of an epoch). Takes memory for the blocks of leaves that a rank holds at once: none for one
 * leaf, an array for two or three, about log2 of them for more; and for a few rounds. The caller
 * frees. */
int kd_reduction_create(kd_reduction **out, const kd_deal *deal, int64_t full, int64_t last);
void kd_reduction_free(kd_reduction *reduction); /* NULL is allowed */

/* One update of n leaves: begin; add for each of this rank's leaves in order, its numbers in
 * `values`, which are changed; finish. `values` is one array throughout, and what a leaf finds in
 * it means nothing. Then this rank's blocks of it hold the sums of all ranks. */
void kd_reduction_begin(kd_reduction *reduction, int64_t n);
void kd_reduction_add(kd_reduction *reduction, kd_real *values);
void kd_reduction_finish(kd_reduction *reduction, kd_real *values);

/* Whether the next leaf is this rank's last; of that one, the numbers from `from` on are known
 * already: what can leaves. */
bool kd_reduction_is_last(const kd_reduction *reduction);
void kd_reduction_ready(kd_reduction *reduction, kd_real *values, int64_t from);
/* A leaf of this rank failed: its part of the exchange is carried out without sense, so that no
 * rank waits for it. kd_reduction_finish follows. */
void kd_reduction_break(kd_reduction *reduction);

#endif
