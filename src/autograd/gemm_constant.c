/* Products with a matrix whose rows are made when they are read. */
#include "autograd/gemm_constant.h"
#include "base/size.h"

#include "autograd/gemm_panels.h"
#include "autograd/op_common.h"

/* Rows that one thread makes in one go. */
enum { PIECE = 16 };

kd_real *kd_constant_rows(kd_tape *tape, const kd_constant *B, int64_t first, int64_t n,
                          int64_t K) {
    kd_real *rows = kd_tape_take(tape, kd_array_bytes(n * K, sizeof *rows));
#pragma omp parallel for schedule(static) if (n * K >= KD_PARALLEL_SIZE)
    for (int64_t i = 0; i < n; i += PIECE)
        B->read(B, rows + i * K, first + i, i + PIECE < n ? PIECE : n - i);
    return rows;
}

/* Where panels pay, an element is one chain of multiply-adds whatever else is in the product
 * (gemm_panels.c), so that a large B may come in parts. */
static void panels(kd_tape *tape, const kd_matrix_product *p) {
    const int64_t most = p->N * p->K > KD_CONSTANT_WHOLE ? KD_CONSTANT_WHOLE / p->K : p->N;
    for (int64_t first = 0; first < p->N; first += most) {
        kd_matrix_product part = *p;
        part.N = first + most < p->N ? most : p->N - first;
        kd_real *rows = kd_constant_rows(tape, p->B.constant, first, part.N, p->K);
        part.B = kd_transposed(rows, p->K);
        part.C += first;
        kd_panels_run(tape, &part);
        kd_tape_give(tape, rows);
    }
}

void kd_gemm_tape_constant(kd_tape *tape, const kd_matrix_product *p) {
    if (p->precision == KD_PRECISION_FLOAT32) {
        (kd_panels_pay(p) ? panels : kd_gemm_constant)(tape, p);
        return;
    }
    kd_matrix_product whole = *p;
    kd_real *rows = kd_constant_rows(tape, p->B.constant, 0, p->N, p->K);
    whole.B = kd_transposed(rows, p->K);
    kd_gemm_tape(tape, &whole);
    kd_tape_give(tape, rows);
}
