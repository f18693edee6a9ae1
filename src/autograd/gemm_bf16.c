/* Products at the tape's precision. With bfloat16: by oneDNN where the processor has AMX, else by
 * our own loops, which round as they pack; in double precision by rounding and a product of what
 * came out. */
#include "autograd/gemm_bf16.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/gemm_openblas.h"
#include "autograd/gemm_panels.h"
#include "autograd/op_common.h"
#include "autograd/vec_pair.h"
#include "base/isa.h"

float kd_round_bfloat16(float x) {
    const uint32_t bits = kd_bfloat16_bits(x);
    memcpy(&x, &bits, sizeof x);
    return x;
}

bool kd_bfloat16_is_fast(void) {
    return kd_bfloat16_kernels() != NULL;
}

const char *kd_bfloat16_kernels(void) {
    if (kd_onednn_is_live()) return "oneDNN, amx";
    if (KD_HAS_PAIRS && kd_isa_may_use(KD_ISA_AVX512BF16)) return "our own, avx512bf16";
    return NULL;
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

/* A stored matrix of an operand. */
typedef struct {
    const kd_real *value;
    int64_t rows, columns, ld;
    kd_param *param; /* whose value it is, or NULL */
} operand;

/* Rounded to bfloat16: the bits for oneDNN, else the rounded numbers. Dense. */
static void round_into(const operand *x, void *out, bool as_bits) {
#pragma omp parallel for if (x->rows * x->columns >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < x->rows; row++) {
        const kd_real *restrict in = x->value + row * x->ld;
        uint16_t *restrict bits = (uint16_t *)out + row * x->columns;
        kd_real *restrict real = (kd_real *)out + row * x->columns;
        if (as_bits)
            for (int64_t c = 0; c < x->columns; c++)
                bits[c] = (uint16_t)(kd_bfloat16_bits((float)in[c]) >> 16);
        else
            for (int64_t c = 0; c < x->columns; c++)
                real[c] = (kd_real)kd_round_bfloat16((float)in[c]);
    }
}

static size_t packed_bytes(const operand *x, bool as_bits) {
    return (size_t)(x->rows * x->columns) * (as_bits ? sizeof(uint16_t) : sizeof(kd_real));
}

/* The packed operand. A parameter's is kept until its values change; any other is the tape's, to be
 * given back with give_packed. */
static const void *pack(kd_tape *tape, const operand *x, bool as_bits) {
    kd_param *p = x->param;
    if (!p) {
        void *packed = kd_tape_take(tape, packed_bytes(x, as_bits));
        round_into(x, packed, as_bits);
        return packed;
    }
    if (!p->packed) {
        p->packed = malloc(packed_bytes(x, as_bits));
        p->packed_version = -1;
        if (!p->packed)
            return pack(tape, &(operand){x->value, x->rows, x->columns, x->ld, NULL}, as_bits);
    }
    if (p->packed_version != *p->version) round_into(x, p->packed, as_bits);
    p->packed_version = *p->version;
    return p->packed;
}

static void give_packed(kd_tape *tape, const operand *x, const void *packed) {
    if (!x->param || packed != x->param->packed) kd_tape_give(tape, (void *)(uintptr_t)packed);
}

/* Whether `param` is what the matrix is: the whole value, dense. */
static bool is_whole(const kd_param *param, const operand *x) {
    return param && x->value == param->tensor.value && x->ld == x->columns &&
           x->rows * x->columns == param->tensor.size;
}

/* --- the product ----------------------------------------------------------------------------- */

#ifndef KD_DOUBLE
/* Whether the processor's own product did it: C (M,N) (+)= op(A)·op(B). */
static bool fast_product(kd_tape *tape, kd_bf16_product *p, const operand *left,
                         const operand *right) {
    const double began = kd_gemm_count_begin();
    p->A = pack(tape, left, true);
    p->B = pack(tape, right, true);
    const bool done = kd_onednn_bf16(p);
    give_packed(tape, right, p->B);
    give_packed(tape, left, p->A);
    kd_gemm_count_end(began, 2.0 * (double)p->M * (double)p->N * (double)p->K);
    return done;
}
#endif

/* The product of kd_gemm_tape by our own loops or OpenBLAS. */
static void own_product(kd_tape *tape, const kd_panels_product *p, kd_real alpha) {
    if (alpha == 1 && (p->beta == 0 || p->beta == 1) && kd_panels_pay(p))
        kd_panels_run(tape, p);
    else
        kd_gemm_at(tape->precision, p->ta, p->tb, p->M, p->N, p->K, alpha, p->A, p->lda, p->B,
                   p->ldb, p->beta, p->C, p->ldc);
}

void kd_gemm_tape(kd_tape *tape, kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K,
                  kd_real alpha, const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb,
                  kd_param *b_param, kd_real beta, kd_real *C, int64_t ldc) {
    const kd_panels_product own = {ta, tb, M, N, K, A, B, lda, ldb, beta, C, ldc};
    if (tape->precision == KD_PRECISION_FLOAT32) {
        own_product(tape, &own, alpha);
        return;
    }
    operand left = {A, ta == KD_PLAIN ? M : K, ta == KD_PLAIN ? K : M, lda, NULL};
    operand right = {B, tb == KD_PLAIN ? K : N, tb == KD_PLAIN ? N : K, ldb, NULL};
    if (is_whole(b_param, &right)) right.param = b_param;
#ifndef KD_DOUBLE
    kd_bf16_product p = {.ta = ta,
                         .tb = tb,
                         .M = M,
                         .N = N,
                         .K = K,
                         .lda = left.columns,
                         .ldb = right.columns,
                         .adding = beta == 1,
                         .C = C,
                         .ldc = ldc};
    const bool simple = alpha == 1 && (beta == 0 || beta == 1);
    if (kd_onednn_is_live() && simple && fast_product(tape, &p, &left, &right)) return;
    own_product(tape, &own, alpha);
#else
    const void *a = pack(tape, &left, false), *b = pack(tape, &right, false);
    kd_gemm(ta, tb, M, N, K, alpha, a, left.columns, b, right.columns, beta, C, ldc);
    give_packed(tape, &right, b);
    give_packed(tape, &left, a);
#endif
}
