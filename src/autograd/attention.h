/* Inside kd_attention: what its forward passes share. */
#ifndef KD_AUTOGRAD_ATTENTION_H
#define KD_AUTOGRAD_ATTENTION_H

#include "autograd/op_common.h"

/* One attention: q (B,T,C), k and v (B,S,C), H heads D wide. */
typedef struct {
    int64_t B, T, S, C, H, D;
    bool causal;
    const int32_t *valid; /* (B), or NULL */
    kd_real scale;
    kd_precision precision; /* of the products */
    const kd_real *q, *k, *v;
    kd_real *y, *log_sum; /* log_sum (B,H,T): log Σ e^score of a query */
} kd_attention_task;

/* How many keys query t of sample b sees: always the first ones. */
static inline int64_t kd_attention_visible(const kd_attention_task *at, int64_t b, int64_t t) {
    int64_t n = at->valid ? at->valid[b] : at->S;
    if (at->causal && t + at->S - at->T + 1 < n) n = t + at->S - at->T + 1;
    return n;
}

static inline bool kd_attention_threaded(const kd_attention_task *at) {
    return at->B * at->T * at->S * at->C >= 8 * KD_PARALLEL_SIZE;
}

/* Writes y and log_sum for many queries. Threaded; the same bits at any thread count. */
void kd_attention_blocks(kd_tape *tape, const kd_attention_task *at);

#endif
