#include "autograd/op_common.h"
#include "autograd/ops.h"

/* --- C = op(A)·op(B) ------------------------------------------------------------------------- */

/* What is saved: the product that made C, of a batch the first one. stride_b 0: B is shared. */
typedef struct {
    kd_matrix_product product;
    kd_product_batch batch;
} matmul;

/* A plain A in front of a shared B is one tall matrix. */
static matmul measure(const kd_tensor *a, const kd_tensor *b, kd_trans ta, kd_trans tb) {
    const int64_t *sa = a->shape + a->rank - 2, *sb = b->shape + b->rank - 2;
    KD_FIT((a->rank == 2 || a->rank == 3) && (b->rank == 2 || b->rank == 3), "matmul", a, b);
    KD_FIT(b->rank == 2 || (a->rank == 3 && a->shape[0] == b->shape[0]), "matmul", a, b);
    int64_t count = a->rank == 3 ? a->shape[0] : 1, M = ta == KD_PLAIN ? sa[0] : sa[1];
    const int64_t K = ta == KD_PLAIN ? sa[1] : sa[0], N = tb == KD_PLAIN ? sb[1] : sb[0];
    KD_FIT(K == (tb == KD_PLAIN ? sb[0] : sb[1]), "matmul", a, b);
    if (b->rank == 2 && ta == KD_PLAIN) {
        M *= count;
        count = 1;
    }
    return (matmul){
        kd_product_of(M, N, K, kd_factor_of(a, ta), kd_factor_of(b, tb), NULL, N),
        {count, M * K, b->rank == 3 ? K * N : 0, M * N},
    };
}

static void multiply(kd_tape *tape, const kd_matrix_product *p, kd_product_batch batch) {
    if (batch.count == 1)
        kd_gemm_tape(tape, p);
    else
        kd_gemm_batched(p, batch);
}

/* dA ← dA + G·op(B)ᵀ, or its transpose op(B)·Gᵀ when A was transposed. */
static void matmul_grad_a(kd_tape *tape, kd_node *node, const matmul *m) {
    const int64_t M = m->product.M, N = m->product.N, K = m->product.K;
    const kd_product_batch s = m->batch;
    const kd_factor B = m->product.B, G = kd_plain(node->out->grad, N);
    kd_real beta;
    kd_real *dA = kd_tape_grad_beta(tape, node->in[0], &beta);
    if (!dA) return;
    if (m->product.A.trans == KD_TRANSPOSED) {
        kd_matrix_product p = kd_product_of(K, M, N, B, kd_flipped(G), dA, M);
        p.beta = beta;
        kd_gemm_batched(&p, (kd_product_batch){s.count, s.stride_b, s.stride_c, s.stride_a});
    } else {
        kd_matrix_product p = kd_product_of(M, K, N, G, kd_flipped(B), dA, K);
        p.beta = beta;
        multiply(tape, &p, (kd_product_batch){s.count, s.stride_c, s.stride_b, s.stride_a});
    }
}

/* dB ← dB + op(A)ᵀ·G, or its transpose Gᵀ·op(A) when B was transposed; a shared B collects the
 * batch in order. */
static void matmul_grad_b(kd_tape *tape, kd_node *node, const matmul *m) {
    const int64_t M = m->product.M, N = m->product.N, K = m->product.K;
    const kd_product_batch s = m->batch;
    const bool shared = s.stride_b == 0, plain = m->product.B.trans == KD_PLAIN;
    const int64_t rounds = shared ? s.count : 1, count = shared ? 1 : s.count;
    kd_factor A = m->product.A, G = kd_plain(node->out->grad, N);
    kd_real beta;
    kd_real *dB = kd_tape_grad_beta(tape, node->in[1], &beta);
    if (!dB) return;
    for (int64_t round = 0; round < rounds; round++) {
        kd_matrix_product p = plain ? kd_product_of(K, N, M, kd_flipped(A), G, dB, N)
                                    : kd_product_of(N, K, M, kd_flipped(G), A, dB, K);
        p.beta = round ? 1 : beta;
        kd_gemm_batched(&p, plain ? (kd_product_batch){count, s.stride_a, s.stride_c, s.stride_b}
                                  : (kd_product_batch){count, s.stride_c, s.stride_a, s.stride_b});
        A.at += s.stride_a;
        G.at += s.stride_c;
    }
}

static void matmul_backward(kd_tape *tape, kd_node *node) {
    matmul_grad_a(tape, node, node->saved);
    matmul_grad_b(tape, node, node->saved);
}

kd_tensor *kd_matmul(kd_tape *tape, kd_tensor *a, kd_tensor *b, kd_trans ta, kd_trans tb) {
    KD_CONTRACT(!a->constant && !b->constant, "matmul: of a constant; linear takes one");
    matmul *m = kd_tape_alloc(tape, sizeof *m);
    *m = measure(a, b, ta, tb);
    const int64_t M = a->shape[a->rank - (ta == KD_PLAIN ? 2 : 1)], N = m->product.N;
    kd_tensor *c = a->rank == 3 ? kd_tape_output(tape, 3, (int64_t[]){a->shape[0], M, N})
                                : kd_tape_output(tape, 2, (int64_t[]){M, N});
    m->product.C = c->value;
    multiply(tape, &m->product, m->batch);
    kd_tape_record(tape, "matmul", matmul_backward, c, m, 2, (kd_tensor *[]){a, b});
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
    kd_matrix_product p = kd_product_of(N, K, M, kd_plain(g, M), kd_factor_of(w, KD_PLAIN), dx, K);
    p.beta = beta;
    if (dx) kd_gemm_tape(tape, &p);
    kd_real *dw = kd_tape_grad_beta(tape, w, &beta);
    p = kd_product_of(M, K, N, kd_transposed(g, M), kd_plain(x->value, K), dw, K);
    p.beta = beta;
    if (dw) kd_gemm_tape(tape, &p);
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
    const kd_matrix_product p = kd_product_of(N, M, K, kd_plain(x->value, K),
                                              kd_factor_of(weight, KD_TRANSPOSED), y->value, M);
    kd_gemm_tape(tape, &p);
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
