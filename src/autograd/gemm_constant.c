/* Products with a matrix whose rows are made when they are read. */
#include "autograd/gemm_constant.h"

#include "autograd/gemm_panels.h"

/* Rows that one thread makes in one go. */
enum { PIECE = 16 };

kd_real *kd_constant_rows(kd_tape *tape, const kd_constant *B, int64_t first, int64_t n,
                          int64_t K) {
    kd_real *rows = kd_tape_take(tape, (size_t)(n * K) * sizeof *rows);
#pragma omp parallel for schedule(static) if (n > PIECE)
    for (int64_t i = 0; i < n; i += PIECE)
        B->read(B, rows + i * K, first + i, i + PIECE < n ? PIECE : n - i);
    return rows;
}

/* Where panels pay, an element is one chain of multiply-adds whatever else is in the product
 * (gemm_panels.c), so that a large B may come in parts. */
static void panels(kd_tape *tape, kd_panels_product p, const kd_constant *B) {
    const int64_t N = p.N, most = N * p.K > KD_CONSTANT_WHOLE ? KD_CONSTANT_WHOLE / p.K : N;
    kd_real *C = p.C;
    for (int64_t first = 0; first < N; first += most) {
        p.N = first + most < N ? most : N - first;
        kd_real *rows = kd_constant_rows(tape, B, first, p.N, p.K);
        p.B = rows;
        p.C = C + first;
        kd_panels_run(tape, &p);
        kd_tape_give(tape, rows);
    }
}

void kd_gemm_tape_constant(kd_tape *tape, int64_t M, int64_t N, int64_t K, const kd_real *A,
                           int64_t lda, const kd_constant *B, kd_real *C, int64_t ldc) {
    const kd_panels_product p = {KD_PLAIN, KD_TRANSPOSED, M, N, K, A, NULL, lda, K, 0, C, ldc};
    if (tape->precision == KD_PRECISION_FLOAT32) {
        if (kd_panels_pay(&p))
            panels(tape, p, B);
        else
            kd_gemm_constant(tape, M, N, K, A, lda, B, C, ldc);
        return;
    }
    kd_real *rows = kd_constant_rows(tape, B, 0, N, K);
    kd_gemm_tape(tape, KD_PLAIN, KD_TRANSPOSED, M, N, K, 1, A, lda, rows, K, NULL, 0, C, ldc);
    kd_tape_give(tape, rows);
}
