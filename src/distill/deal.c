#include "distill/deal.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/order.h"
#include "base/ranks.h"

/* Numbers of a round, and of a block, about; and rounds that are gathered at a time. */
enum { ROUND = 1 << 19, BLOCK_LEAST = 1 << 12, AT_ONCE = 4 };

static int64_t block_length(int64_t size) {
    const int64_t ranks = kd_rank_count(), even = (size + ranks - 1) / ranks;
    return kd_larger(BLOCK_LEAST, kd_smaller(even, ROUND / ranks));
}

int kd_deal_init(kd_deal *out, int64_t size, const int64_t *cut, int64_t n) {
    const int64_t length = block_length(size), most = size / length + 2;
    *out = (kd_deal){.start = malloc((size_t)most * sizeof *out->start)};
    if (!out->start) return kd_fail_memory((size_t)most * sizeof *out->start, "shares of ranks");
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

/* A round on its way. */
typedef struct {
    kd_ranks_pending pending;
    size_t *at; /* (ranks + 1) */
    int *room;  /* (2 · ranks) */
} passage;

static void wait_for(passage *p) {
    while (!kd_ranks_done(&p->pending)) kd_ranks_pause();
}

static void begin(passage *p, const kd_deal *deal, int64_t round, kd_real *slab) {
    const int64_t first = kd_deal_at(deal, round, 0);
    for (int r = 0; r <= kd_rank_count(); r++)
        p->at[r] = (size_t)(kd_deal_at(deal, round, r) - first) * sizeof *slab;
    kd_ranks_gather_begin(&p->pending, slab + first, p->at, p->room);
}

int kd_deal_gather(const kd_deal *deal, kd_real *slab) {
    const size_t ranks = (size_t)kd_rank_count();
    passage passages[AT_ONCE] = {0};
    bool complete = true;
    if (ranks == 1) return KD_OK;
    for (int i = 0; i < AT_ONCE; i++) {
        passages[i].at = malloc((ranks + 1) * sizeof *passages[i].at);
        passages[i].room = malloc(2 * ranks * sizeof *passages[i].room);
        complete = complete && passages[i].at && passages[i].room;
    }
    for (int64_t round = 0; round < deal->rounds && complete; round++) {
        passage *p = &passages[round % AT_ONCE];
        wait_for(p);
        begin(p, deal, round, slab);
    }
    for (int i = 0; i < AT_ONCE; i++) {
        wait_for(&passages[i]);
        free(passages[i].at);
        free(passages[i].room);
    }
    return complete ? KD_OK : kd_fail_memory(ranks * sizeof(size_t), "what the ranks exchange");
}
