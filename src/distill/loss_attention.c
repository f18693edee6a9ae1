/* A hint between attention distributions: what each query of the student looks at, and of the
 * teacher. Tiles of TILE queries of a head at a time, so that scores never exist as a whole.
 *
 * With s = q·kᵀ/√D of the student, p its softmax over the keys a query sees, a the teacher's:
 *
 *     ∂s = w·(p − a)/√D      ∂q ← ∂q + ∂s·k      ∂k ← ∂k + ∂sᵀ·q      w = weight/(H·normalizer)
 */
#include <string.h>

#include "autograd/gemm.h"
#include "autograd/op_common.h"
#include "base/order.h"
#include "distill/loss_parts.h"

enum { TILE = 64 };

/* Queries (B,T,H·D) and keys (B,T,G·D) of one model. */
typedef struct {
    const kd_real *q, *k;
    int64_t D, C, CG; /* of a head, of all queries, of all keys */
} side;

typedef struct {
    int64_t B, T, H, G;
    side student, teacher;
    const int32_t *first;
    const uint8_t *valid;
    double weight;    /* of a head's divergence in the loss                  */
    kd_real *dq, *dk; /* like the student's q and k; NULL: nobody wants them */
    double *each;     /* (B,H,T) divergences                                 */
} task;

static int64_t first_of(const task *at, int64_t b, int64_t t) {
    return at->first ? at->first[b * at->T + t] : 0;
}

/* log-probabilities of `rows` queries from `t` on over the keys 0 … keys − 1 → s (rows,keys). */
static void log_probabilities(const task *at, const side *m, int64_t b, int64_t h, int64_t t,
                              int64_t rows, int64_t keys, kd_real *s) {
    kd_matrix_product p = kd_product_of(
        rows, keys, m->D, kd_plain(m->q + (b * at->T + t) * m->C + h * m->D, m->C),
        kd_transposed(m->k + b * at->T * m->CG + h * at->G / at->H * m->D, m->CG), s, keys);
    p.alpha = (kd_real)(1 / sqrt((double)m->D));
    kd_gemm_serial(&p);
    for (int64_t row = 0; row < rows; row++) {
        const int64_t from = first_of(at, b, t + row), end = t + row + 1;
        kd_real *x = s + row * keys;
        const kd_real max = kd_row_max(x + from, end - from);
        const kd_real log_sum = max + (kd_real)log(kd_sum_exp(x + from, end - from, max, 1));
        for (int64_t j = from; j < end; j++) x[j] -= log_sum;
    }
}

/* The divergences of a tile's rows, and ∂s in place of the student's log-probabilities. */
static void compare(const task *at, int64_t b, int64_t h, int64_t t, int64_t rows, int64_t keys,
                    kd_real *restrict own, const kd_real *restrict taught) {
    const kd_real slope = (kd_real)(at->weight / sqrt((double)at->student.D));
    for (int64_t row = 0; row < rows; row++) {
        const int64_t from = first_of(at, b, t + row), end = t + row + 1;
        kd_real *p = own + row * keys;
        const kd_real *a = taught + row * keys;
        const bool counts = !at->valid || at->valid[b * at->T + t + row];
        double sum = 0;
        for (int64_t j = 0; j < keys; j++) {
            const bool seen = counts && j >= from && j < end;
            const double share = seen ? exp((double)a[j]) : 0;
            if (seen) sum += share * (double)(a[j] - p[j]);
            p[j] = seen ? slope * (kd_real)(exp((double)p[j]) - share) : 0;
        }
        at->each[(b * at->H + h) * at->T + t + row] = sum;
    }
}

/* The heads that share keys g of sample b; `scratch` 2·TILE·T. */
static void compare_heads(const task *at, int64_t b, int64_t g, kd_real *scratch) {
    const int64_t shared = at->H / at->G;
    const side *m = &at->student;
    for (int64_t h = g * shared; h < (g + 1) * shared; h++)
        for (int64_t t = 0; t < at->T; t += TILE) {
            const int64_t rows = kd_smaller(TILE, at->T - t), keys = t + rows;
            const int64_t q = (b * at->T + t) * m->C + h * m->D;
            const int64_t k = b * at->T * m->CG + g * m->D;
            kd_real *own = scratch, *taught = scratch + TILE * at->T;
            log_probabilities(at, m, b, h, t, rows, keys, own);
            log_probabilities(at, &at->teacher, b, h, t, rows, keys, taught);
            compare(at, b, h, t, rows, keys, own, taught);
            if (at->dq) {
                const kd_matrix_product p =
                    kd_product_of(rows, m->D, keys, kd_plain(own, keys), kd_plain(m->k + k, m->CG),
                                  at->dq + q, m->C);
                kd_gemm_serial(&p);
            }
            if (at->dk) {
                kd_matrix_product p = kd_product_of(keys, m->D, rows, kd_transposed(own, keys),
                                                    kd_plain(m->q + q, m->C), at->dk + k, m->CG);
                p.beta = 1;
                kd_gemm_serial(&p);
            }
        }
}

typedef struct {
    kd_real *dq, *dk; /* in memory from the pool */
} record;

/* ∂q ← ∂q + ∂L · saved, and k likewise. */
static void hint_attention_backward(kd_tape *tape, kd_node *node) {
    record *saved = node->saved;
    const kd_real dloss = *node->out->grad;
    if (saved->dq) kd_loss_hand_over(tape, node->in[0], saved->dq, dloss);
    if (saved->dk) kd_loss_hand_over(tape, node->in[1], saved->dk, dloss);
    *saved = (record){0};
}

static kd_real *gradient_of(kd_tape *tape, const kd_tensor *x) {
    if (!tape->recording || !x->needs_grad) return NULL;
    kd_real *grad = kd_tape_take(tape, (size_t)x->size * sizeof *grad);
    memset(grad, 0, (size_t)x->size * sizeof *grad);
    return grad;
}

kd_tensor *kd_hint_attention(kd_tape *tape, kd_tensor *q, kd_tensor *k,
                             const kd_attention_hint *hint, const int32_t *first,
                             const uint8_t *valid, kd_real weight, double normalizer) {
    const int64_t B = q->shape[0], T = q->shape[1], H = hint->heads, C = kd_channels(q);
    KD_CONTRACT(normalizer > 0, "hint_attention: normalizer %g", normalizer);
    KD_FIT(q->rank == 3 && k->rank == 3 && C % H == 0 && k->shape[0] == B && k->shape[1] == T &&
               kd_channels(k) % (C / H) == 0,
           "hint_attention", q, k);
    const int64_t D = C / H, W = hint->head_width;
    task at = {.B = B, .T = T, .H = H, .G = kd_channels(k) / D, .first = first, .valid = valid};
    KD_CONTRACT(H % at.G == 0, "hint_attention: %lld heads over %lld of the keys", (long long)H,
                (long long)at.G);
    at.student = (side){q->value, k->value, D, C, at.G * D};
    at.teacher = (side){hint->query, hint->key, W, H * W, at.G * W};
    at.weight = (double)weight / ((double)H * normalizer);
    at.dq = gradient_of(tape, q);
    at.dk = gradient_of(tape, k);
    at.each = kd_tape_take(tape, (size_t)(B * H * T) * sizeof *at.each);
    const size_t tile = 2 * (size_t)(TILE * T);
    const int64_t pieces = B * at.G;
    kd_real *scratch = kd_tape_take(tape, (size_t)pieces * tile * sizeof *scratch);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < pieces; i++)
        compare_heads(&at, i / at.G, i % at.G, scratch + (size_t)i * tile);
    double sum = 0;
    for (int64_t i = 0; i < B * H * T; i++) sum += at.each[i];
    kd_tape_give(tape, scratch);
    kd_tape_give(tape, at.each);
    kd_tensor *loss = kd_tape_output(tape, 1, (int64_t[]){1});
    loss->value[0] = (kd_real)(at.weight * sum);
    record *saved = kd_tape_alloc(tape, sizeof *saved);
    *saved = (record){at.dq, at.dk};
    kd_tape_record(tape, "hint_attention", hint_attention_backward, loss, saved, 2,
                   (kd_tensor *[]){q, k});
    return loss;
}
