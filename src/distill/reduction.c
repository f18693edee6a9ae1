#include "distill/reduction.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/ranks.h"

enum {
    BLOCKS_MAX = 128,   /* a share is cut into fewer: two of each power of two */
    SEGMENT = 64 * 1024 /* numbers that a rank adds up at a time               */
};

/* A whole node of the tree: leaves start … start + size − 1, size a power of two that divides
 * start. */
typedef struct {
    int64_t start, size;
    kd_real *values;
} block;

struct kd_reduction {
    int64_t size;
    kd_real *buffer[BLOCKS_MAX]; /* of `size` numbers; those from buffers_used on are free */
    int buffer_count, buffers_used;
    int held; /* blocks of this rank, in order of their leaves */
    block stack[BLOCKS_MAX];
    int64_t n, next, end; /* of this update: leaves, this rank's next, its last + 1 */
    /* With several ranks: what goes out and comes in of a chunk, everybody's blocks, and the
     * places of ranks. */
    kd_real *out, *in;
    block *every;
    size_t *out_at, *in_at, *length;
};

static bool siblings(const block *left, const block *right) {
    return left->size == right->size && left->start % (2 * left->size) == 0;
}

/* The blocks of the leaves first … end − 1, and the most there were on the way, without the end. */
static int blocks_of(block *out, int64_t first, int64_t end, int *most) {
    int count = 0;
    for (int64_t leaf = first; leaf < end; leaf++) {
        if (count > *most) *most = count;
        out[count++] = (block){.start = leaf, .size = 1};
        while (count > 1 && siblings(&out[count - 2], &out[count - 1])) out[--count - 1].size *= 2;
    }
    return count;
}

/* Of updates of n leaves: the most buffers a rank fills, the most blocks a rank sends, and those of
 * all ranks; each at least what it is. */
static void raise_sizes(int64_t n, int *buffers, int *blocks, int *all) {
    block list[BLOCKS_MAX];
    int total = 0;
    for (int rank = 0; rank < kd_rank_count(); rank++) {
        int64_t first, end;
        kd_ranks_part(rank, n, &first, &end);
        const int count = blocks_of(list, first, end, buffers);
        total += count;
        if (count > *blocks) *blocks = count;
    }
    if (total > *all) *all = total;
}

static kd_real *numbers(int64_t count, bool *complete) {
    kd_real *array = kd_large_alloc((size_t)(count + 1) * sizeof *array); /* never none */
    if (!array) *complete = false;
    return array;
}

static bool allocate(kd_reduction *r, int64_t full, int64_t last) {
    int blocks = 0, all = 0;
    bool complete = true;
    raise_sizes(full, &r->buffer_count, &blocks, &all);
    raise_sizes(last, &r->buffer_count, &blocks, &all);
    for (int i = 0; i < r->buffer_count; i++) r->buffer[i] = numbers(r->size, &complete);
    if (kd_rank_count() == 1) return complete;
    const size_t places = (size_t)kd_rank_count() + 1;
    r->out = numbers((int64_t)kd_rank_count() * SEGMENT * blocks, &complete);
    r->in = numbers((int64_t)SEGMENT * all, &complete);
    r->every =
        malloc((size_t)(all + BLOCKS_MAX) * sizeof *r->every); /* those not joined yet, too */
    r->out_at = malloc(places * sizeof *r->out_at);
    r->in_at = malloc(places * sizeof *r->in_at);
    r->length = malloc(places * sizeof *r->length);
    return complete && r->every && r->out_at && r->in_at && r->length;
}

int kd_reduction_create(kd_reduction **out, int64_t size, int64_t full, int64_t last) {
    *out = NULL;
    kd_reduction *r = calloc(1, sizeof *r);
    if (!r) return kd_fail_memory(sizeof *r, "the sums over micro-batches");
    r->size = size;
    if (!allocate(r, full, last)) {
        const unsigned long long arrays = (unsigned long long)r->buffer_count + 1;
        kd_reduction_free(r);
        return kd_fail_memory((unsigned long long)size * sizeof(kd_real) * arrays,
                              "the sums over micro-batches");
    }
    *out = r;
    return KD_OK;
}

void kd_reduction_free(kd_reduction *r) {
    if (!r) return;
    for (int i = 0; i < r->buffer_count; i++) free(r->buffer[i]);
    free(r->out);
    free(r->in);
    free(r->every);
    free(r->out_at);
    free(r->in_at);
    free(r->length);
    free(r);
}

/* a += b */
static void add(kd_real *restrict a, const kd_real *restrict b, int64_t n) {
#pragma omp parallel for simd schedule(static) if (n > SEGMENT)
    for (int64_t i = 0; i < n; i++) a[i] += b[i];
}

void kd_reduction_begin(kd_reduction *r, int64_t n) {
    r->n = n;
    r->held = r->buffers_used = 0;
    kd_ranks_part(kd_rank(), n, &r->next, &r->end);
}

void kd_reduction_add(kd_reduction *r, kd_real *values) {
    KD_CONTRACT(r->next < r->end, "more leaves than this rank has");
    block whole = {.start = r->next++, .size = 1, .values = values};
    while (r->held > 0 && siblings(&r->stack[r->held - 1], &whole)) {
        const block *left = &r->stack[--r->held];
        add(values, left->values, r->size);
        whole.start = left->start;
        whole.size *= 2;
        r->buffers_used--;
    }
    if (r->next < r->end) { /* the next leaf needs the array */
        whole.values = r->buffer[r->buffers_used++];
        memcpy(whole.values, values, (size_t)r->size * sizeof *values);
    }
    r->stack[r->held++] = whole;
}

/* S(a, b) of the blocks from *at on, which is moved behind them. The sum lies in its first block.
 */
static kd_real *sum_of(block *blocks, int *at, int64_t a, int64_t b, int64_t n) {
    if (blocks[*at].start == a && blocks[*at].size == b - a) return blocks[(*at)++].values;
    int64_t half = 1;
    while (2 * half < b - a) half *= 2;
    kd_real *left = sum_of(blocks, at, a, a + half, n);
    add(left, sum_of(blocks, at, a + half, b, n), n);
    return left;
}

/* Where the part of rank q begins in a chunk of m numbers. */
static int64_t part(int q, int64_t m) {
    return q * m / kd_rank_count();
}

/* Everybody's blocks, in order, `own` numbers each; where each rank's begin → in_at. */
static void list_blocks(kd_reduction *r, int64_t own) {
    int count = 0, most = 0;
    r->in_at[0] = 0;
    for (int q = 0; q < kd_rank_count(); q++) {
        int64_t first, end;
        kd_ranks_part(q, r->n, &first, &end);
        int of = blocks_of(r->every + count, first, end, &most);
        for (int i = 0; i < of; i++) r->every[count + i].values = r->in + (count + i) * own;
        count += of;
        r->in_at[q + 1] = (size_t)(count * own) * sizeof(kd_real);
    }
}

/* The sum of all ranks' numbers at … at + m − 1. */
static void reduce_chunk(kd_reduction *r, kd_real *values, int64_t at, int64_t m) {
    const int me = kd_rank();
    const int64_t own = part(me + 1, m) - part(me, m);
    kd_real *out = r->out;
    for (int q = 0; q < kd_rank_count(); q++) {
        const int64_t n = part(q + 1, m) - part(q, m);
        r->out_at[q] = (size_t)(out - r->out) * sizeof *out;
        r->length[q] = (size_t)n * sizeof *out;
        for (int b = 0; b < r->held; b++, out += n)
            memcpy(out, r->stack[b].values + at + part(q, m), r->length[q]);
    }
    r->out_at[kd_rank_count()] = (size_t)(out - r->out) * sizeof *out;
    list_blocks(r, own);
    kd_ranks_exchange(r->in, r->in_at, r->out, r->out_at);
    int first = 0;
    const kd_real *sum = sum_of(r->every, &first, 0, r->n, own);
    memcpy(values + at + part(me, m), sum, r->length[me]);
    kd_ranks_gather(values + at, values + at + part(me, m), r->length);
}

void kd_reduction_finish(kd_reduction *r, kd_real *values) {
    KD_CONTRACT(r->next == r->end, "a leaf of this rank is missing");
    if (kd_rank_count() == 1) { /* blocks ever smaller: the tree adds them from the end */
        for (r->held--; r->held > 0; r->held--) add(values, r->stack[r->held - 1].values, r->size);
        return;
    }
    const int64_t chunk = (int64_t)kd_rank_count() * SEGMENT;
    for (int64_t at = 0; at < r->size; at += chunk)
        reduce_chunk(r, values, at, r->size - at < chunk ? r->size - at : chunk);
}
