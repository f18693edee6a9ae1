/* The product of one thread.
 *
 * Both sides are copied into the order in which the register tile reads them: a block of op(B),
 * DEPTH by COLUMNS, then slab after slab of SLAB rows of op(A). A panel of the block (KD_PANEL
 * columns) stays in the first cache while it meets the slab's tiles, the slab in the second one.
 * Every element is the sum over blocks of DEPTH, each one chain of multiply-adds: an order that
 * depends on K alone. */
#include "autograd/gemm_few.h"
#include "autograd/gemm_openblas.h"

/* Let a·b + c be one instruction; -std=c11 would forbid it. */
#pragma GCC optimize("fp-contract=fast")
#include "autograd/gemm_tile.h"

enum { SLAB = 96, DEPTH = 256, COLUMNS = 512 };

typedef struct {
    kd_tile_operand a, b; /* b by (column, k) */
    kd_real alpha, *C;
    int64_t M, ldc;
    kd_tile_kind kind;
} product;

static kd_tile_operand from_step(kd_tile_operand o, int64_t k) {
    return (kd_tile_operand){o.at + k * o.step, o.row, o.step};
}

static void scale(kd_real *restrict x, int64_t n, kd_real factor) {
    for (int64_t i = 0; i < n; i++) x[i] *= factor;
}

/* C[·, first + n] (+)= alpha · over steps [k, k + depth), n < columns. */
static void add_block(const product *p, int64_t first, int64_t columns, int64_t k, int64_t depth,
                      bool add) {
    kd_real block[COLUMNS * DEPTH] __attribute__((aligned(64)));
    kd_real slab[SLAB * DEPTH] __attribute__((aligned(64)));
    const int64_t elements = kd_tile_elements(depth, p->kind);
    kd_tile_pack(block, KD_PANEL, from_step(p->b, k), first, first + columns, depth, p->kind);
    for (int64_t top = 0; top < p->M; top += SLAB) {
        const int64_t rows = kd_smaller(SLAB, p->M - top);
        kd_tile_pack(slab, KD_TILE, from_step(p->a, k), top, top + rows, depth, p->kind);
        if (p->alpha != 1 && p->kind == KD_NUMBERS)
            scale(slab, (rows + KD_TILE - 1) / KD_TILE * KD_TILE * depth, p->alpha);
        for (int64_t n = 0; n < columns; n += KD_PANEL)
            for (int64_t i = 0; i < rows; i += KD_TILE)
                kd_tile_multiply_packed(slab + i * elements, block + n * elements, elements,
                                        (kd_tile_target){p->C + (top + i) * p->ldc + first + n,
                                                         p->ldc, kd_smaller(KD_TILE, rows - i),
                                                         kd_smaller(KD_PANEL, columns - n), add,
                                                         p->alpha},
                                        p->kind);
    }
}

static void multiply(product p, int64_t N, int64_t K, kd_real beta) {
    const int64_t step = DEPTH * kd_tile_numbers(p.kind);
    for (int64_t i = 0; i < p.M && beta != 0 && beta != 1; i++) scale(p.C + i * p.ldc, N, beta);
    for (int64_t n = 0; n < N; n += COLUMNS)
        for (int64_t k = 0; k == 0 || k < K; k += step) /* once even where K is 0 */
            add_block(&p, n, kd_smaller(COLUMNS, N - n), k, kd_smaller(step, K - k),
                      k > 0 || beta != 0);
}

void kd_gemm_own(const kd_matrix_product *p) {
    if (p->M <= KD_FEW_ROWS && p->A.trans == KD_PLAIN && p->precision == KD_PRECISION_FLOAT32)
        kd_gemm_few(p);
    else
        multiply((product){.a = kd_tile_rows_of(p->A),
                           .b = kd_tile_rows_of(kd_flipped(p->B)),
                           .alpha = p->alpha,
                           .C = p->C,
                           .M = p->M,
                           .ldc = p->ldc,
                           .kind = kd_tile_kind_of(p->precision)},
                 p->N, p->K, p->beta);
}
