#include "distill/reduction.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"

enum {
    BLOCKS_MAX = 128,   /* a share is cut into fewer: two of each power of two */
    ROUNDS_AT_ONCE = 4, /* on their way                                         */
    SERIAL = 64 * 1024  /* numbers that are added up by one thread              */
};

/* A whole node of the tree: leaves start … start + size − 1, size a power of two that divides
 * start. */
typedef struct {
    int64_t start, size;
    kd_real *values;
} node;

/* A round of the deal on its way: what goes out, what comes in, and the places of ranks. */
typedef struct {
    kd_ranks_pending pending;
    bool open;
    int64_t round;
    kd_real *out, *in;
    size_t *out_at, *in_at;
    int *room;
} passage;

struct kd_reduction {
    const kd_deal *deal;
    int64_t size;
    kd_real *buffer[BLOCKS_MAX]; /* of `size` numbers; those from buffers_used on are free */
    int buffer_count, buffers_used;
    node stack[BLOCKS_MAX]; /* of this rank, in order of their leaves */
    int held, merged;       /* of them; and those that the last leaf joins at the end */
    int sent;               /* nodes that this rank sends of an update        */
    int64_t n, next, end;   /* of this update: leaves, this rank's next, its last + 1 */
    int64_t left;           /* rounds that have not left yet: 0 … left − 1    */
    bool broken;
    node *every; /* everybody's, with several ranks */
    passage passage[ROUNDS_AT_ONCE];
};

static bool siblings(const node *left, const node *right) {
    return left->size == right->size && left->start % (2 * left->size) == 0;
}

/* The nodes of the leaves first … end − 1, and the most there were on the way, without the end. */
static int nodes_of(node *out, int64_t first, int64_t end, int *most) {
    int count = 0;
    for (int64_t leaf = first; leaf < end; leaf++) {
        if (count > *most) *most = count;
        out[count++] = (node){.start = leaf, .size = 1};
        while (count > 1 && siblings(&out[count - 2], &out[count - 1])) out[--count - 1].size *= 2;
    }
    return count;
}

/* Of updates of n leaves: the most buffers a rank fills, the most nodes a rank sends, and those of
 * all ranks; each at least what it is. */
static void raise_sizes(int64_t n, int *buffers, int *nodes, int *all) {
    node list[BLOCKS_MAX];
    int total = 0;
    for (int rank = 0; rank < kd_rank_count(); rank++) {
        int64_t first, end;
        kd_ranks_part(rank, n, &first, &end);
        const int count = nodes_of(list, first, end, buffers);
        total += count;
        if (count > *nodes) *nodes = count;
    }
    if (total > *all) *all = total;
}

static kd_real *numbers(int64_t count, bool *complete) {
    const size_t bytes = kd_array_bytes(count + 1, sizeof(kd_real)); /* never none */
    kd_real *array = kd_large_alloc(bytes);
    if (array)
        memset(array, 0, bytes);
    else
        *complete = false;
    return array;
}

static bool allocate_passage(passage *p, const kd_deal *deal, int nodes, int all) {
    const int64_t longest = kd_deal_longest(deal), ranks = kd_rank_count();
    bool complete = true;
    p->out = numbers(nodes > 1 ? ranks * longest * nodes : 0, &complete);
    p->in = numbers(longest * all, &complete);
    p->out_at = malloc(kd_array_bytes(ranks + 1, sizeof *p->out_at));
    p->in_at = malloc(kd_array_bytes(ranks + 1, sizeof *p->in_at));
    p->room = malloc(kd_array_bytes(4 * ranks, sizeof *p->room));
    return complete && p->out_at && p->in_at && p->room;
}

static bool allocate(kd_reduction *r, int64_t full, int64_t last) {
    int nodes = 0, all = 0;
    bool complete = true;
    raise_sizes(full, &r->buffer_count, &nodes, &all);
    raise_sizes(last, &r->buffer_count, &nodes, &all);
    for (int i = 0; i < r->buffer_count; i++) r->buffer[i] = numbers(r->size, &complete);
    if (kd_rank_count() == 1) return complete;
    for (int i = 0; i < ROUNDS_AT_ONCE; i++)
        complete = allocate_passage(&r->passage[i], r->deal, nodes, all) && complete;
    r->every =
        malloc((size_t)(all + BLOCKS_MAX) * sizeof *r->every); /* those not joined yet, too */
    return complete && r->every;
}

int kd_reduction_create(kd_reduction **out, const kd_deal *deal, int64_t full, int64_t last) {
    *out = NULL;
    kd_reduction *r = calloc(1, sizeof *r);
    if (!r) return kd_fail_memory(sizeof *r, "the sums over micro-batches");
    r->deal = deal;
    r->size = deal->start[deal->count];
    if (!allocate(r, full, last)) {
        const unsigned long long arrays = (unsigned long long)r->buffer_count + 1,
                                 size = (unsigned long long)r->size;
        kd_reduction_free(r);
        return kd_fail_memory(size * sizeof(kd_real) * arrays, "the sums over micro-batches");
    }
    *out = r;
    return KD_OK;
}

void kd_reduction_free(kd_reduction *r) {
    if (!r) return;
    for (int i = 0; i < r->buffer_count; i++) free(r->buffer[i]);
    for (int i = 0; i < ROUNDS_AT_ONCE; i++) {
        free(r->passage[i].out);
        free(r->passage[i].in);
        free(r->passage[i].out_at);
        free(r->passage[i].in_at);
        free(r->passage[i].room);
    }
    free(r->every);
    free(r);
}

/* a += b */
static void add(kd_real *restrict a, const kd_real *restrict b, int64_t n) {
#pragma omp parallel for simd schedule(static) if (n > SERIAL)
    for (int64_t i = 0; i < n; i++) a[i] += b[i];
}

/* How many nodes on top of the stack a new leaf joins, one after the other. */
static int joined_by(const kd_reduction *r, node leaf) {
    int count = 0;
    while (count < r->held && siblings(&r->stack[r->held - 1 - count], &leaf)) {
        leaf.start = r->stack[r->held - 1 - count++].start;
        leaf.size *= 2;
    }
    return count;
}

void kd_reduction_begin(kd_reduction *r, int64_t n) {
    node own[BLOCKS_MAX];
    int most = 0;
    r->n = n;
    r->held = r->merged = r->buffers_used = 0;
    r->broken = false;
    r->left = r->deal->rounds;
    kd_ranks_part(kd_rank(), n, &r->next, &r->end);
    r->sent = nodes_of(own, r->next, r->end, &most);
}

bool kd_reduction_is_last(const kd_reduction *r) {
    return r->next + 1 == r->end;
}

/* The last leaf stays where it is: finish, or what is ready of it before, joins it. */
static void add_last(kd_reduction *r) {
    r->merged = joined_by(r, (node){.start = r->end - 1, .size = 1});
}

void kd_reduction_add(kd_reduction *r, kd_real *values) {
    KD_CONTRACT(r->next < r->end, "more leaves than this rank has");
    if (kd_reduction_is_last(r)) {
        add_last(r);
        r->next++;
        return;
    }
    node whole = {.start = r->next++, .size = 1};
    for (int joined = joined_by(r, whole); joined > 0; joined--) {
        const node *left = &r->stack[--r->held];
        add(values, left->values, r->size);
        whole.start = left->start;
        whole.size *= 2;
        r->buffers_used--;
    }
    whole.values = r->buffer[r->buffers_used++]; /* the next leaf needs the array */
    memcpy(whole.values, values, (size_t)r->size * sizeof *values);
    r->stack[r->held++] = whole;
}

/* --- a round -----------------------------------------------------------------------------------
 */

/* S(a, b) of the nodes from *at on, which is moved behind them. The sum lies in one of its nodes:
 * in `wanted` where that is there, since x + y is y + x. */
static kd_real *sum_of(node *nodes, int *at, int64_t a, int64_t b, int64_t n,
                       const kd_real *wanted) {
    if (nodes[*at].start == a && nodes[*at].size == b - a) return nodes[(*at)++].values;
    int64_t half = 1;
    while (2 * half < b - a) half *= 2;
    kd_real *left = sum_of(nodes, at, a, a + half, n, wanted);
    kd_real *right = sum_of(nodes, at, a + half, b, n, wanted);
    kd_real *sum = right == wanted ? right : left;
    add(sum, right == wanted ? left : right, n);
    return sum;
}

/* Node i of the `count` that this rank has in the numbers from `at` on. */
static kd_real *own_node(const kd_reduction *r, kd_real *values, int i, int count, int64_t at) {
    return (i + 1 < count ? r->stack[i].values : values) + at;
}

/* Everybody's nodes, in order, `length` numbers each, → r->every: those of others in p->in, from
 * in_at on, this rank's where they are. */
static void list_nodes(kd_reduction *r, passage *p, kd_real *values, int64_t length) {
    const int64_t at = kd_deal_at(r->deal, p->round, kd_rank());
    int count = 0, most = 0;
    kd_real *in = p->in;
    for (int q = 0; q < kd_rank_count(); q++) {
        int64_t first, end;
        kd_ranks_part(q, r->n, &first, &end);
        p->in_at[q] = (size_t)(in - p->in) * sizeof *in;
        const int of = nodes_of(r->every + count, first, end, &most);
        for (int i = 0; i < of; i++) {
            const bool own = q == kd_rank();
            r->every[count++].values = own ? own_node(r, values, i, of, at) : in;
            in += own ? 0 : length;
        }
    }
    p->in_at[kd_rank_count()] = (size_t)(in - p->in) * sizeof *in;
}

static int64_t own_length(const kd_reduction *r, int64_t round) {
    return kd_deal_at(r->deal, round, kd_rank() + 1) - kd_deal_at(r->deal, round, kd_rank());
}

/* Puts together what goes to others of several nodes → p->out. */
static void pack_round(const kd_reduction *r, passage *p, kd_real *values) {
    kd_real *out = p->out;
    for (int q = 0; q < kd_rank_count(); q++) {
        const int64_t at = kd_deal_at(r->deal, p->round, q),
                      n = kd_deal_at(r->deal, p->round, q + 1) - at;
        p->out_at[q] = (size_t)(out - p->out) * sizeof *out;
        for (int b = 0; b < r->sent && q != kd_rank(); b++, out += n)
            if (!r->broken)
                memcpy(out, own_node(r, values, b, r->sent, at), (size_t)n * sizeof *out);
    }
    p->out_at[kd_rank_count()] = (size_t)(out - p->out) * sizeof *out;
}

/* What this rank has of a round to all others. One node leaves from where it is. */
static void send_round(kd_reduction *r, passage *p, kd_real *values, int64_t round) {
    const int64_t first = kd_deal_at(r->deal, round, 0);
    const kd_real *out = r->sent > 1 ? p->out : values + first;
    p->round = round;
    p->open = true;
    if (r->sent > 1) pack_round(r, p, values);
    for (int q = 0; q <= kd_rank_count() && r->sent <= 1; q++)
        p->out_at[q] = (size_t)(r->sent * (kd_deal_at(r->deal, round, q) - first)) * sizeof *values;
    list_nodes(r, p, values, own_length(r, round));
    kd_ranks_exchange_begin(&p->pending, p->in, p->in_at, out, p->out_at, p->room);
}

/* The sum of a round that came in → this rank's block. */
static void add_round(kd_reduction *r, passage *p, kd_real *values) {
    const int64_t n = own_length(r, p->round);
    kd_real *own = values + kd_deal_at(r->deal, p->round, kd_rank());
    int first = 0;
    list_nodes(r, p, values, n);
    const kd_real *sum = sum_of(r->every, &first, 0, r->n, n, own);
    if (sum != own) memcpy(own, sum, (size_t)n * sizeof *own);
    p->open = false;
}

static void wait_for(kd_reduction *r, passage *p, kd_real *values) {
    while (!kd_ranks_done(&p->pending)) kd_ranks_pause();
    if (p->open) add_round(r, p, values);
}

/* Adds up what has come, and lets what is on its way move on. */
static void look(kd_reduction *r, kd_real *values) {
    for (int i = 0; i < ROUNDS_AT_ONCE; i++) {
        passage *p = &r->passage[i];
        if (p->open && kd_ranks_done(&p->pending)) add_round(r, p, values);
    }
}

/* The last leaf joins its siblings in the numbers from `at` to `end`. */
static void join(const kd_reduction *r, kd_real *values, int64_t at, int64_t end) {
    for (int i = 1; i <= r->merged && !r->broken; i++)
        add(values + at, r->stack[r->held - i].values + at, end - at);
}

void kd_reduction_ready(kd_reduction *r, kd_real *values, int64_t from) {
    if (kd_rank_count() == 1) return;
    if (kd_reduction_is_last(r)) add_last(r);
    while (r->left > 0 && kd_deal_at(r->deal, r->left - 1, 0) >= from) {
        const int64_t round = --r->left;
        passage *p = &r->passage[round % ROUNDS_AT_ONCE];
        wait_for(r, p, values);
        join(r, values, kd_deal_at(r->deal, round, 0), kd_deal_at(r->deal, round, kd_rank_count()));
        send_round(r, p, values, round);
    }
    look(r, values);
}

void kd_reduction_break(kd_reduction *r) {
    r->broken = true;
    r->next = r->end;
}

void kd_reduction_finish(kd_reduction *r, kd_real *values) {
    KD_CONTRACT(r->next == r->end, "a leaf of this rank is missing");
    if (kd_rank_count() == 1) { /* nodes ever smaller: the tree adds them from the end */
        for (; r->held > 0 && !r->broken; r->held--)
            add(values, r->stack[r->held - 1].values, r->size);
        return;
    }
    kd_reduction_ready(r, values, 0);
    for (int i = 0; i < ROUNDS_AT_ONCE; i++) wait_for(r, &r->passage[i], values);
}
