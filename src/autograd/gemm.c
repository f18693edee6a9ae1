#include "autograd/gemm.h"

#include <omp.h>

#include "autograd/gemm_constant.h"
#include "autograd/gemm_few.h"
#include "autograd/gemm_openblas.h"
#include "base/error.h"
#include "base/log.h"
#include "base/order.h"
#include "base/size.h"

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

void kd_gemm_serial(const kd_matrix_product *p) {
    const bool few = p->M <= KD_FEW_ROWS && p->A.trans == KD_PLAIN;
    const bool small = p->M * p->N * p->K < SERIAL_MACS;
    const bool rounded = p->precision == KD_PRECISION_BFLOAT16;
    (few || small || rounded || !kd_openblas_is_used() ? kd_gemm_own : kd_openblas_gemm)(p);
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

/* The product of rows i … i + row_step − 1 and columns j … j + column_step − 1 of C. */
static kd_matrix_product tile_of(const kd_matrix_product *p, const tiling *t, int64_t i,
                                 int64_t j) {
    kd_matrix_product tile = *p;
    tile.M = kd_smaller(t->row_step, p->M - i);
    tile.N = kd_smaller(t->column_step, p->N - j);
    tile.A.at += p->A.trans == KD_PLAIN ? i * p->A.ld : i;
    if (!p->B.constant) tile.B.at += p->B.trans == KD_PLAIN ? j : j * p->B.ld;
    tile.C += i * p->ldc + j;
    return tile;
}

void kd_gemm_batched(const kd_matrix_product *p, kd_product_batch batch) {
    KD_CONTRACT(!p->B.constant, "a product of a constant; kd_gemm_tape takes one");
    KD_CONTRACT(p->M <= INT32_MAX && p->N <= INT32_MAX && p->K <= INT32_MAX,
                "product %lld x %lld x %lld", (long long)p->M, (long long)p->N, (long long)p->K);
    const double began = kd_gemm_count_begin();
    const tiling t = choose_tiling(p->M, p->N, p->K);
    const int64_t tiles = batch.count * t.rows * t.columns;
    const bool shared = tiles > 1 && batch.count * p->M * p->N * p->K >= SERIAL_MACS;
#pragma omp parallel for schedule(dynamic, 1) if (shared)
    for (int64_t n = 0; n < tiles; n++) {
        const int64_t which = n / (t.rows * t.columns), place = n % (t.rows * t.columns);
        kd_matrix_product tile =
            tile_of(p, &t, place / t.columns * t.row_step, place % t.columns * t.column_step);
        tile.A.at += which * batch.stride_a;
        tile.B.at += which * batch.stride_b;
        tile.C += which * batch.stride_c;
        (shared ? kd_gemm_serial : kd_gemm_own)(&tile);
    }
    kd_gemm_count_end(began,
                      2.0 * (double)batch.count * (double)p->M * (double)p->N * (double)p->K);
}

void kd_gemm(const kd_matrix_product *p) {
    kd_gemm_batched(p, (kd_product_batch){.count = 1});
}

/* Tile by tile, as kd_gemm cuts the product; each thread makes the rows of B that its tile needs.
 */
static void tiles_of_constant(kd_tape *tape, const kd_matrix_product *p) {
    const double began = kd_gemm_count_begin();
    const tiling t = choose_tiling(p->M, p->N, p->K);
    const int64_t tiles = t.rows * t.columns, room = kd_smaller(t.column_step, p->N) * p->K;
    const int64_t lanes = tiles > 1 ? omp_get_max_threads() : 1;
    kd_real *rows = kd_tape_take(tape, kd_array_bytes(lanes * room, sizeof *rows));
#pragma omp parallel for schedule(dynamic, 1) if (tiles > 1)
    for (int64_t n = 0; n < tiles; n++) {
        const int64_t j = n % t.columns * t.column_step;
        kd_matrix_product tile = tile_of(p, &t, n / t.columns * t.row_step, j);
        kd_real *b = rows + omp_get_thread_num() * room;
        p->B.constant->read(p->B.constant, b, j, tile.N);
        tile.B = kd_transposed(b, p->K);
        (tiles > 1 ? kd_gemm_serial : kd_gemm_own)(&tile);
    }
    kd_tape_give(tape, rows);
    kd_gemm_count_end(began, 2.0 * (double)p->M * (double)p->N * (double)p->K);
}

void kd_gemm_constant(kd_tape *tape, const kd_matrix_product *p) {
    if (!p->B.constant) {
        kd_gemm(p);
    } else if (p->N * p->K > KD_CONSTANT_WHOLE) {
        tiles_of_constant(tape, p);
    } else {
        kd_matrix_product whole = *p;
        kd_real *rows = kd_constant_rows(tape, p->B.constant, 0, p->N, p->K);
        whole.B = kd_transposed(rows, p->K);
        kd_gemm(&whole);
        kd_tape_give(tape, rows);
    }
}
