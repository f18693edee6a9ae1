/* Inside kd_attention: what its forward passes share. */
#ifndef KD_AUTOGRAD_ATTENTION_H
#define KD_AUTOGRAD_ATTENTION_H

#include "autograd/op_common.h"
#include "autograd/ops.h"
#include "base/order.h"

/* One attention: q (B,T,C) of H heads, k and v (B,S,CG) of G heads, all D wide. */
typedef struct {
    int64_t B, T, S, C, H, D, G, CG;
    kd_attention_mask mask;
    kd_real scale;
    kd_precision precision; /* of the products */
    const kd_real *q, *k, *v;
    kd_real *y, *log_sum; /* log_sum (B,H,T): log Σ e^score of a query */
} kd_attention_task;

/* Where the keys end that query t of sample b sees, and where they begin. */
static inline int64_t kd_attention_visible(const kd_attention_task *at, int64_t b, int64_t t) {
    int64_t n = at->mask.valid ? at->mask.valid[b] : at->S;
    if (at->mask.causal && t + at->S - at->T + 1 < n) n = t + at->S - at->T + 1;
    if (at->mask.end) n = kd_smaller(n, at->mask.end[b * at->T + t]);
    return n;
}

static inline int64_t kd_attention_first(const kd_attention_task *at, int64_t b, int64_t t) {
    return at->mask.first ? at->mask.first[b * at->T + t] : 0;
}
/* The least of that over `rows` queries. */
static inline int64_t kd_attention_first_of(const kd_attention_task *at, int64_t b, int64_t t,
                                            int64_t rows) {
    int64_t least = at->mask.first ? at->S : 0;
    for (int64_t i = t; i < t + rows && at->mask.first; i++)
        least = kd_smaller(least, kd_attention_first(at, b, i));
    return least;
}

static inline bool kd_attention_threaded(const kd_attention_task *at) {
    return at->B * at->T * at->S * at->C >= 8 * KD_PARALLEL_SIZE;
}

/* Writes y and log_sum for many queries. Threaded; the same bits at any thread count. */
void kd_attention_blocks(kd_tape *tape, const kd_attention_task *at);

#endif
