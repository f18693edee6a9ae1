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

static void multiply(const kd_matrix_product *p) {
    const enum CBLAS_TRANSPOSE a = p->A.trans == KD_PLAIN ? CblasNoTrans : CblasTrans;
    const enum CBLAS_TRANSPOSE b = p->B.trans == KD_PLAIN ? CblasNoTrans : CblasTrans;
#ifdef KD_DOUBLE
    cblas_dgemm(CblasRowMajor, a, b, (int)p->M, (int)p->N, (int)p->K, p->alpha, p->A.at,
                (int)p->A.ld, p->B.at, (int)p->B.ld, p->beta, p->C, (int)p->ldc);
#else
    cblas_sgemm(CblasRowMajor, a, b, (int)p->M, (int)p->N, (int)p->K, p->alpha, p->A.at,
                (int)p->A.ld, p->B.at, (int)p->B.ld, p->beta, p->C, (int)p->ldc);
#endif
}

void kd_openblas_gemm(const kd_matrix_product *p) {
    if (omp_in_parallel() || omp_get_max_threads() == 1) {
        multiply(p);
        return;
    }
#pragma omp parallel num_threads(2)
#pragma omp master
    multiply(p);
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
    kd_matrix_product p = {M, N, K, kd_plain(A, K), kd_transposed(B, K), 1, 0, C, N, 0};
    kd_openblas_gemm(&p);
    p.C = D;
    kd_gemm_own(&p);
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
