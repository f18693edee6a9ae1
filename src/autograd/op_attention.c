/* Attention, a piece of one head of one sample at a time, so that the scores never exist as a
 * whole: forward by attention_blocks.c, for few queries here; backward here, by tiles of TILE
 * queries.
 *
 * With q, k, v, y the rows of one head (width D), scale = 1/√D and S' the keys a row may see:
 *
 *     s = scale · q·kᵀ          p = e^{s − l},  l = log Σ_{S'} e^s          y = p·v
 *
 * Backward, g = ∂y, δ = Σ_D g ∘ y per row (which equals Σ_{S'} p ∘ (g·vᵀ)):
 *
 *     ∂v ← ∂v + pᵀ·g      ds = scale · p ∘ (g·vᵀ − δ)      ∂q ← ∂q + ds·k      ∂k ← ∂k + dsᵀ·q
 *
 * Saved: l, one number per query and head. p is recomputed from q, k and l: a fifth product in
 * backward, against B·H·T·S numbers kept (258 MB for one Whisper cross-attention of batch 8). Keys
 * a whole tile does not see are not computed at all. With bfloat16 the sides of all five products
 * are rounded (p and ds too); exponentials and sums are not. */
#include <omp.h>

#include "autograd/attention.h"
#include "autograd/gemm_few.h"
#include "autograd/vector_math.h"
#include "base/size.h"

enum { TILE = 64 };

/* A tile: rows t … t+rows−1 of head h of sample b, and as many keys from `first` on as one of the
 * rows sees; `ld` is from one row to the next. */
typedef struct {
    int64_t b, h, t, rows, first, keys, ld;
    int64_t q, k; /* offsets of the head's first numbers in q-like and k-like tensors */
} tile;

static tile make_tile(const kd_attention_task *at, int64_t head, int64_t t) {
    tile i = {.b = head / at->H, .h = head % at->H, .t = t, .ld = at->C};
    i.rows = at->T - t < TILE ? at->T - t : TILE;
    i.first = kd_attention_first_of(at, i.b, t, i.rows);
    i.keys = kd_attention_visible(at, i.b, t + i.rows - 1) - i.first;
    i.q = (i.b * at->T + t) * at->C + i.h * at->D;
    i.k = (i.b * at->S + i.first) * at->CG + i.h * at->G / at->H * at->D;
    return i;
}

static void multiply(const kd_attention_task *at, kd_matrix_product p) {
    p.precision = at->precision;
    kd_gemm_serial(&p);
}

static void multiply_onto(const kd_attention_task *at, kd_matrix_product p) {
    p.beta = 1;
    multiply(at, p);
}

/* The keys that a row of the tile sees, counted from the tile's first. */
typedef struct {
    int64_t begin, end;
} seen;

static seen seen_by(const kd_attention_task *at, const tile *i, int64_t row) {
    return (seen){kd_attention_first(at, i->b, i->t + row) - i->first,
                  kd_attention_visible(at, i->b, i->t + row) - i->first};
}

/* Zero where a row sees nothing. */
static void hide(kd_real *p, seen s, int64_t keys) {
    for (int64_t j = 0; j < s.begin; j++) p[j] = 0;
    for (int64_t j = s.end; j < keys; j++) p[j] = 0;
}

/* s = scale · q·kᵀ over the keys of the tile, (rows, keys) with row distance `keys` */
static void tile_scores(const kd_attention_task *at, const tile *i, kd_real *s) {
    kd_matrix_product p = kd_product_of(i->rows, i->keys, at->D, kd_plain(at->q + i->q, i->ld),
                                        kd_transposed(at->k + i->k, at->CG), s, i->keys);
    p.alpha = at->scale;
    multiply(at, p);
}

/* x ← e^{x − max}; returns the sum */
static double exponentials(kd_real *restrict x, int64_t n, kd_real max) {
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += KD_ROW_TILE) {
        const int64_t end = begin + KD_ROW_TILE < n ? begin + KD_ROW_TILE : n;
        kd_real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t j = begin; j < end; j++) {
            x[j] = kd_vexp(x[j] - max);
            part += x[j];
        }
        sum += (double)part;
    }
    return sum;
}

/* Heads whose queries go together: all that share keys where there is one query, which makes a row
 * of each. */
static int64_t heads_together(const kd_attention_task *at) {
    const int64_t shared = at->H / at->G;
    return at->T == 1 && shared <= KD_FEW_ROWS ? shared : 1;
}

/* All queries of `heads` heads, so few that reading the keys is what they cost. The rows are
 * divided by their sums behind the product: D numbers each, not S. */
static void forward_few(const kd_attention_task *at, int64_t head, int64_t heads, kd_real *s) {
    tile i = make_tile(at, head, 0);
    if (heads > 1) {
        i.rows = heads;
        i.ld = at->D;
    }
    kd_real inverse[KD_FEW_ROWS];
    tile_scores(at, &i, s);
    for (int64_t row = 0; row < i.rows; row++) {
        const seen own = seen_by(at, &i, heads > 1 ? 0 : row);
        const int64_t n = own.end - own.begin;
        kd_real *restrict p = s + row * i.keys;
        const kd_real max = kd_row_max(p + own.begin, n);
        const double sum = exponentials(p + own.begin, n, max);
        hide(p, own, i.keys);
        inverse[row] = (kd_real)(1 / sum);
        at->log_sum[head * at->T + row] = max + (kd_real)log(sum);
    }
    multiply(at, kd_product_of(i.rows, at->D, i.keys, kd_plain(s, i.keys),
                               kd_plain(at->v + i.k, at->CG), at->y + i.q, i.ld));
    for (int64_t row = 0; row < i.rows; row++) {
        kd_real *restrict out = at->y + i.q + row * i.ld;
#pragma omp simd
        for (int64_t d = 0; d < at->D; d++) out[d] *= inverse[row];
    }
}

/* ds = scale · p ∘ (dp − δ), in place of dp */
static void score_grads(const kd_attention_task *at, const tile *i, const kd_tensor *y,
                        const kd_real *p, kd_real *dp) {
    for (int64_t row = 0; row < i->rows; row++) {
        const int64_t at_row = i->q + row * at->C;
        const kd_real delta = (kd_real)kd_row_dot(y->grad + at_row, y->value + at_row, at->D);
        const kd_real *restrict prob = p + row * i->keys;
        kd_real *restrict ds = dp + row * i->keys;
        for (int64_t j = 0; j < i->keys; j++) ds[j] = at->scale * prob[j] * (ds[j] - delta);
    }
}

/* One tile's contributions; gradients that nobody wants are NULL. p and dp are scratch. */
static void backward_tile(const kd_attention_task *at, const tile *i, kd_tensor *const *qkv,
                          const kd_tensor *y, kd_real *const *grad, kd_real *p, kd_real *dp) {
    const int64_t C = at->C, CG = at->CG, D = at->D, keys = i->keys;
    tile_scores(at, i, p);
    for (int64_t row = 0; row < i->rows; row++) {
        const seen own = seen_by(at, i, row);
        const kd_real l = at->log_sum[(i->b * at->H + i->h) * at->T + i->t + row];
        kd_real *restrict prob = p + row * keys;
#pragma omp simd
        for (int64_t j = own.begin; j < own.end; j++) prob[j] = kd_vexp(prob[j] - l);
        hide(prob, own, keys);
    }
    const kd_real *g = y->grad + i->q;
    if (grad[2])
        multiply_onto(at, kd_product_of(keys, D, i->rows, kd_transposed(p, keys), kd_plain(g, C),
                                        grad[2] + i->k, CG));
    if (!grad[0] && !grad[1]) return;
    multiply(at, kd_product_of(i->rows, keys, D, kd_plain(g, C),
                               kd_transposed(qkv[2]->value + i->k, CG), dp, keys));
    score_grads(at, i, y, p, dp);
    if (grad[0])
        multiply_onto(at, kd_product_of(i->rows, D, keys, kd_plain(dp, keys),
                                        kd_plain(qkv[1]->value + i->k, CG), grad[0] + i->q, C));
    if (grad[1])
        multiply_onto(at, kd_product_of(keys, D, i->rows, kd_transposed(dp, keys),
                                        kd_plain(qkv[0]->value + i->q, C), grad[1] + i->k, CG));
}

/* Numbers in a tile of scores, rounded up so that every thread's scratch is aligned alike. */
static int64_t scratch_size(const kd_attention_task *at) {
    return ((at->T < TILE ? at->T : TILE) * at->S + 15) / 16 * 16;
}

/* A head of the keys of a sample is one thread's, which goes through the heads that share it and
 * their tiles in order: ∂k and ∂v collect them. The gradients start from zeros, not from a first
 * overwriting product, since q, k and v may be one tensor. */
static void attention_backward(kd_tape *tape, kd_node *node) {
    const kd_attention_task *at = node->saved;
    kd_real *grad[3];
    for (int i = 0; i < 3; i++) grad[i] = kd_tape_grad(tape, node->in[i]);
    const int64_t tile_size = scratch_size(at);
    const size_t threads = (size_t)omp_get_max_threads();
    kd_real *scratch =
        kd_tape_take(tape, kd_array_bytes((int64_t)threads * 2 * tile_size, sizeof *scratch));
#pragma omp parallel for schedule(dynamic, 1) if (kd_attention_threaded(at))
    for (int64_t shared = 0; shared < at->B * at->G; shared++) {
        kd_real *p = scratch + omp_get_thread_num() * 2 * tile_size;
        const int64_t heads = at->H / at->G;
        for (int64_t head = shared * heads; head < (shared + 1) * heads; head++)
            for (int64_t t = 0; t < at->T; t += TILE) {
                const tile i = make_tile(at, head, t);
                backward_tile(at, &i, node->in, node->out, grad, p, p + tile_size);
            }
    }
    kd_tape_give(tape, scratch);
}

/* Every query sees a key. */
static void check_mask(kd_attention_mask mask, int64_t B, int64_t T, int64_t S) {
    for (int64_t b = 0; mask.valid && b < B; b++)
        KD_CONTRACT(mask.valid[b] >= 1 && mask.valid[b] <= S, "attention: valid[%lld] = %d of %lld",
                    (long long)b, (int)mask.valid[b], (long long)S);
    for (int64_t i = 0; (mask.first || mask.end) && i < B * T; i++) {
        const int64_t first = mask.first ? mask.first[i] : 0, last = i % T + S - T;
        const int64_t end = mask.end ? mask.end[i] : S;
        KD_CONTRACT(first >= 0 && first < (mask.valid ? mask.valid[i / T] : S) && first < end &&
                        end <= S && (!mask.causal || first <= last),
                    "attention: query %lld of sample %lld sees nothing: first %lld, end %lld",
                    (long long)(i % T), (long long)(i / T), (long long)first, (long long)end);
        KD_CONTRACT(i % T == 0 || !mask.end || mask.end[i - 1] <= mask.end[i],
                    "attention: end[%lld] falls", (long long)i);
    }
}

static void check_attention(const kd_tensor *q, const kd_tensor *k, const kd_tensor *v, int heads,
                            kd_attention_mask mask) {
    KD_CONTRACT(heads >= 1 && kd_channels(q) % heads == 0, "attention: %d heads of %lld channels",
                heads, (long long)kd_channels(q));
    const int64_t D = kd_channels(q) / heads, T = q->shape[1], S = k->shape[1];
    KD_FIT(q->rank == 3 && k->rank == 3 && q->shape[0] == k->shape[0] && k->shape[2] % D == 0 &&
               k->shape[2] <= q->shape[2] && q->shape[2] % k->shape[2] == 0,
           "attention", q, k);
    KD_FIT(kd_same_shape(k, v), "attention", k, v);
    KD_FIT(!mask.causal || S >= T, "attention (causal)", q, k);
    check_mask(mask, q->shape[0], T, S);
}

/* A head of a sample, or those that go together, is one thread's. */
static void few_queries(kd_tape *tape, const kd_attention_task *at) {
    const int64_t heads = heads_together(at);
    const int64_t tile_size = heads * scratch_size(at);
    const size_t threads = (size_t)omp_get_max_threads();
    kd_real *scratch =
        kd_tape_take(tape, kd_array_bytes((int64_t)threads * tile_size, sizeof *scratch));
#pragma omp parallel for schedule(dynamic, 1) if (kd_attention_threaded(at))
    for (int64_t head = 0; head < at->B * at->H; head += heads)
        forward_few(at, head, heads, scratch + omp_get_thread_num() * tile_size);
    kd_tape_give(tape, scratch);
}

kd_tensor *kd_attention(kd_tape *tape, kd_tensor *q, kd_tensor *k, kd_tensor *v, int heads,
                        kd_attention_mask mask) {
    check_attention(q, k, v, heads, mask);
    kd_tensor *y = kd_tape_output(tape, 3, q->shape);
    kd_attention_task *at = kd_tape_alloc(tape, sizeof *at);
    *at = (kd_attention_task){.B = q->shape[0],
                              .T = q->shape[1],
                              .S = k->shape[1],
                              .C = q->shape[2],
                              .H = heads,
                              .D = q->shape[2] / heads,
                              .CG = k->shape[2],
                              .mask = mask,
                              .q = q->value,
                              .k = k->value,
                              .v = v->value,
                              .y = y->value};
    at->G = at->CG / at->D;
    at->precision = tape->precision;
    at->scale = 1 / kd_sqrt((kd_real)at->D);
    at->log_sum = kd_tape_alloc(tape, kd_array_bytes(at->B * at->H * at->T, sizeof(kd_real)));
    if (at->T <= KD_FEW_ROWS)
        few_queries(tape, at);
    else
        kd_attention_blocks(tape, at);
    kd_tape_record(tape, "attention", attention_backward, y, at, 3, (kd_tensor *[]){q, k, v});
    return y;
}
