#include "autograd/op_common.h"
#include "autograd/ops.h"
#include "autograd/vector_math.h"

/* y[i] = expression of in[i], over a new tensor like x. */
#define MAP(tape, x, y, expression)                                                                \
    kd_tensor *y = kd_tape_output(tape, (x)->rank, (x)->shape);                                    \
    do {                                                                                           \
        const kd_real *restrict in = (x)->value;                                                   \
        kd_real *restrict out = (y)->value;                                                        \
        const int64_t size_ = (x)->size;                                                           \
        _Pragma("omp parallel for simd if (size_ >= KD_PARALLEL_SIZE)") for (int64_t i = 0;        \
                                                                             i < size_; i++)       \
            out[i] = (expression);                                                                 \
    } while (0)

/* --- relu ------------------------------------------------------------------------------------ */

void kd_relu_gate(kd_real *grad, const kd_real *y, int64_t size) {
#pragma omp parallel for simd if (size >= KD_PARALLEL_SIZE)
    for (int64_t i = 0; i < size; i++) grad[i] = y[i] > 0 ? grad[i] : 0;
}

/* ∂x ← ∂x + ∂y ∘ [y > 0] */
static void relu_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict y = node->out->value, *restrict dy = node->out->grad;
    KD_ADD_GRAD(tape, node->in[0], y[i] > 0 ? dy[i] : 0);
}

/* y = max(x, 0); NaN stays NaN */
kd_tensor *kd_relu(kd_tape *tape, kd_tensor *x) {
    MAP(tape, x, y, in[i] < 0 ? 0 : in[i]);
    kd_tape_record(tape, "relu", relu_backward, y, NULL, 1, &x);
    return y;
}

/* --- gelu, exact ----------------------------------------------------------------------------- */

/* Φ(x) = (1 + erf(x/√2))/2, the normal distribution function */
static inline kd_real normal_cdf(kd_real x) {
    return KD_REAL(0.5) * (1 + kd_verf(x * KD_REAL(0.70710678118654752440)));
}

/* (xΦ(x))' = Φ(x) + x·φ(x), φ(x) = e^{−x²/2}/√(2π) */
static inline kd_real gelu_slope(kd_real x) {
    return normal_cdf(x) + x * KD_REAL(0.39894228040143267794) * kd_vexp(KD_REAL(-0.5) * x * x);
}

/* ∂x ← ∂x + ∂y ∘ gelu'(x). Recomputed from x: two polynomials cost less than the memory traffic of
 * a saved slope. */
static void gelu_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict x = node->in[0]->value, *restrict dy = node->out->grad;
    KD_ADD_GRAD(tape, node->in[0], dy[i] * gelu_slope(x[i]));
}

/* y = x·Φ(x) */
kd_tensor *kd_gelu(kd_tape *tape, kd_tensor *x) {
    MAP(tape, x, y, in[i] * normal_cdf(in[i]));
    kd_tape_record(tape, "gelu", gelu_backward, y, NULL, 1, &x);
    return y;
}

/* --- gelu, tanh approximation ---------------------------------------------------------------- */

#define GELU_SCALE KD_REAL(0.79788456080286535588) /* √(2/π) */
#define GELU_CUBIC KD_REAL(0.044715)

/* t = tanh(u(x)), u = √(2/π)(x + 0.044715 x³) */
static inline kd_real gelu_tanh_inner(kd_real x) {
    return kd_vtanh(GELU_SCALE * (x + GELU_CUBIC * x * x * x));
}

/* (x/2·(1 + t))' = (1 + t)/2 + x/2·(1 − t²)·u'(x) */
static inline kd_real gelu_tanh_slope(kd_real x) {
    kd_real t = gelu_tanh_inner(x);
    kd_real du = GELU_SCALE * (1 + 3 * GELU_CUBIC * x * x);
    return KD_REAL(0.5) * (1 + t) + KD_REAL(0.5) * x * (1 - t * t) * du;
}

/* ∂x ← ∂x + ∂y ∘ gelu_tanh'(x), recomputed from x */
static void gelu_tanh_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict x = node->in[0]->value, *restrict dy = node->out->grad;
    KD_ADD_GRAD(tape, node->in[0], dy[i] * gelu_tanh_slope(x[i]));
}

kd_tensor *kd_gelu_tanh(kd_tape *tape, kd_tensor *x) {
    MAP(tape, x, y, KD_REAL(0.5) * in[i] * (1 + gelu_tanh_inner(in[i])));
    kd_tape_record(tape, "gelu_tanh", gelu_tanh_backward, y, NULL, 1, &x);
    return y;
}

/* --- sigmoid --------------------------------------------------------------------------------- */

/* ∂x ← ∂x + ∂y ∘ y(1 − y) */
static void sigmoid_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict y = node->out->value, *restrict dy = node->out->grad;
    KD_ADD_GRAD(tape, node->in[0], dy[i] * y[i] * (1 - y[i]));
}

kd_tensor *kd_sigmoid(kd_tape *tape, kd_tensor *x) {
    MAP(tape, x, y, kd_vsigmoid(in[i]));
    kd_tape_record(tape, "sigmoid", sigmoid_backward, y, NULL, 1, &x);
    return y;
}

/* --- silu ------------------------------------------------------------------------------------ */

/* (xσ(x))' = σ(x)·(1 + x(1 − σ(x))) */
static inline kd_real silu_slope(kd_real x) {
    kd_real s = kd_vsigmoid(x);
    return s * (1 + x * (1 - s));
}

/* ∂x ← ∂x + ∂y ∘ silu'(x), recomputed from x */
static void silu_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict x = node->in[0]->value, *restrict dy = node->out->grad;
    KD_ADD_GRAD(tape, node->in[0], dy[i] * silu_slope(x[i]));
}

kd_tensor *kd_silu(kd_tape *tape, kd_tensor *x) {
    MAP(tape, x, y, in[i] * kd_vsigmoid(in[i]));
    kd_tape_record(tape, "silu", silu_backward, y, NULL, 1, &x);
    return y;
}

/* --- swiglu ---------------------------------------------------------------------------------- */

/* ∂g ← ∂g + ∂y ∘ u ∘ silu'(g),  ∂u ← ∂u + ∂y ∘ silu(g), both recomputed from g */
static void swiglu_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict g = node->in[0]->value, *restrict u = node->in[1]->value;
    const kd_real *restrict dy = node->out->grad;
    KD_ADD_GRAD(tape, node->in[0], dy[i] * u[i] * silu_slope(g[i]));
    KD_ADD_GRAD(tape, node->in[1], dy[i] * (g[i] * kd_vsigmoid(g[i])));
}

kd_tensor *kd_swiglu(kd_tape *tape, kd_tensor *gate, kd_tensor *up) {
    KD_FIT(kd_same_shape(gate, up), "swiglu", gate, up);
    const kd_real *restrict u = up->value;
    MAP(tape, gate, y, in[i] * kd_vsigmoid(in[i]) * u[i]);
    kd_tape_record(tape, "swiglu", swiglu_backward, y, NULL, 2, (kd_tensor *[]){gate, up});
    return y;
}

/* --- tanh ------------------------------------------------------------------------------------ */

/* ∂x ← ∂x + ∂y ∘ (1 − y²) */
static void tanh_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict y = node->out->value, *restrict dy = node->out->grad;
    KD_ADD_GRAD(tape, node->in[0], dy[i] * (1 - y[i] * y[i]));
}

kd_tensor *kd_tanh(kd_tape *tape, kd_tensor *x) {
    MAP(tape, x, y, kd_vtanh(in[i]));
    kd_tape_record(tape, "tanh", tanh_backward, y, NULL, 1, &x);
    return y;
}
