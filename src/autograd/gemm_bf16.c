/* Products with bfloat16 inputs (float32 accumulation). */
#include <string.h>

#include "autograd/gemm.h"
#include "base/error.h"

float kd_round_bfloat16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return x; /* NaN stays NaN */
    bits += 0x7FFFu + ((bits >> 16) & 1u);
    bits &= 0xFFFF0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

bool kd_bfloat16_is_fast(void) {
    return false;
}

int kd_precision_parse(kd_precision *out, const char *text) {
    if (strcmp(text, "float32") == 0) *out = KD_PRECISION_FLOAT32;
    else if (strcmp(text, "bfloat16") == 0) *out = KD_PRECISION_BFLOAT16;
    else if (strcmp(text, "auto") == 0)
        *out = kd_bfloat16_is_fast() ? KD_PRECISION_BFLOAT16 : KD_PRECISION_FLOAT32;
    else
        return kd_fail(KD_ECONFIG, "precision \"%s\": must be float32, bfloat16 or auto", text);
    return KD_OK;
}

void kd_gemm_tape(kd_tape *tape, kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K,
                  kd_real alpha, const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb,
                  kd_param *b_param, kd_real beta, kd_real *C, int64_t ldc) {
    (void)tape;
    (void)b_param;
    kd_gemm(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}
