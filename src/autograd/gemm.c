#include "autograd/gemm.h"

#include <omp.h>

#include "autograd/gemm_constant.h"
#include "autograd/gemm_few.h"
#include "autograd/gemm_openblas.h"
#include "base/error.h"
#include "base/log.h"
#include "base/order.h"

/* Products smaller than this many multiply-adds are not worth waking the other threads for, nor a
 * library. */
static const int64_t SERIAL_MACS = 1 << 17;
/* A larger product is cut into about this many tiles; more would repeat the packing too often.
 * Whole register tiles of every kernel fit into a multiple of ALIGN. */
enum { TILE_TARGET = 8, TILE_ALIGN = 48, TILE_SMALLEST = 48 };

static bool counting;
static kd_gemm_counters counters;

void kd_gemm_count_enable(bool on) {
    counting = on;
    counters = (kd_gemm_counters){0};
}

kd_gemm_counters kd_gemm_count(void) {
    return counters;
}

double kd_gemm_count_begin(void) {
    return counting ? kd_clock() : 0;
}

void kd_gemm_count_end(double began, double flop) {
    if (!counting) return;
    counters.seconds += kd_clock() - began;
    counters.flop += flop;
}

void kd_gemm_serial(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha,
                    const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb, kd_real beta,
                    kd_real *C, int64_t ldc) {
    const bool few = M <= KD_FEW_ROWS && ta == KD_PLAIN;
    const bool small = M * N * K < SERIAL_MACS;
    (few || small || !kd_openblas_is_used() ? kd_gemm_own : kd_openblas_gemm)(
        ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}

void kd_gemm_serial_at(kd_precision precision, kd_trans ta, kd_trans tb, int64_t M, int64_t N,
                       int64_t K, kd_real alpha, const kd_real *A, int64_t lda, const kd_real *B,
                       int64_t ldb, kd_real beta, kd_real *C, int64_t ldc) {
    (precision == KD_PRECISION_BFLOAT16 ? kd_gemm_bfloat16 : kd_gemm_serial)(
        ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}

/* How a product is cut: `rows` × `columns` tiles of `row_step` × `column_step`. A function of the
 * shape alone. */
typedef struct {
    int64_t rows, columns, row_step, column_step;
} tiling;

static int64_t step_for(int64_t extent, int64_t parts) {
    int64_t step = (extent + parts - 1) / parts;
    return (step + TILE_ALIGN - 1) / TILE_ALIGN * TILE_ALIGN;
}

static tiling choose_tiling(int64_t M, int64_t N, int64_t K) {
    tiling t = {1, 1, M, N};
    if (M * N * K < SERIAL_MACS) return t;
    /* Halve the longer side until there are enough tiles. */
    int64_t row_parts = 1, column_parts = 1;
    while (row_parts * column_parts < TILE_TARGET) {
        bool by_rows = M / row_parts >= N / column_parts;
        if ((by_rows ? M / row_parts : N / column_parts) < 2 * TILE_SMALLEST) break;
        if (by_rows)
            row_parts *= 2;
        else
            column_parts *= 2;
    }
    t.row_step = step_for(M, row_parts);
    t.column_step = step_for(N, column_parts);
    t.rows = (M + t.row_step - 1) / t.row_step;
    t.columns = (N + t.column_step - 1) / t.column_step;
    return t;
}

typedef void multiply(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha,
                      const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb, kd_real beta,
                      kd_real *C, int64_t ldc);

/* `one` multiplies all of a product that is not shared out, `part` a tile of one that is. */
static void run_tiles(multiply *one, multiply *part, int64_t count, kd_trans ta, kd_trans tb,
                      int64_t M, int64_t N, int64_t K, kd_real alpha, const kd_real *A, int64_t lda,
                      int64_t stride_a, const kd_real *B, int64_t ldb, int64_t stride_b,
                      kd_real beta, kd_real *C, int64_t ldc, int64_t stride_c) {
    KD_CONTRACT(M <= INT32_MAX && N <= INT32_MAX && K <= INT32_MAX, "product %lld x %lld x %lld",
                (long long)M, (long long)N, (long long)K);
    const double began = kd_gemm_count_begin();
    tiling t = choose_tiling(M, N, K);
    int64_t tiles = count * t.rows * t.columns;
    const bool shared = tiles > 1 && count * M * N * K >= SERIAL_MACS;
#pragma omp parallel for schedule(dynamic, 1) if (shared)
    for (int64_t tile = 0; tile < tiles; tile++) {
        int64_t which = tile / (t.rows * t.columns), place = tile % (t.rows * t.columns);
        int64_t i = place / t.columns * t.row_step, j = place % t.columns * t.column_step;
        const kd_real *a = A + which * stride_a + (ta == KD_PLAIN ? i * lda : i);
        const kd_real *b = B + which * stride_b + (tb == KD_PLAIN ? j : j * ldb);
        (shared ? part : one)(ta, tb, kd_smaller(t.row_step, M - i),
                              kd_smaller(t.column_step, N - j), K, alpha, a, lda, b, ldb, beta,
                              C + which * stride_c + i * ldc + j, ldc);
    }
    kd_gemm_count_end(began, 2.0 * (double)count * (double)M * (double)N * (double)K);
}

void kd_gemm_batched(int64_t count, kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K,
                     kd_real alpha, const kd_real *A, int64_t lda, int64_t stride_a,
                     const kd_real *B, int64_t ldb, int64_t stride_b, kd_real beta, kd_real *C,
                     int64_t ldc, int64_t stride_c) {
    run_tiles(kd_gemm_own, kd_gemm_serial, count, ta, tb, M, N, K, alpha, A, lda, stride_a, B, ldb,
              stride_b, beta, C, ldc, stride_c);
}

void kd_gemm_at(kd_precision precision, kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K,
                kd_real alpha, const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb,
                kd_real beta, kd_real *C, int64_t ldc) {
    const bool rounded = precision == KD_PRECISION_BFLOAT16;
    run_tiles(rounded ? kd_gemm_bfloat16 : kd_gemm_own, rounded ? kd_gemm_bfloat16 : kd_gemm_serial,
              1, ta, tb, M, N, K, alpha, A, lda, 0, B, ldb, 0, beta, C, ldc, 0);
}

void kd_gemm(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha,
             const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb, kd_real beta, kd_real *C,
             int64_t ldc) {
    kd_gemm_at(KD_PRECISION_FLOAT32, ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}

/* Tile by tile, as kd_gemm cuts the product; each thread makes the rows of B that its tile needs.
 */
static void tiles_of_constant(kd_tape *tape, int64_t M, int64_t N, int64_t K, const kd_real *A,
                              int64_t lda, const kd_constant *B, kd_real *C, int64_t ldc) {
    const double began = kd_gemm_count_begin();
    const tiling t = choose_tiling(M, N, K);
    const int64_t tiles = t.rows * t.columns, room = kd_smaller(t.column_step, N) * K;
    const int64_t lanes = tiles > 1 ? omp_get_max_threads() : 1;
    kd_real *rows = kd_tape_take(tape, (size_t)(lanes * room) * sizeof *rows);
#pragma omp parallel for schedule(dynamic, 1) if (tiles > 1)
    for (int64_t tile = 0; tile < tiles; tile++) {
        const int64_t i = tile / t.columns * t.row_step, j = tile % t.columns * t.column_step;
        const int64_t n = kd_smaller(t.column_step, N - j);
        kd_real *b = rows + omp_get_thread_num() * room;
        B->read(B, b, j, n);
        (tiles > 1 ? kd_gemm_serial : kd_gemm_own)(KD_PLAIN, KD_TRANSPOSED,
                                                   kd_smaller(t.row_step, M - i), n, K, 1,
                                                   A + i * lda, lda, b, K, 0, C + i * ldc + j, ldc);
    }
    kd_tape_give(tape, rows);
    kd_gemm_count_end(began, 2.0 * (double)M * (double)N * (double)K);
}

void kd_gemm_constant(kd_tape *tape, int64_t M, int64_t N, int64_t K, const kd_real *A, int64_t lda,
                      const kd_constant *B, kd_real *C, int64_t ldc) {
    if (N * K > KD_CONSTANT_WHOLE) {
        tiles_of_constant(tape, M, N, K, A, lda, B, C, ldc);
        return;
    }
    kd_real *rows = kd_constant_rows(tape, B, 0, N, K);
    kd_gemm(KD_PLAIN, KD_TRANSPOSED, M, N, K, 1, A, lda, rows, K, 0, C, ldc);
    kd_tape_give(tape, rows);
}
