/* Matrix products. The only place that includes OpenBLAS or oneDNN.
 *
 * Same bits at any thread count: the work is cut into tiles whose sizes depend on M, N and K only,
 * and each tile is one thread's.
 */
#ifndef KD_AUTOGRAD_GEMM_H
#define KD_AUTOGRAD_GEMM_H

#include "autograd/param.h"
#include "autograd/tape.h"

typedef enum { KD_PLAIN, KD_TRANSPOSED } kd_trans;

/* One side of a product: a matrix in memory, row-major, and whether its transpose is meant. */
typedef struct {
    const kd_real *at;
    int64_t ld; /* from one row to the next */
    kd_trans trans;
    kd_param *param;             /* that `at` belongs to, or NULL */
    const kd_constant *constant; /* in place of `at`; NULL otherwise */
} kd_factor;

static inline kd_factor kd_plain(const kd_real *at, int64_t ld) {
    return (kd_factor){.at = at, .ld = ld};
}
static inline kd_factor kd_transposed(const kd_real *at, int64_t ld) {
    return (kd_factor){.at = at, .ld = ld, .trans = KD_TRANSPOSED};
}
/* The matrix of a tensor's last axis; its parameter and constant come along. */
static inline kd_factor kd_factor_of(const kd_tensor *x, kd_trans trans) {
    return (kd_factor){x->value, kd_channels(x), trans, x->param, x->constant};
}
static inline kd_factor kd_flipped(kd_factor x) {
    x.trans = x.trans == KD_PLAIN ? KD_TRANSPOSED : KD_PLAIN;
    return x;
}

/* C (M,N) = alpha · A (M,K) · B (K,N) + beta · C        beta = 0: C is only written
 *
 * At bfloat16, A and B are rounded (vec_pair.h) and summed in float32; in double precision they are
 * not rounded. */
typedef struct {
    int64_t M, N, K;
    kd_factor A, B;
    kd_real alpha, beta;
    kd_real *C;
    int64_t ldc;
    kd_precision precision;
} kd_matrix_product;

/* With alpha 1, beta 0, in float32. */
static inline kd_matrix_product kd_product_of(int64_t M, int64_t N, int64_t K, kd_factor A,
                                              kd_factor B, kd_real *C, int64_t ldc) {
    return (kd_matrix_product){
        .M = M, .N = N, .K = K, .A = A, .B = B, .alpha = 1, .C = C, .ldc = ldc};
}

/* Threaded; call from outside parallel regions. */
void kd_gemm(const kd_matrix_product *p);

/* One product on the calling thread; safe inside OpenMP regions. For ops that tile themselves. */
void kd_gemm_serial(const kd_matrix_product *p);

/* `count` products of one shape, of which `p` is the first; the strides are between successive
 * matrices, 0 to reuse one (never C). */
typedef struct {
    int64_t count, stride_a, stride_b, stride_c;
} kd_product_batch;
void kd_gemm_batched(const kd_matrix_product *p, kd_product_batch batch);

/* The product at the tape's precision, whatever p->precision says. With bfloat16: by oneDNN where
 * the processor has AMX (a lower DISTILL_ISA in the environment leaves it out), else by our own
 * loops, in AVX512-BF16 or in float32. These give the same bits on every processor but for
 * subnormal numbers (vec_pair.h); oneDNN sums in another order. Where a factor is the whole value
 * of its parameter, oneDNN's rounded copy of it is made once per version of the parameters (once
 * per step), not once per product. B may be a constant (transposed, alpha 1, beta 0): the same bits
 * as with all of B in memory, of which only a part is at a time where B is large. */
void kd_gemm_tape(kd_tape *tape, const kd_matrix_product *p);

/* kd_gemm where B may be a constant as above; the tape lends memory. */
void kd_gemm_constant(kd_tape *tape, const kd_matrix_product *p);

/* "float32", "bfloat16" or "auto" (bfloat16 where it is fast, else float32) → *out. A request for
 * bfloat16 on a processor without it is granted through rounding and float32 products. */
int kd_precision_parse(kd_precision *out, const char *text);
bool kd_bfloat16_is_fast(void);
/* Whose kernels multiply it: "oneDNN, amx", "our own, avx512bf16" or "our own, in float32". */
const char *kd_bfloat16_kernels(void);

/* Whose kernels multiply float32 (double), for people: "OpenBLAS Haswell, and our own (avx2) …". */
void kd_gemm_describe(char *out, size_t capacity);

/* Nearest bfloat16, ties to even, as a float; infinities stay, a NaN comes out quiet. */
float kd_round_bfloat16(float x);

/* Seconds and operations spent in matrix products (convolutions included) since counting was
 * enabled, for the bench. Off by default. */
typedef struct {
    double seconds, flop;
} kd_gemm_counters;
kd_gemm_counters kd_gemm_count(void);
void kd_gemm_count_enable(bool on);
/* Around a product, from outside parallel regions: the clock, and the sum. */
double kd_gemm_count_begin(void);
void kd_gemm_count_end(double began, double flop);

#endif
