#include "autograd/op_common.h"
#include "autograd/ops.h"

/* --- y = x + b over the last axis ------------------------------------------------------------ */

/* ∂x ← ∂x + ∂y,  ∂b[c] ← ∂b[c] + Σ_rows ∂y[row, c]. Nothing is saved. */
static void bias_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict dy = node->out->grad;
    KD_ADD_GRAD(tape, node->in[0], dy[i]);
    kd_add_column_sums(tape, node->in[1], dy, kd_rows(node->out));
}

kd_tensor *kd_bias(kd_tape *tape, kd_tensor *x, kd_tensor *b) {
    KD_FIT(b->rank == 1 && b->size == kd_channels(x), "bias", x, b);
    kd_tensor *y = kd_tape_output(tape, x->rank, x->shape);
    const int64_t rows = kd_rows(x), C = b->size;
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++) {
        const kd_real *restrict in = x->value + row * C, *restrict add = b->value;
        kd_real *restrict out = y->value + row * C;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) out[c] = in[c] + add[c];
    }
    kd_tape_record(tape, "bias", bias_backward, y, NULL, 2, (kd_tensor *[]){x, b});
    return y;
}

/* --- y = act(a + b) -------------------------------------------------------------------------- */

/* ∂a ← ∂a + ∂y ∘ [y > 0],  ∂b likewise; without relu the gate is 1. y itself tells the gate. */
static void add_relu_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict dy = node->out->grad, *restrict y = node->out->value;
    KD_ADD_GRAD(tape, node->in[0], y[i] > 0 ? dy[i] : 0);
    KD_ADD_GRAD(tape, node->in[1], y[i] > 0 ? dy[i] : 0);
}

static void add_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict dy = node->out->grad;
    KD_ADD_GRAD(tape, node->in[0], dy[i]);
    KD_ADD_GRAD(tape, node->in[1], dy[i]);
}

kd_tensor *kd_add(kd_tape *tape, kd_tensor *a, kd_tensor *b, kd_act act) {
    KD_FIT(kd_same_shape(a, b), "add", a, b);
    kd_tensor *y = kd_tape_output(tape, a->rank, a->shape);
    const kd_real *restrict p = a->value, *restrict q = b->value;
    const kd_real floor = act == KD_ACT_RELU ? 0 : -(kd_real)INFINITY;
    kd_real *restrict out = y->value;
#pragma omp parallel for simd if (y->size >= KD_PARALLEL_SIZE)
    for (int64_t i = 0; i < y->size; i++) {
        kd_real sum = p[i] + q[i];
        out[i] = sum < floor ? floor : sum; /* NaN goes through */
    }
    kd_tape_record(tape, "add", act == KD_ACT_RELU ? add_relu_backward : add_backward, y, NULL, 2,
                   (kd_tensor *[]){a, b});
    return y;
}

/* --- y = a ∘ b ------------------------------------------------------------------------------- */

/* ∂a ← ∂a + ∂y ∘ b,  ∂b ← ∂b + ∂y ∘ a */
static void mul_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict dy = node->out->grad;
    const kd_real *restrict a = node->in[0]->value, *restrict b = node->in[1]->value;
    KD_ADD_GRAD(tape, node->in[0], dy[i] * b[i]);
    KD_ADD_GRAD(tape, node->in[1], dy[i] * a[i]);
}

kd_tensor *kd_mul(kd_tape *tape, kd_tensor *a, kd_tensor *b) {
    KD_FIT(kd_same_shape(a, b), "mul", a, b);
    kd_tensor *y = kd_tape_output(tape, a->rank, a->shape);
    const kd_real *restrict p = a->value, *restrict q = b->value;
    kd_real *restrict out = y->value;
#pragma omp parallel for simd if (y->size >= KD_PARALLEL_SIZE)
    for (int64_t i = 0; i < y->size; i++) out[i] = p[i] * q[i];
    kd_tape_record(tape, "mul", mul_backward, y, NULL, 2, (kd_tensor *[]){a, b});
    return y;
}

/* --- y = factor · x -------------------------------------------------------------------------- */

/* ∂x ← ∂x + factor · ∂y */
static void scale_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict dy = node->out->grad;
    const kd_real factor = *(const kd_real *)node->saved;
    KD_ADD_GRAD(tape, node->in[0], factor * dy[i]);
}

kd_tensor *kd_scale(kd_tape *tape, kd_tensor *x, kd_real factor) {
    kd_tensor *y = kd_tape_output(tape, x->rank, x->shape);
    const kd_real *restrict in = x->value;
    kd_real *restrict out = y->value, *saved = kd_tape_alloc(tape, sizeof factor);
#pragma omp parallel for simd if (y->size >= KD_PARALLEL_SIZE)
    for (int64_t i = 0; i < y->size; i++) out[i] = factor * in[i];
    *saved = factor;
    kd_tape_record(tape, "scale", scale_backward, y, saved, 1, &x);
    return y;
}

/* --- y[i,…] = x[i,…] · s[i] ------------------------------------------------------------------ */

/* ∂x[i,j] ← ∂x[i,j] + s[i] · ∂y[i,j],  ∂s[i] ← ∂s[i] + Σ_j ∂y[i,j] · x[i,j] */
static void scale_rows_backward(kd_tape *tape, kd_node *node) {
    kd_tensor *x = node->in[0], *s = node->in[1];
    const int64_t rows = s->size, n = x->size / rows;
    const kd_real *restrict dy = node->out->grad;
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, x, &beta);
    if (dx) {
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
        for (int64_t row = 0; row < rows; row++) {
            const kd_real factor = s->value[row];
            kd_real *restrict out = dx + row * n;
            const kd_real *restrict in = dy + row * n;
            if (beta == 0)
                for (int64_t j = 0; j < n; j++) out[j] = factor * in[j];
            else
                for (int64_t j = 0; j < n; j++) out[j] += factor * in[j];
        }
    }
    kd_real *ds = kd_tape_grad(tape, s);
    if (!ds) return;
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++)
        ds[row] += (kd_real)kd_row_dot(dy + row * n, x->value + row * n, n);
}

kd_tensor *kd_scale_rows(kd_tape *tape, kd_tensor *x, kd_tensor *s) {
    KD_FIT(s->rank == 1 && s->size == x->shape[0], "scale_rows", x, s);
    kd_tensor *y = kd_tape_output(tape, x->rank, x->shape);
    const int64_t rows = s->size, n = x->size / rows;
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++) {
        const kd_real factor = s->value[row];
        const kd_real *restrict in = x->value + row * n;
        kd_real *restrict out = y->value + row * n;
        for (int64_t j = 0; j < n; j++) out[j] = factor * in[j];
    }
    kd_tape_record(tape, "scale_rows", scale_rows_backward, y, NULL, 2, (kd_tensor *[]){x, s});
    return y;
}
