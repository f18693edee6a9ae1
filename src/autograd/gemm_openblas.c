/* OpenBLAS chooses its kernels when it is loaded, by a list of the processors it knows; on one that
 * is younger than itself it takes its oldest, for SSE3, without a word. And outside an active
 * region of OpenMP it asks how many threads there are and splits a product among them, so that
 * their number would change bits. Neither is left to it here. */
#include "autograd/gemm_openblas.h"

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/isa.h"

static pthread_once_t decided = PTHREAD_ONCE_INIT;
static bool used;

static void multiply(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha,
                     const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb, kd_real beta,
                     kd_real *C, int64_t ldc) {
    enum CBLAS_TRANSPOSE a = ta == KD_PLAIN ? CblasNoTrans : CblasTrans;
    enum CBLAS_TRANSPOSE b = tb == KD_PLAIN ? CblasNoTrans : CblasTrans;
#ifdef KD_DOUBLE
    cblas_dgemm(CblasRowMajor, a, b, (int)M, (int)N, (int)K, alpha, A, (int)lda, B, (int)ldb, beta,
                C, (int)ldc);
#else
    cblas_sgemm(CblasRowMajor, a, b, (int)M, (int)N, (int)K, alpha, A, (int)lda, B, (int)ldb, beta,
                C, (int)ldc);
#endif
}

void kd_openblas_gemm(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha,
                      const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb, kd_real beta,
                      kd_real *C, int64_t ldc) {
    if (omp_in_parallel() || omp_get_max_threads() == 1) {
        multiply(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
        return;
    }
#pragma omp parallel num_threads(2)
#pragma omp master
    multiply(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}

#ifdef __x86_64__

/* Which of our sets of loops (kd_isa_kernels) an OpenBLAS core is like. */
static const struct {
    const char *core, *kernels;
} CORES[] = {{"SkylakeX", "avx512"}, {"Cooperlake", "avx512"}, {"Sapphirerapids", "avx512"},
             {"Haswell", "avx2"},    {"Zen", "avx2"},          {"Excavator", "avx2"}};

/* Whether its kernels are those of our level. */
static bool knows_processor(void) {
    const char *core = openblas_get_corename(), *kernels = kd_isa_kernels();
    for (size_t i = 0; i < sizeof CORES / sizeof *CORES; i++)
        if (strcasecmp(core, CORES[i].core) == 0)
            return strncmp(kernels, CORES[i].kernels, strlen(CORES[i].kernels)) == 0;
    return false;
}

#else

static bool knows_processor(void) {
    return true;
}

#endif

/* A product by both; some releases compute wrong numbers on some processors. */
static bool is_right(void) {
    enum { M = 70, N = 50, K = 90 };
    kd_real *A = malloc((M * K + K * N + 2 * M * N) * sizeof *A);
    if (!A) return false;
    kd_real *B = A + M * K, *C = B + K * N, *D = C + M * N;
    for (int i = 0; i < M * K + K * N; i++) A[i] = (kd_real)(i * 37 % 101) / 50 - 1;
    kd_openblas_gemm(KD_PLAIN, KD_TRANSPOSED, M, N, K, 1, A, K, B, K, 0, C, N);
    kd_gemm_own(KD_PLAIN, KD_TRANSPOSED, M, N, K, 1, A, K, B, K, 0, D, N);
    bool right = true;
    for (int i = 0; i < M * N; i++) right = right && fabs((double)(C[i] - D[i])) < 1e-3;
    free(A);
    return right;
}

static void decide(void) {
    used = knows_processor() && is_right();
}

bool kd_openblas_is_used(void) {
    pthread_once(&decided, decide);
    return used;
}

void kd_gemm_describe(char *out, size_t capacity) {
    const char *core = openblas_get_corename();
    if (kd_openblas_is_used())
        snprintf(out, capacity, "OpenBLAS %s, and our own (%s) where it is faster", core,
                 kd_isa_kernels());
    else
        snprintf(out, capacity, "our own (%s); OpenBLAS took its %s kernels, of another level",
                 kd_isa_kernels(), core);
}
