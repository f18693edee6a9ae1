#include "autograd/op_common.h"
#include "autograd/ops.h"
#include "autograd/vector_math.h"

/* A row of the last axis is one thread's; rows are independent. */

/* --- softmax --------------------------------------------------------------------------------- */

/* ∂x ← ∂x + y ∘ (∂y − Σ_c ∂y·y) per row. Saved: y. */
static void softmax_backward(kd_tape *tape, kd_node *node) {
    kd_tensor *x = node->in[0];
    const int64_t rows = kd_rows(x), C = kd_channels(x);
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, x, &beta);
    if (!dx) return;
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++) {
        const kd_real *restrict y = node->out->value + row * C;
        const kd_real *restrict dy = node->out->grad + row * C;
        kd_real *restrict out = dx + row * C;
        const kd_real dot = (kd_real)kd_row_dot(dy, y, C);
        if (beta == 0)
            for (int64_t c = 0; c < C; c++) out[c] = y[c] * (dy[c] - dot);
        else
            for (int64_t c = 0; c < C; c++) out[c] += y[c] * (dy[c] - dot);
    }
}

/* y = e^{x−max} / Σ e^{x−max} */
kd_tensor *kd_softmax(kd_tape *tape, kd_tensor *x) {
    kd_tensor *y = kd_tape_output(tape, x->rank, x->shape);
    const int64_t rows = kd_rows(x), C = kd_channels(x);
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++) {
        const kd_real *restrict in = x->value + row * C;
        kd_real *restrict out = y->value + row * C;
        const kd_real max = kd_row_max(in, C);
#pragma omp simd
        for (int64_t c = 0; c < C; c++) out[c] = kd_vexp(in[c] - max);
        const kd_real scale = (kd_real)(1 / kd_row_sum(out, C));
        for (int64_t c = 0; c < C; c++) out[c] *= scale;
    }
    kd_tape_record(tape, "softmax", softmax_backward, y, NULL, 1, &x);
    return y;
}

/* --- log-softmax ----------------------------------------------------------------------------- */

/* ∂x ← ∂x + ∂y − e^y · Σ_c ∂y per row. Saved: y. */
static void log_softmax_backward(kd_tape *tape, kd_node *node) {
    kd_tensor *x = node->in[0];
    const int64_t rows = kd_rows(x), C = kd_channels(x);
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, x, &beta);
    if (!dx) return;
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++) {
        const kd_real *restrict y = node->out->value + row * C;
        const kd_real *restrict dy = node->out->grad + row * C;
        kd_real *restrict out = dx + row * C;
        const kd_real sum = (kd_real)kd_row_sum(dy, C);
        if (beta == 0) {
#pragma omp simd
            for (int64_t c = 0; c < C; c++) out[c] = dy[c] - kd_vexp(y[c]) * sum;
        } else {
#pragma omp simd
            for (int64_t c = 0; c < C; c++) out[c] += dy[c] - kd_vexp(y[c]) * sum;
        }
    }
}

/* y = x − max − log Σ e^{x−max}; y holds the exponentials on the way. */
kd_tensor *kd_log_softmax(kd_tape *tape, kd_tensor *x) {
    kd_tensor *y = kd_tape_output(tape, x->rank, x->shape);
    const int64_t rows = kd_rows(x), C = kd_channels(x);
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++) {
        const kd_real *restrict in = x->value + row * C;
        kd_real *restrict out = y->value + row * C;
        const kd_real max = kd_row_max(in, C);
#pragma omp simd
        for (int64_t c = 0; c < C; c++) out[c] = kd_vexp(in[c] - max);
        const kd_real log_sum = (kd_real)log(kd_row_sum(out, C));
        for (int64_t c = 0; c < C; c++) out[c] = in[c] - max - log_sum;
    }
    kd_tape_record(tape, "log_softmax", log_softmax_backward, y, NULL, 1, &x);
    return y;
}
