/* Products with bfloat16 inputs (float32 accumulation): by oneDNN where the processor has them,
 * else by rounding both operands and a float32 product, which gives the same numbers up to the
 * order of the sums. */
#include "autograd/gemm_bf16.h"

#include <string.h>

#include "autograd/op_common.h"

/* The 16 upper bits after rounding to nearest, ties to even; a NaN stays one (and quiet). Without
 * branches, so that packing vectorises. */
static inline uint32_t rounded_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t nan = 0u - (uint32_t)((bits & 0x7FFFFFFFu) > 0x7F800000u);
    const uint32_t nearest = bits + 0x7FFFu + ((bits >> 16) & 1u);
    return ((nearest & ~nan) | ((bits | 0x00400000u) & nan)) & 0xFFFF0000u;
}

float kd_round_bfloat16(float x) {
    const uint32_t bits = rounded_bits(x);
    memcpy(&x, &bits, sizeof x);
    return x;
}

bool kd_bfloat16_is_fast(void) {
    return kd_onednn_is_live();
}

int kd_precision_parse(kd_precision *out, const char *text) {
    if (strcmp(text, "float32") == 0)
        *out = KD_PRECISION_FLOAT32;
    else if (strcmp(text, "bfloat16") == 0)
        *out = KD_PRECISION_BFLOAT16;
    else if (strcmp(text, "auto") == 0)
        *out = kd_bfloat16_is_fast() ? KD_PRECISION_BFLOAT16 : KD_PRECISION_FLOAT32;
    else
        return kd_fail(KD_ECONFIG, "precision \"%s\": must be float32, bfloat16 or auto", text);
    return KD_OK;
}

/* --- operands -------------------------------------------------------------------------------- */

/* A stored matrix, dense, rounded. */
static kd_real *pack_rounded(kd_tape *tape, const kd_real *x, int64_t rows, int64_t columns,
                             int64_t ld) {
    kd_real *packed = kd_tape_take(tape, (size_t)(rows * columns) * sizeof *packed);
#pragma omp parallel for if (rows * columns >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++) {
        const kd_real *restrict in = x + row * ld;
        kd_real *restrict out = packed + row * columns;
        for (int64_t c = 0; c < columns; c++) out[c] = (kd_real)kd_round_bfloat16((float)in[c]);
    }
    return packed;
}

/* --- the product ----------------------------------------------------------------------------- */

/* How A and B are stored. */
typedef struct {
    int64_t a_rows, a_columns, b_rows, b_columns;
} stored;

static stored stored_sizes(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K) {
    const bool a = ta == KD_PLAIN, b = tb == KD_PLAIN;
    return (stored){a ? M : K, a ? K : M, b ? K : N, b ? N : K};
}

#ifndef KD_DOUBLE
/* A stored matrix, dense, as bfloat16 bits. */
static uint16_t *pack_bits(kd_tape *tape, const kd_real *x, int64_t rows, int64_t columns,
                           int64_t ld) {
    uint16_t *packed = kd_tape_take(tape, (size_t)(rows * columns) * sizeof *packed);
#pragma omp parallel for if (rows * columns >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++) {
        const kd_real *restrict in = x + row * ld;
        uint16_t *restrict out = packed + row * columns;
        for (int64_t c = 0; c < columns; c++) out[c] = (uint16_t)(rounded_bits((float)in[c]) >> 16);
    }
    return packed;
}

/* Whether the processor's own product did it. */
static bool fast_product(kd_tape *tape, kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K,
                         const float *A, int64_t lda, const float *B, int64_t ldb, float beta,
                         float *C, int64_t ldc) {
    const stored s = stored_sizes(ta, tb, M, N, K);
    uint16_t *a = pack_bits(tape, A, s.a_rows, s.a_columns, lda);
    uint16_t *b = pack_bits(tape, B, s.b_rows, s.b_columns, ldb);
    const bool done = kd_onednn_bf16(&(kd_bf16_product){.ta = ta,
                                                        .tb = tb,
                                                        .M = M,
                                                        .N = N,
                                                        .K = K,
                                                        .A = a,
                                                        .lda = s.a_columns,
                                                        .B = b,
                                                        .ldb = s.b_columns,
                                                        .adding = beta == 1,
                                                        .C = C,
                                                        .ldc = ldc});
    kd_tape_give(tape, b);
    kd_tape_give(tape, a);
    return done;
}
#endif

void kd_gemm_tape(kd_tape *tape, kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K,
                  kd_real alpha, const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb,
                  kd_param *b_param, kd_real beta, kd_real *C, int64_t ldc) {
    (void)b_param;
    if (tape->precision == KD_PRECISION_FLOAT32) {
        kd_gemm(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
        return;
    }
#ifndef KD_DOUBLE
    const bool simple = alpha == 1 && (beta == 0 || beta == 1);
    if (simple && kd_onednn_is_live() &&
        fast_product(tape, ta, tb, M, N, K, A, lda, B, ldb, beta, C, ldc))
        return;
#endif
    const stored s = stored_sizes(ta, tb, M, N, K);
    kd_real *a = pack_rounded(tape, A, s.a_rows, s.a_columns, lda);
    kd_real *b = pack_rounded(tape, B, s.b_rows, s.b_columns, ldb);
    kd_gemm(ta, tb, M, N, K, alpha, a, s.a_columns, b, s.b_columns, beta, C, ldc);
    kd_tape_give(tape, b);
    kd_tape_give(tape, a);
}
