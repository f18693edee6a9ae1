#include "autograd/gemm_few.h"

#include "autograd/vec_compact.h"
#include "base/error.h"

/* Let a·b + c be one instruction; -std=c11 would forbid it. */
#pragma GCC optimize("fp-contract=fast")

typedef struct {
    int64_t N, K, lda, ldb, ldc;
    kd_real alpha, beta;
    const kd_real *A, *B;
    const kd_compact *W; /* in place of B */
    kd_real *C;
} product;

static product describe(const kd_matrix_product *p) {
    return (product){.N = p->N,
                     .K = p->K,
                     .lda = p->A.ld,
                     .ldb = p->B.ld,
                     .ldc = p->ldc,
                     .alpha = p->alpha,
                     .beta = p->beta,
                     .A = p->A.at,
                     .B = p->B.at,
                     .C = p->C};
}

/* How B (N,K) is stored. */
typedef enum { REALS, HALVES, BRAINS, BLOCKS } storage;

static inline void put(const product *p, int64_t m, int64_t n, kd_real sum) {
    kd_real *c = p->C + m * p->ldc + n;
    *c = p->beta == 0 ? p->alpha * sum : p->alpha * sum + p->beta * *c;
}

/* The lanes' sum as a tree: rows as short as a head's are half adding up. */
KD_INLINE kd_real sum_of(kd_vec x) {
    enum { PARTS = KD_VEC_BYTES / 16, LANES = 16 / sizeof(kd_real) };
    typedef kd_real quarter __attribute__((vector_size(16)));
    quarter part[PARTS];
    memcpy(part, &x, sizeof part);
    for (int n = PARTS / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) part[i] += part[i + n];
    kd_real sum = 0;
    for (int i = 0; i < LANES / 2; i++) sum += part[0][i] + part[0][i + LANES / 2];
    return sum;
}

/* KD_VEC numbers of row n of B from column k on. */
KD_INLINE kd_vec load_b(const product *p, const storage kind, int64_t n, int64_t k) {
#ifdef KD_VEC_COMPACT
    if (kind == HALVES) return kd_vec_load_halves(p->W->half + n * p->K + k);
    if (kind == BRAINS) return kd_vec_load_brains(p->W->brain + n * p->K + k);
    if (kind == BLOCKS) {
        const float scale = p->W->scale[(n * p->K + k) / KD_COMPACT_BLOCK];
        return kd_vec_all(scale) * kd_vec_load_bytes(p->W->step + n * p->K + k);
    }
#endif
    (void)kind;
    return kd_vec_load_part(p->B + n * p->ldb + k, p->K - k);
}

/* B (N,K): rows of A against `wide` rows of B, number by number along both. */
KD_INLINE void dot_block(const product *p, const storage kind, const int M, const int wide,
                         int64_t n) {
    kd_vec sum[KD_FEW_ROWS * 4];
    for (int i = 0; i < M * wide; i++) sum[i] = (kd_vec){0};
    for (int64_t k = 0; k < p->K; k += KD_VEC) {
        kd_vec b[4];
        const int64_t left = p->K - k;
        for (int j = 0; j < wide; j++) b[j] = load_b(p, kind, n + j, k);
        for (int m = 0; m < M; m++) {
            const kd_vec a = kd_vec_load_part(p->A + m * p->lda + k, left);
            for (int j = 0; j < wide; j++) sum[m * wide + j] += a * b[j];
        }
    }
    for (int m = 0; m < M; m++)
        for (int j = 0; j < wide; j++) put(p, m, n + j, sum_of(sum[m * wide + j]));
}

/* Columns begin … end−1 of C. */
KD_INLINE void dots(const product *p, const storage kind, int64_t begin, int64_t end, const int M) {
    const int wide = M == 1 ? 4 : M <= 4 ? 2 : 1;
    int64_t n = begin;
    for (; n + wide <= end; n += wide) dot_block(p, kind, M, wide, n);
    for (; n < end; n++) dot_block(p, kind, M, 1, n);
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

#define FOR_EACH_M(M, run, ...)                                                                    \
    switch (M) {                                                                                   \
    case 1:                                                                                        \
        run(__VA_ARGS__, 1);                                                                       \
        break;                                                                                     \
    case 2:                                                                                        \
        run(__VA_ARGS__, 2);                                                                       \
        break;                                                                                     \
    case 3:                                                                                        \
        run(__VA_ARGS__, 3);                                                                       \
        break;                                                                                     \
    case 4:                                                                                        \
        run(__VA_ARGS__, 4);                                                                       \
        break;                                                                                     \
    case 5:                                                                                        \
        run(__VA_ARGS__, 5);                                                                       \
        break;                                                                                     \
    default:                                                                                       \
        run(__VA_ARGS__, 6);                                                                       \
        break;                                                                                     \
    }

void kd_gemm_few(const kd_matrix_product *p) {
    const product few = describe(p);
    KD_CONTRACT(p->M >= 1 && p->M <= KD_FEW_ROWS, "%lld rows", (long long)p->M);
    if (p->B.trans == KD_TRANSPOSED)
        FOR_EACH_M(p->M, dots, &few, REALS, 0, p->N)
    else
        FOR_EACH_M(p->M, columns, &few)
}

/* Columns go to threads in pieces whose number depends on N alone; each column is one sum. */
void kd_gemm_few_compact(const kd_matrix_product *p, const kd_compact *W) {
    enum { PIECES = 16, ALIGN = 4 };
    product few = describe(p);
    few.W = W;
    const int64_t step = (p->N / PIECES / ALIGN + 1) * ALIGN;
    KD_CONTRACT(p->M >= 1 && p->M <= KD_FEW_ROWS && p->K % KD_COMPACT_BLOCK == 0,
                "%lld rows of %lld", (long long)p->M, (long long)p->K);
#pragma omp parallel for schedule(dynamic, 1) if (p->N * p->K >= 1 << 16)
    for (int64_t begin = 0; begin < p->N; begin += step) {
        const int64_t end = begin + step < p->N ? begin + step : p->N;
        if (W->half)
            FOR_EACH_M(p->M, dots, &few, HALVES, begin, end)
        else if (W->brain)
            FOR_EACH_M(p->M, dots, &few, BRAINS, begin, end)
        else
            FOR_EACH_M(p->M, dots, &few, BLOCKS, begin, end)
    }
}
