#include "autograd/op_common.h"
#include "autograd/ops.h"

/* --- C = op(A)·op(B) ------------------------------------------------------------------------- */

/* The sizes of one product: C (M,N) = op(A) (M,K) · op(B) (K,N), `batch` times. */
typedef struct {
    kd_trans ta, tb;
    int64_t batch, M, N, K;
    int64_t stride_a, stride_b; /* between matrices of the batch; stride_b 0: B is shared */
} product;

static kd_trans flipped(kd_trans t) {
    return t == KD_PLAIN ? KD_TRANSPOSED : KD_PLAIN;
}

static int64_t leading(const kd_tensor *x) {
    return kd_channels(x);
}

/* A plain A in front of a shared B is one tall matrix. */
static product measure(const kd_tensor *a, const kd_tensor *b, kd_trans ta, kd_trans tb) {
    const int64_t *sa = a->shape + a->rank - 2, *sb = b->shape + b->rank - 2;
    KD_FIT((a->rank == 2 || a->rank == 3) && (b->rank == 2 || b->rank == 3), "matmul", a, b);
    KD_FIT(b->rank == 2 || (a->rank == 3 && a->shape[0] == b->shape[0]), "matmul", a, b);
    product p = {.ta = ta, .tb = tb, .batch = a->rank == 3 ? a->shape[0] : 1};
    p.M = ta == KD_PLAIN ? sa[0] : sa[1];
    p.K = ta == KD_PLAIN ? sa[1] : sa[0];
    p.N = tb == KD_PLAIN ? sb[1] : sb[0];
    KD_FIT(p.K == (tb == KD_PLAIN ? sb[0] : sb[1]), "matmul", a, b);
    if (b->rank == 2 && ta == KD_PLAIN) {
        p.M *= p.batch;
        p.batch = 1;
    }
    p.stride_a = p.M * p.K;
    p.stride_b = b->rank == 3 ? p.K * p.N : 0;
    return p;
}

/* dA ← dA + G·op(B)ᵀ, or its transpose op(B)·Gᵀ when A was transposed. */
static void matmul_grad_a(kd_tape *tape, kd_node *node, const product *p) {
    kd_tensor *a = node->in[0], *b = node->in[1];
    const kd_real *G = node->out->grad;
    kd_real beta;
    kd_real *dA = kd_tape_grad_beta(tape, a, &beta);
    if (!dA) return;
    if (p->ta == KD_TRANSPOSED)
        kd_gemm_batched(p->batch, p->tb, KD_TRANSPOSED, p->K, p->M, p->N, 1, b->value, leading(b),
                        p->stride_b, G, p->N, p->M * p->N, beta, dA, p->M, p->stride_a);
    else if (p->batch == 1)
        kd_gemm_tape(tape, KD_PLAIN, flipped(p->tb), p->M, p->K, p->N, 1, G, p->N, b->value,
                     leading(b), b->param, beta, dA, p->K);
    else
        kd_gemm_batched(p->batch, KD_PLAIN, flipped(p->tb), p->M, p->K, p->N, 1, G, p->N,
                        p->M * p->N, b->value, leading(b), p->stride_b, beta, dA, p->K,
                        p->stride_a);
}

/* dB ← dB + op(A)ᵀ·G, or its transpose Gᵀ·op(A) when B was transposed; a shared B collects the
 * batch in order. */
static void matmul_grad_b(kd_tape *tape, kd_node *node, const product *p) {
    kd_tensor *a = node->in[0], *b = node->in[1];
    kd_real beta;
    kd_real *dB = kd_tape_grad_beta(tape, b, &beta);
    if (!dB) return;
    const bool shared = p->stride_b == 0;
    const int64_t rounds = shared ? p->batch : 1, count = shared ? 1 : p->batch;
    for (int64_t round = 0; round < rounds; round++) {
        const kd_real *A = a->value + round * p->stride_a;
        const kd_real *G = node->out->grad + round * p->M * p->N;
        if (p->tb == KD_PLAIN)
            kd_gemm_batched(count, flipped(p->ta), KD_PLAIN, p->K, p->N, p->M, 1, A, leading(a),
                            p->stride_a, G, p->N, p->M * p->N, round ? 1 : beta, dB, p->N,
                            p->stride_b);
        else
            kd_gemm_batched(count, KD_TRANSPOSED, p->ta, p->N, p->K, p->M, 1, G, p->N, p->M * p->N,
                            A, leading(a), p->stride_a, round ? 1 : beta, dB, p->K, p->stride_b);
    }
}

static void matmul_backward(kd_tape *tape, kd_node *node) {
    matmul_grad_a(tape, node, node->saved);
    matmul_grad_b(tape, node, node->saved);
}

kd_tensor *kd_matmul(kd_tape *tape, kd_tensor *a, kd_tensor *b, kd_trans ta, kd_trans tb) {
    KD_CONTRACT(!a->constant && !b->constant, "matmul: of a constant; linear takes one");
    product *p = kd_tape_alloc(tape, sizeof *p);
    *p = measure(a, b, ta, tb);
    const int64_t M = a->shape[a->rank - (ta == KD_PLAIN ? 2 : 1)];
    kd_tensor *c = a->rank == 3 ? kd_tape_output(tape, 3, (int64_t[]){a->shape[0], M, p->N})
                                : kd_tape_output(tape, 2, (int64_t[]){M, p->N});
    if (p->batch == 1)
        kd_gemm_tape(tape, ta, tb, p->M, p->N, p->K, 1, a->value, leading(a), b->value, leading(b),
                     b->param, 0, c->value, p->N);
    else
        kd_gemm_batched(p->batch, ta, tb, p->M, p->N, p->K, 1, a->value, leading(a), p->stride_a,
                        b->value, leading(b), p->stride_b, 0, c->value, p->N, p->M * p->N);
    kd_tape_record(tape, "matmul", matmul_backward, c, p, 2, (kd_tensor *[]){a, b});
    return c;
}

/* --- y = act(x·Wᵀ + b), y = r + (x·Wᵀ + b) --------------------------------------------------- */

/* With g = ∂y ∘ [y > 0] (or ∂y without relu), x (N,K), W (M,K), y (N,M):
 *
 *     ∂x ← ∂x + g·W        ∂W ← ∂W + gᵀ·x        ∂b ← ∂b + Σ_rows g        ∂r ← ∂r + g
 *
 * Saved: nothing but x, W and y. The gate is applied to ∂y in place: the tape gives that buffer
 * back as soon as this function returns. */
static void linear_backward(kd_tape *tape, kd_node *node) {
    kd_tensor *x = node->in[0], *w = node->in[1], *b = node->in[2];
    const kd_act *act = node->saved;
    const int64_t N = kd_rows(x), K = kd_channels(x), M = w->shape[0];
    kd_real *g = node->out->grad, beta;
    if (*act == KD_ACT_RELU) kd_relu_gate(g, node->out->value, node->out->size);
    KD_ADD_GRAD(tape, node->in[3], g[i]);
    kd_real *dx = kd_tape_grad_beta(tape, x, &beta);
    if (dx)
        kd_gemm_tape(tape, KD_PLAIN, KD_PLAIN, N, K, M, 1, g, M, w->value, K, w->param, beta, dx,
                     K);
    kd_real *dw = kd_tape_grad_beta(tape, w, &beta);
    if (dw)
        kd_gemm_tape(tape, KD_TRANSPOSED, KD_PLAIN, M, K, N, 1, g, M, x->value, K, NULL, beta, dw,
                     K);
    if (b) kd_add_column_sums(tape, b, g, N);
}

/* y ← act(y + b), or y + b + r, in one pass over the product */
static void finish_rows(kd_tensor *y, const kd_tensor *b, const kd_tensor *r, kd_act act) {
    const int64_t rows = kd_rows(y), M = kd_channels(y);
    const kd_real floor = act == KD_ACT_RELU ? 0 : -(kd_real)INFINITY;
    if (!b && !r && act == KD_ACT_NONE) return;
#pragma omp parallel for if (y->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++) {
        kd_real *restrict out = y->value + row * M;
        if (b) {
            const kd_real *restrict add = b->value;
#pragma omp simd
            for (int64_t m = 0; m < M; m++) out[m] += add[m];
        }
        if (r) {
            const kd_real *restrict add = r->value + row * M;
#pragma omp simd
            for (int64_t m = 0; m < M; m++) out[m] += add[m];
        }
#pragma omp simd
        for (int64_t m = 0; m < M; m++) out[m] = out[m] < floor ? floor : out[m];
    }
}

static kd_tensor *linear(kd_tape *tape, kd_tensor *r, kd_tensor *x, kd_tensor *weight,
                         kd_tensor *bias, kd_act act) {
    KD_FIT(weight->rank == 2 && weight->shape[1] == kd_channels(x), "linear", x, weight);
    KD_FIT(!bias || (bias->rank == 1 && bias->size == weight->shape[0]), "linear", weight, bias);
    const int64_t N = kd_rows(x), K = kd_channels(x), M = weight->shape[0];
    int64_t shape[KD_MAX_RANK];
    for (int i = 0; i < x->rank; i++) shape[i] = x->shape[i];
    shape[x->rank - 1] = M;
    kd_tensor *y = kd_tape_output(tape, x->rank, shape);
    KD_FIT(!r || kd_same_shape(r, y), "linear", r, y);
    if (tape->watch.tell) tape->watch.tell(tape->watch.context, weight, x, NULL, NULL, 1);
    if (weight->constant)
        kd_gemm_tape_constant(tape, N, M, K, x->value, K, weight->constant, y->value, M);
    else
        kd_gemm_tape(tape, KD_PLAIN, KD_TRANSPOSED, N, M, K, 1, x->value, K, weight->value, K,
                     weight->param, 0, y->value, M);
    finish_rows(y, bias, r, act);
    kd_act *saved = kd_tape_alloc(tape, sizeof *saved);
    *saved = act;
    kd_tape_record(tape, r ? "linear_onto" : "linear", linear_backward, y, saved, 4,
                   (kd_tensor *[]){x, weight, bias, r});
    return y;
}

kd_tensor *kd_linear(kd_tape *tape, kd_tensor *x, kd_tensor *weight, kd_tensor *bias, kd_act act) {
    return linear(tape, NULL, x, weight, bias, act);
}

kd_tensor *kd_linear_onto(kd_tape *tape, kd_tensor *r, kd_tensor *x, kd_tensor *weight,
                          kd_tensor *bias) {
    return linear(tape, r, x, weight, bias, KD_ACT_NONE);
}
