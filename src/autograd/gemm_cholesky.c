#include "autograd/cholesky.h"

#include <cblas.h>
#include <math.h>
#include <omp.h>

#ifdef KD_DOUBLE
#define POTRF dpotrf_
#define TRTRI dtrtri_
#else
#define POTRF spotrf_
#define TRTRI strtri_
#endif

/* Of LAPACK, which OpenBLAS' headers for C do not declare. Matrices are stored by columns. */
void POTRF(const char *triangle, const blasint *n, kd_real *a, const blasint *lda, blasint *info);
void TRTRI(const char *triangle, const char *diagonal, const blasint *n, kd_real *a,
           const blasint *lda, blasint *info);

/* Rows and columns in reverse order: (n,n) as one array read backwards. */
static void reverse(kd_real *H, int64_t n) {
    for (int64_t i = 0, j = n * n - 1; i < j; i++, j--) {
        const kd_real kept = H[i];
        H[i] = H[j];
        H[j] = kept;
    }
}

/* With J for the reversal, J·H·J = L·Lᵀ gives H = (J·L·J)(J·L·J)ᵀ = R·Rᵀ, R upper triangular, and
 * R⁻¹ = J·L⁻¹·J. What is the lower triangle by rows is the upper one by columns. */
static bool factor(kd_real *H, blasint n) {
    blasint info = 0;
    reverse(H, n);
    POTRF("U", &n, H, &n, &info);
    if (info == 0) TRTRI("U", "N", &n, H, &n, &info);
    reverse(H, n);
    return info == 0;
}

bool kd_factor_of_inverse(kd_real *H, int64_t n) {
    bool good = false;
    if (omp_in_parallel() || omp_get_max_threads() == 1) {
        good = factor(H, (blasint)n);
    } else { /* OpenBLAS takes no threads of its own inside an active region */
#pragma omp parallel num_threads(2)
#pragma omp master
        good = factor(H, (blasint)n);
    }
    for (int64_t i = 0; i < n; i++) {
        good = good && isfinite(H[i * n + i]);
        for (int64_t j = 0; j < i; j++) H[i * n + j] = 0;
    }
    return good;
}
