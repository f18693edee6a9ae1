/* Hints: losses between hidden layers of student and teacher. */
#include "autograd/op_common.h"
#include "base/size.h"
#include "distill/loss.h"

/* A row is one thread's; the rows' losses are added in order, in double. */
static kd_real ordered_sum(const double *each, int64_t n, double scale) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += each[i];
    return (kd_real)(scale * sum);
}

/* --- mean squared error ---------------------------------------------------------------------- */

typedef struct {
    const kd_real *target;
    const uint8_t *valid;
    kd_real slope; /* 2·weight/(n·normalizer) */
} mse_record;

/* ∂x ← ∂x + ∂L · 2·weight·(x − target)/(n·normalizer). Nothing is saved: x and target are read
 * again, which is what writing and reading a difference would cost. */
static void hint_mse_backward(kd_tape *tape, kd_node *node) {
    const mse_record *record = node->saved;
    kd_tensor *x = node->in[0];
    const int64_t N = x->shape[0], n = x->size / N;
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, x, &beta);
    if (!dx) return;
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < N; row++) {
        const bool counts = !record->valid || record->valid[row];
        const kd_real slope = counts ? record->slope * *node->out->grad : 0;
        const kd_real *restrict a = x->value + row * n, *restrict b = record->target + row * n;
        kd_real *restrict out = dx + row * n;
        if (beta == 0)
            for (int64_t i = 0; i < n; i++) out[i] = slope * (a[i] - b[i]);
        else
            for (int64_t i = 0; i < n; i++) out[i] += slope * (a[i] - b[i]);
    }
}

/* L = weight · Σ_rows mean (x − target)² / normalizer */
kd_tensor *kd_hint_mse(kd_tape *tape, kd_tensor *x, const kd_real *target, const uint8_t *valid,
                       kd_real weight, double normalizer) {
    KD_CONTRACT(normalizer > 0, "hint_mse: normalizer %g", normalizer);
    const int64_t N = x->shape[0], n = x->size / N;
    kd_tensor *loss = kd_tape_output(tape, 1, (int64_t[]){1});
    double *each = kd_tape_take(tape, kd_array_bytes(N, sizeof *each));
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < N; row++) {
        const kd_real *restrict a = x->value + row * n, *restrict b = target + row * n;
        double sum = 0;
        for (int64_t begin = 0; begin < n; begin += KD_ROW_TILE) {
            const int64_t end = begin + KD_ROW_TILE < n ? begin + KD_ROW_TILE : n;
            kd_real part = 0;
#pragma omp simd reduction(+ : part)
            for (int64_t i = begin; i < end; i++) part += (a[i] - b[i]) * (a[i] - b[i]);
            sum += (double)part;
        }
        each[row] = !valid || valid[row] ? sum : 0;
    }
    const double scale = (double)weight / ((double)n * normalizer);
    loss->value[0] = ordered_sum(each, N, scale);
    kd_tape_give(tape, each);
    mse_record *record = kd_tape_alloc(tape, sizeof *record);
    *record = (mse_record){target, valid, (kd_real)(2 * scale)};
    kd_tape_record(tape, "hint_mse", hint_mse_backward, loss, record, 1, &x);
    return loss;
}

/* --- cosine ---------------------------------------------------------------------------------- */

typedef struct {
    const kd_real *target;
    kd_real scale;   /* weight/normalizer                              */
    kd_real *across; /* (N) 1/(|x||t|), 0 when one of them is 0        */
    kd_real *along;  /* (N) cos/|x|²                                   */
} cosine_record;

/* ∂x ← ∂x − ∂L · weight/normalizer · (target/(|x||t|) − x·cos/|x|²). Saved: two numbers a row. */
static void hint_cosine_backward(kd_tape *tape, kd_node *node) {
    const cosine_record *record = node->saved;
    kd_tensor *x = node->in[0];
    const int64_t N = kd_rows(x), C = kd_channels(x);
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, x, &beta);
    if (!dx) return;
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < N; row++) {
        const kd_real slope = record->scale * *node->out->grad;
        const kd_real along = slope * record->along[row], across = slope * record->across[row];
        const kd_real *restrict a = x->value + row * C, *restrict b = record->target + row * C;
        kd_real *restrict out = dx + row * C;
        if (beta == 0)
            for (int64_t c = 0; c < C; c++) out[c] = along * a[c] - across * b[c];
        else
            for (int64_t c = 0; c < C; c++) out[c] += along * a[c] - across * b[c];
    }
}

/* L = weight · Σ_rows (1 − cos(x_row, target_row)) / normalizer */
kd_tensor *kd_hint_cosine(kd_tape *tape, kd_tensor *x, const kd_real *target, const uint8_t *valid,
                          kd_real weight, double normalizer) {
    KD_CONTRACT(normalizer > 0, "hint_cosine: normalizer %g", normalizer);
    const int64_t N = kd_rows(x), C = kd_channels(x);
    kd_tensor *loss = kd_tape_output(tape, 1, (int64_t[]){1});
    cosine_record *record = kd_tape_alloc(tape, sizeof *record);
    *record = (cosine_record){.target = target, .scale = (kd_real)((double)weight / normalizer)};
    record->across = kd_tape_alloc(tape, kd_array_bytes(N, sizeof *record->across));
    record->along = kd_tape_alloc(tape, kd_array_bytes(N, sizeof *record->along));
    double *each = kd_tape_take(tape, kd_array_bytes(N, sizeof *each));
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < N; row++) {
        const kd_real *a = x->value + row * C, *b = target + row * C;
        const double xx = kd_row_dot(a, a, C), tt = kd_row_dot(b, b, C);
        const bool counts = !valid || valid[row], defined = counts && xx > 0 && tt > 0;
        const double across = defined ? 1 / sqrt(xx * tt) : 0,
                     cosine = kd_row_dot(a, b, C) * across;
        record->across[row] = (kd_real)across;
        record->along[row] = (kd_real)(defined ? cosine / xx : 0);
        each[row] = counts ? 1 - cosine : 0;
    }
    loss->value[0] = ordered_sum(each, N, (double)weight / normalizer);
    kd_tape_give(tape, each);
    kd_tape_record(tape, "hint_cosine", hint_cosine_backward, loss, record, 1, &x);
    return loss;
}
