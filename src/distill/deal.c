#include "distill/deal.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"

/* Numbers of a round, and of a block, about; and rounds that are gathered at a time. */
enum { ROUND = 1 << 19, BLOCK_LEAST = 1 << 12, AT_ONCE = 4 };

static int64_t block_length(int64_t size) {
    const int64_t ranks = kd_rank_count(), even = (size + ranks - 1) / ranks;
    return kd_larger(BLOCK_LEAST, kd_smaller(even, ROUND / ranks));
}

/* A round on its way. */
typedef struct kd_deal_passage {
    kd_ranks_pending pending;
    size_t *at; /* (ranks + 1) */
    int *room;  /* (2 · ranks) */
} passage;

static bool make_passages(kd_deal *deal) {
    const size_t ranks = (size_t)kd_rank_count();
    bool complete = true;
    if (ranks == 1) return true;
    deal->passage = calloc(AT_ONCE, sizeof *deal->passage);
    for (int i = 0; i < AT_ONCE && deal->passage; i++) {
        passage *p = &deal->passage[i];
        p->at = malloc((ranks + 1) * sizeof *p->at);
        p->room = malloc(2 * ranks * sizeof *p->room);
        complete = complete && p->at && p->room;
    }
    return complete && deal->passage;
}

int kd_deal_init(kd_deal *out, int64_t size, const int64_t *cut, int64_t n) {
    const int64_t length = block_length(size), most = size / length + 2;
    *out = (kd_deal){.start = malloc(kd_array_bytes(most, sizeof *out->start))};
    if (!out->start || !make_passages(out))
        return kd_fail_memory((size_t)most * sizeof *out->start, "shares of ranks");
    for (int64_t at = 0, i = 0; at < size; out->count++) {
        out->start[out->count] = at;
        at += length;
        if (!cut || at >= size) continue;
        while (i < n && cut[i] < at) i++;
        at = i < n ? cut[i] : size;
    }
    out->start[out->count] = size;
    out->rounds = (out->count + kd_rank_count() - 1) / kd_rank_count();
    return KD_OK;
}

void kd_deal_clear(kd_deal *deal) {
    for (int i = 0; i < AT_ONCE && deal->passage; i++) {
        free(deal->passage[i].at);
        free(deal->passage[i].room);
    }
    free(deal->passage);
    free(deal->start);
    *deal = (kd_deal){0};
}

int64_t kd_deal_at(const kd_deal *deal, int64_t round, int rank) {
    return deal->start[kd_smaller(round * kd_rank_count() + rank, deal->count)];
}

int64_t kd_deal_longest(const kd_deal *deal) {
    int64_t longest = 0;
    for (int64_t i = 0; i < deal->count; i++)
        longest = kd_larger(longest, deal->start[i + 1] - deal->start[i]);
    return longest;
}

int kd_deal_owner(const kd_deal *deal, int64_t at) {
    int64_t low = 0, high = deal->count; /* the last block that begins at or before it */
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        if (deal->start[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    return (int)(low % kd_rank_count());
}

static void wait_for(passage *p) {
    while (!kd_ranks_done(&p->pending)) kd_ranks_pause();
}

static void begin(passage *p, const kd_deal *deal, int64_t round, kd_real *slab) {
    const int64_t first = kd_deal_at(deal, round, 0);
    for (int r = 0; r <= kd_rank_count(); r++)
        p->at[r] = (size_t)(kd_deal_at(deal, round, r) - first) * sizeof *slab;
    kd_ranks_gather_begin(&p->pending, slab + first, p->at, p->room);
}

void kd_deal_gather(const kd_deal *deal, kd_real *slab) {
    if (kd_rank_count() == 1) return;
    for (int64_t round = 0; round < deal->rounds; round++) {
        passage *p = &deal->passage[round % AT_ONCE];
        wait_for(p);
        begin(p, deal, round, slab);
    }
    for (int i = 0; i < AT_ONCE; i++) wait_for(&deal->passage[i]);
}
