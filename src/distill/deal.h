/* Who of the ranks adds up and updates which numbers of a slab: it is cut into blocks that are
 * dealt to the ranks in turn. What is computed does not depend on it.
 *
 * A round of the deal, a block for each rank, is what the ranks exchange at a time.
 */
#ifndef KD_DISTILL_DEAL_H
#define KD_DISTILL_DEAL_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/real.h"

typedef struct {
    int64_t count;  /* of blocks                                                        */
    int64_t *start; /* (count + 1) where each begins; the last is the size of the slab  */
    int64_t rounds; /* blocks R·i … R·i + R − 1 are round i                              */
    struct kd_deal_passage *passage; /* of rounds that are gathered                        */
} kd_deal;

/* Cuts a slab of `size` numbers at some of the n places `cut`, which rise from 0; NULL: anywhere.
 * The caller clears, also after an error. */
int kd_deal_init(kd_deal *out, int64_t size, const int64_t *cut, int64_t n);
void kd_deal_clear(kd_deal *deal);

/* Where a rank's block of a round begins; that of rank R is the end of the round. */
int64_t kd_deal_at(const kd_deal *deal, int64_t round, int rank);
int64_t kd_deal_longest(const kd_deal *deal); /* of a block */

/* The rank whose block holds a number. */
int kd_deal_owner(const kd_deal *deal, int64_t at);

/* Every rank has its blocks in `slab`; all get all. Takes no memory of its own. */
void kd_deal_gather(const kd_deal *deal, kd_real *slab);

#endif
