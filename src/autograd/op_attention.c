/* Attention, tile by tile: TILE query rows of one head of one sample at a time, so that the scores
 * (TILE, S) stay in the cache and never exist as a whole.
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
 * a whole tile does not see are not computed at all. Products run in kd_real at any precision of
 * the tape. */
#include <omp.h>

#include "autograd/op_common.h"
#include "autograd/ops.h"
#include "autograd/vector_math.h"

enum { TILE = 64 };

typedef struct {
    int64_t B, T, S, C, H, D;
    bool causal;
    const int32_t *valid;
    kd_real scale;
    kd_real *log_sum; /* (B,H,T) */
} attention;

/* How many keys query t of sample b sees: always the first ones. */
static int64_t visible(const attention *at, int64_t b, int64_t t) {
    int64_t n = at->valid ? at->valid[b] : at->S;
    if (at->causal && t + at->S - at->T + 1 < n) n = t + at->S - at->T + 1;
    return n;
}

/* A tile: rows t … t+rows−1 of head h of sample b, and the keys its last row sees. */
typedef struct {
    int64_t b, h, t, rows, keys;
    int64_t q, k; /* offsets of the head's first number in q-like and k-like tensors */
} tile;

static tile make_tile(const attention *at, int64_t head, int64_t t) {
    tile i = {.b = head / at->H, .h = head % at->H, .t = t};
    i.rows = at->T - t < TILE ? at->T - t : TILE;
    i.keys = visible(at, i.b, t + i.rows - 1);
    i.q = (i.b * at->T + t) * at->C + i.h * at->D;
    i.k = i.b * at->S * at->C + i.h * at->D;
    return i;
}

/* s = scale · q·kᵀ over the keys of the tile, (rows, keys) with row distance `keys` */
static void tile_scores(const attention *at, const tile *i, const kd_tensor *q, const kd_tensor *k,
                        kd_real *s) {
    kd_gemm_serial(KD_PLAIN, KD_TRANSPOSED, i->rows, i->keys, at->D, at->scale, q->value + i->q,
                   at->C, k->value + i->k, at->C, 0, s, i->keys);
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

/* The rows are divided by their sums behind the product: D numbers each, not S. */
static void forward_tile(const attention *at, const tile *i, kd_tensor *const *qkv, kd_tensor *y,
                         kd_real *s) {
    kd_real inverse[TILE];
    tile_scores(at, i, qkv[0], qkv[1], s);
    for (int64_t row = 0; row < i->rows; row++) {
        const int64_t n = visible(at, i->b, i->t + row);
        kd_real *restrict p = s + row * i->keys;
        const kd_real max = kd_row_max(p, n);
        const double sum = exponentials(p, n, max);
        for (int64_t j = n; j < i->keys; j++) p[j] = 0;
        inverse[row] = (kd_real)(1 / sum);
        at->log_sum[(i->b * at->H + i->h) * at->T + i->t + row] = max + (kd_real)log(sum);
    }
    kd_gemm_serial(KD_PLAIN, KD_PLAIN, i->rows, at->D, i->keys, 1, s, i->keys, qkv[2]->value + i->k,
                   at->C, 0, y->value + i->q, at->C);
    for (int64_t row = 0; row < i->rows; row++) {
        kd_real *restrict out = y->value + i->q + row * at->C;
#pragma omp simd
        for (int64_t d = 0; d < at->D; d++) out[d] *= inverse[row];
    }
}

/* ds = scale · p ∘ (dp − δ), in place of dp */
static void score_grads(const attention *at, const tile *i, const kd_tensor *y, const kd_real *p,
                        kd_real *dp) {
    for (int64_t row = 0; row < i->rows; row++) {
        const int64_t at_row = i->q + row * at->C;
        const kd_real delta = (kd_real)kd_row_dot(y->grad + at_row, y->value + at_row, at->D);
        const kd_real *restrict prob = p + row * i->keys;
        kd_real *restrict ds = dp + row * i->keys;
        for (int64_t j = 0; j < i->keys; j++) ds[j] = at->scale * prob[j] * (ds[j] - delta);
    }
}

/* One tile's contributions; gradients that nobody wants are NULL. p and dp are scratch. */
static void backward_tile(const attention *at, const tile *i, kd_tensor *const *qkv,
                          const kd_tensor *y, kd_real *const *grad, kd_real *p, kd_real *dp) {
    const int64_t C = at->C, D = at->D, keys = i->keys;
    tile_scores(at, i, qkv[0], qkv[1], p);
    for (int64_t row = 0; row < i->rows; row++) {
        const int64_t n = visible(at, i->b, i->t + row);
        const kd_real l = at->log_sum[(i->b * at->H + i->h) * at->T + i->t + row];
        kd_real *restrict prob = p + row * keys;
#pragma omp simd
        for (int64_t j = 0; j < n; j++) prob[j] = kd_vexp(prob[j] - l);
        for (int64_t j = n; j < keys; j++) prob[j] = 0;
    }
    const kd_real *g = y->grad + i->q;
    if (grad[2])
        kd_gemm_serial(KD_TRANSPOSED, KD_PLAIN, keys, D, i->rows, 1, p, keys, g, C, 1,
                       grad[2] + i->k, C);
    if (!grad[0] && !grad[1]) return;
    kd_gemm_serial(KD_PLAIN, KD_TRANSPOSED, i->rows, keys, D, 1, g, C, qkv[2]->value + i->k, C, 0,
                   dp, keys);
    score_grads(at, i, y, p, dp);
    if (grad[0])
        kd_gemm_serial(KD_PLAIN, KD_PLAIN, i->rows, D, keys, 1, dp, keys, qkv[1]->value + i->k, C,
                       1, grad[0] + i->q, C);
    if (grad[1])
        kd_gemm_serial(KD_TRANSPOSED, KD_PLAIN, keys, D, i->rows, 1, dp, keys, qkv[0]->value + i->q,
                       C, 1, grad[1] + i->k, C);
}

/* Numbers in a tile of scores, rounded up so that every thread's scratch is aligned alike. */
static int64_t scratch_size(const attention *at) {
    return ((at->T < TILE ? at->T : TILE) * at->S + 15) / 16 * 16;
}

static bool worth_threads(const attention *at) {
    return at->B * at->T * at->S * at->C >= 8 * KD_PARALLEL_SIZE;
}

/* A head of a sample is one thread's, which goes through its tiles in order: ∂k and ∂v collect
 * them. The gradients start from zeros, not from a first overwriting product, since q, k and v may
 * be one tensor. */
static void attention_backward(kd_tape *tape, kd_node *node) {
    const attention *at = node->saved;
    kd_real *grad[3];
    for (int i = 0; i < 3; i++) grad[i] = kd_tape_grad(tape, node->in[i]);
    const int64_t tile_size = scratch_size(at);
    const size_t threads = (size_t)omp_get_max_threads();
    kd_real *scratch = kd_tape_take(tape, threads * 2 * (size_t)tile_size * sizeof *scratch);
#pragma omp parallel for schedule(dynamic, 1) if (worth_threads(at))
    for (int64_t head = 0; head < at->B * at->H; head++) {
        kd_real *p = scratch + omp_get_thread_num() * 2 * tile_size;
        for (int64_t t = 0; t < at->T; t += TILE) {
            const tile i = make_tile(at, head, t);
            backward_tile(at, &i, node->in, node->out, grad, p, p + tile_size);
        }
    }
    kd_tape_give(tape, scratch);
}

static void check_attention(const kd_tensor *q, const kd_tensor *k, const kd_tensor *v, int heads,
                            bool causal, const int32_t *valid) {
    KD_FIT(q->rank == 3 && k->rank == 3 && q->shape[0] == k->shape[0] && q->shape[2] == k->shape[2],
           "attention", q, k);
    KD_FIT(kd_same_shape(k, v), "attention", k, v);
    KD_FIT(!causal || k->shape[1] >= q->shape[1], "attention (causal)", q, k);
    KD_CONTRACT(heads >= 1 && q->shape[2] % heads == 0, "attention: %d heads of %lld channels",
                heads, (long long)q->shape[2]);
    for (int64_t b = 0; valid && b < q->shape[0]; b++)
        KD_CONTRACT(valid[b] >= 1 && valid[b] <= k->shape[1], "attention: valid[%lld] = %d of %lld",
                    (long long)b, (int)valid[b], (long long)k->shape[1]);
}

kd_tensor *kd_attention(kd_tape *tape, kd_tensor *q, kd_tensor *k, kd_tensor *v, int heads,
                        bool causal, const int32_t *valid) {
    check_attention(q, k, v, heads, causal, valid);
    attention *at = kd_tape_alloc(tape, sizeof *at);
    *at = (attention){.B = q->shape[0], .T = q->shape[1], .S = k->shape[1], .C = q->shape[2]};
    at->H = heads;
    at->D = at->C / heads;
    at->causal = causal;
    at->valid = valid;
    at->scale = 1 / kd_sqrt((kd_real)at->D);
    at->log_sum = kd_tape_alloc(tape, (size_t)(at->B * at->H * at->T) * sizeof(kd_real));
    kd_tensor *y = kd_tape_output(tape, 3, q->shape), *qkv[3] = {q, k, v};
    const int64_t tiles = (at->T + TILE - 1) / TILE, tile_size = scratch_size(at);
    const size_t threads = (size_t)omp_get_max_threads();
    kd_real *scratch = kd_tape_take(tape, threads * (size_t)tile_size * sizeof *scratch);
#pragma omp parallel for schedule(dynamic, 1) if (worth_threads(at))
    for (int64_t n = 0; n < at->B * at->H * tiles; n++) {
        const tile i = make_tile(at, n / tiles, n % tiles * TILE);
        forward_tile(at, &i, qkv, y, scratch + omp_get_thread_num() * tile_size);
    }
    kd_tape_give(tape, scratch);
    kd_tape_record(tape, "attention", attention_backward, y, at, 3, qkv);
    return y;
}
