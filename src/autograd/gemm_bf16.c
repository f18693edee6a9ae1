/* Products at the tape's precision. With bfloat16: by oneDNN where the processor has AMX, else by
 * our own loops, which round as they pack; in double precision by rounding and a product of what
 * came out. */
#include "autograd/gemm_bf16.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/gemm_constant.h"
#include "autograd/gemm_panels.h"
#include "autograd/op_common.h"
#include "autograd/vec_pair.h"
#include "base/isa.h"

float kd_round_bfloat16(float x) {
    const uint32_t bits = kd_bfloat16_bits(x);
    memcpy(&x, &bits, sizeof x);
    return x;
}

static bool multiplies_pairs(void) {
    return KD_HAS_PAIRS && kd_isa_may_use(KD_ISA_AVX512BF16);
}

bool kd_bfloat16_is_fast(void) {
    return kd_onednn_is_live() || (multiplies_pairs() && kd_isa_has_fast_pairs());
}

const char *kd_bfloat16_kernels(void) {
    if (kd_onednn_is_live()) return "oneDNN, amx";
    return multiplies_pairs() ? "our own, avx512bf16" : "our own, in float32";
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

/* By our own loops or OpenBLAS. */
static void own_product(kd_tape *tape, const kd_matrix_product *p) {
    if (kd_panels_pay(p))
        kd_panels_run(tape, p);
    else
        kd_gemm(p);
}

/* What is stored of a factor whose result has `rows` and `columns`. */
static operand stored(kd_factor x, int64_t rows, int64_t columns) {
    const bool plain = x.trans == KD_PLAIN;
    operand o = {x.at, plain ? rows : columns, plain ? columns : rows, x.ld, NULL};
    if (is_whole(x.param, &o)) o.param = x.param;
    return o;
}

#ifdef KD_DOUBLE
static void rounded_product(kd_tape *tape, const kd_matrix_product *p) {
    kd_matrix_product rounded = *p;
    const operand left = stored(p->A, p->M, p->K), right = stored(p->B, p->K, p->N);
    const void *a = pack(tape, &left, false), *b = pack(tape, &right, false);
    rounded.A = (kd_factor){.at = a, .ld = left.columns, .trans = p->A.trans};
    rounded.B = (kd_factor){.at = b, .ld = right.columns, .trans = p->B.trans};
    rounded.precision = KD_PRECISION_FLOAT32;
    kd_gemm(&rounded);
    give_packed(tape, &right, b);
    give_packed(tape, &left, a);
}
#else
/* Whether the processor's own product did it. */
static bool fast_product(kd_tape *tape, const kd_matrix_product *p) {
    if (!kd_onednn_is_live() || p->alpha != 1 || (p->beta != 0 && p->beta != 1)) return false;
    const double began = kd_gemm_count_begin();
    const operand left = stored(p->A, p->M, p->K), right = stored(p->B, p->K, p->N);
    const void *a = pack(tape, &left, true), *b = pack(tape, &right, true);
    const bool done = kd_onednn_bf16(p, a, b);
    give_packed(tape, &right, b);
    give_packed(tape, &left, a);
    kd_gemm_count_end(began, 2.0 * (double)p->M * (double)p->N * (double)p->K);
    return done;
}

static void rounded_product(kd_tape *tape, const kd_matrix_product *p) {
    if (!fast_product(tape, p)) own_product(tape, p);
}
#endif

void kd_gemm_tape(kd_tape *tape, const kd_matrix_product *product) {
    kd_matrix_product p = *product;
    p.precision = tape->precision;
    KD_CONTRACT(!p.B.constant || p.B.trans == KD_TRANSPOSED, "a constant that is not transposed");
    if (p.B.constant)
        kd_gemm_tape_constant(tape, &p);
    else if (p.precision == KD_PRECISION_BFLOAT16)
        rounded_product(tape, &p);
    else
        own_product(tape, &p);
}
