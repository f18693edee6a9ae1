#include "autograd/gemm_few.h"

#include "autograd/vec.h"
#include "base/error.h"

/* Let a·b + c be one instruction; -std=c11 would forbid it. */
#pragma GCC optimize("fp-contract=fast")

typedef struct {
    int64_t N, K, lda, ldb, ldc;
    kd_real alpha, beta;
    const kd_real *A, *B;
    kd_real *C;
} product;

static inline void put(const product *p, int64_t m, int64_t n, kd_real sum) {
    kd_real *c = p->C + m * p->ldc + n;
    *c = p->beta == 0 ? p->alpha * sum : p->alpha * sum + p->beta * *c;
}

static inline kd_real sum_of(kd_vec x) {
    kd_real sum = 0;
    for (int i = 0; i < KD_VEC; i++) sum += x[i];
    return sum;
}

/* B (N,K): rows of A against `wide` rows of B, number by number along both. */
KD_INLINE void dot_block(const product *p, const int M, const int wide, int64_t n) {
    kd_vec sum[KD_FEW_ROWS * 4];
    for (int i = 0; i < M * wide; i++) sum[i] = (kd_vec){0};
    for (int64_t k = 0; k < p->K; k += KD_VEC) {
        kd_vec b[4];
        const int64_t left = p->K - k;
        for (int j = 0; j < wide; j++) b[j] = kd_vec_load_part(p->B + (n + j) * p->ldb + k, left);
        for (int m = 0; m < M; m++) {
            const kd_vec a = kd_vec_load_part(p->A + m * p->lda + k, left);
            for (int j = 0; j < wide; j++) sum[m * wide + j] += a * b[j];
        }
    }
    for (int m = 0; m < M; m++)
        for (int j = 0; j < wide; j++) put(p, m, n + j, sum_of(sum[m * wide + j]));
}

KD_INLINE void dots(const product *p, const int M) {
    const int wide = M == 1 ? 4 : M <= 4 ? 2 : 1;
    int64_t n = 0;
    for (; n + wide <= p->N; n += wide) dot_block(p, M, wide, n);
    for (; n < p->N; n++) dot_block(p, M, 1, n);
}

/* B (K,N): `wide` registers of columns, gathered over the rows of B. */
KD_INLINE void column_block(const product *p, const int M, const int wide, int64_t n) {
    kd_vec sum[KD_FEW_ROWS * 2];
    for (int i = 0; i < M * wide; i++) sum[i] = (kd_vec){0};
    for (int64_t k = 0; k < p->K; k++) {
        kd_vec b[8];
        for (int j = 0; j < wide; j++) {
            const int64_t at = n + j * KD_VEC;
            b[j] = kd_vec_load_part(p->B + k * p->ldb + at, p->N - at);
        }
        for (int m = 0; m < M; m++) {
            const kd_vec a = kd_vec_all(p->A[m * p->lda + k]);
            for (int j = 0; j < wide; j++) sum[m * wide + j] += a * b[j];
        }
    }
    for (int m = 0; m < M; m++)
        for (int j = 0; j < wide; j++)
            for (int i = 0; i < KD_VEC && n + j * KD_VEC + i < p->N; i++)
                put(p, m, n + j * KD_VEC + i, sum[m * wide + j][i]);
}

KD_INLINE void columns(const product *p, const int M) {
    const int wide = M == 1 ? 8 : M == 2 ? 4 : 2;
    int64_t n = 0;
    for (; n + wide * KD_VEC <= p->N; n += wide * KD_VEC) column_block(p, M, wide, n);
    for (; n < p->N; n += KD_VEC) column_block(p, M, 1, n);
}

#define FOR_EACH_M(run)                                                                            \
    switch (M) {                                                                                   \
    case 1:                                                                                        \
        run(&p, 1);                                                                                \
        break;                                                                                     \
    case 2:                                                                                        \
        run(&p, 2);                                                                                \
        break;                                                                                     \
    case 3:                                                                                        \
        run(&p, 3);                                                                                \
        break;                                                                                     \
    case 4:                                                                                        \
        run(&p, 4);                                                                                \
        break;                                                                                     \
    case 5:                                                                                        \
        run(&p, 5);                                                                                \
        break;                                                                                     \
    default:                                                                                       \
        run(&p, 6);                                                                                \
        break;                                                                                     \
    }

void kd_gemm_few(kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha, const kd_real *A,
                 int64_t lda, const kd_real *B, int64_t ldb, kd_real beta, kd_real *C,
                 int64_t ldc) {
    const product p = {N, K, lda, ldb, ldc, alpha, beta, A, B, C};
    KD_CONTRACT(M >= 1 && M <= KD_FEW_ROWS, "%lld rows", (long long)M);
    if (tb == KD_TRANSPOSED)
        FOR_EACH_M(dots)
    else
        FOR_EACH_M(columns)
}
