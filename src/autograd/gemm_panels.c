/* Products of weights with a batch: one side is large and used once, the other small.
 *
 * kd_gemm copies both sides into the tile's order before it multiplies. With 128 samples a copied
 * weight is used 128 times only, and the copy takes a quarter of the time. Here the rows of the
 * result are those of the large side, which is read where it lies; only the small side is copied,
 * once for all threads, into panels of KD_PANEL columns.
 *
 *     R (rows, columns) = X (rows, depth) · Y (depth, columns)      C = R, or Rᵀ when `swapped`
 *
 * A job is at most SLAB rows of R. It goes down `depth` in steps of DEPTH: a panel of Y stays in
 * the first cache while it meets the slab's tiles of KD_TILE rows, whose sums stay in registers.
 * Sums are added in an order that depends on the shape alone. */
#include "autograd/gemm_panels.h"
#include "base/size.h"

/* Let a·b + c be one instruction; -std=c11 would forbid it. */
#pragma GCC optimize("fp-contract=fast")
#include "autograd/gemm_tile.h"

enum { SLAB = 96, DEPTH = 256, SWAPPED_COLUMNS = 128 };

/* The number of slabs is a multiple of this, so that no thread waits for another's last one. */
enum { SHARES = 4 };

/* Where it pays: the smallest side is that of a batch; below and above, kd_gemm is as good. */
static const int64_t LEAST_MACS = 1 << 22, LEAST_SIDE = 64, MOST_SIDE = 512;

bool kd_panels_pay(const kd_matrix_product *p) {
    if (p->alpha != 1 || (p->beta != 0 && p->beta != 1)) return false;
    const int64_t side = kd_smaller(kd_smaller(p->M, p->N), p->K);
    return side >= LEAST_SIDE && side <= MOST_SIDE && p->M * p->N * p->K >= LEAST_MACS;
}

typedef struct {
    kd_tile_operand x, y; /* y by (column, k) */
    int64_t rows, columns, depth, elements;
    kd_tile_kind kind;
    bool swapped;
    kd_real beta, *C;
    int64_t ldc;
    kd_real *panels; /* of y: panel j, element e at (j·elements + e)·KD_PANEL */
} plan;

/* A tile whose rows of x lie `apart`; one that does not exist repeats another. */
static void multiply_rows(const kd_real *x, int64_t apart, const kd_real *y, int64_t depth,
                          kd_tile_target t) {
    const kd_real *row[KD_TILE];
    for (int i = 0; i < KD_TILE; i++) row[i] = x + kd_smaller(i, t.rows - 1) * apart;
    kd_tile_multiply(row, 1, y, depth, t, KD_NUMBERS);
}

/* --- a job ----------------------------------------------------------------------------------- */

/* Asks for n numbers that are needed later. */
static void look_ahead(const kd_real *at, int64_t n) {
    for (int64_t i = 0; i < n; i += 64 / (int64_t)sizeof *at) __builtin_prefetch(at + i);
}

/* R[first + i, column + n] (+)= over steps [k, k + depth), written at `t`, for a slab of rows. */
static void multiply_slab(const plan *p, int64_t first, int64_t column, int64_t columns, int64_t k,
                          int64_t depth, kd_tile_target t) {
    kd_real packed[SLAB * DEPTH] __attribute__((aligned(64)));
    const bool in_place = p->swapped && p->x.step == 1 && p->kind == KD_NUMBERS;
    const kd_tile_operand x = {p->x.at + k * p->x.step, p->x.row, p->x.step};
    const int64_t elements = kd_tile_elements(depth, p->kind);
    const int64_t share = elements * KD_PANEL / t.rows; /* of the next panel, for every row */
    if (!in_place) kd_tile_pack(packed, KD_TILE, x, first, first + t.rows, depth, p->kind);
    for (int64_t n = 0; n < columns; n += KD_PANEL) {
        const kd_real *y =
            p->panels +
            ((column + n) / KD_PANEL * p->elements + kd_tile_elements(k, p->kind)) * KD_PANEL;
        const kd_real *next = y + p->elements * KD_PANEL;
        for (int64_t i = 0; i < t.rows; i += KD_TILE) {
            if (n + KD_PANEL < columns) look_ahead(next + i * share, KD_TILE * share);
            const kd_tile_target tile = {t.c + i * t.ldc + n,
                                         t.ldc,
                                         kd_smaller(KD_TILE, t.rows - i),
                                         kd_smaller(KD_PANEL, columns - n),
                                         t.add,
                                         1};
            if (in_place)
                multiply_rows(x.at + (first + i) * x.row, x.row, y, depth, tile);
            else
                kd_tile_multiply_packed(packed + i * elements, y, elements, tile, p->kind);
        }
    }
}

/* C[n, first + i] = beta·C + R[i, n] */
static void store_swapped(const plan *p, const kd_real *R, int64_t first, int64_t rows,
                          int64_t column, int64_t columns) {
    for (int64_t i = 0; i < rows; i += KD_VEC)
        for (int64_t n = 0; n < columns; n += KD_VEC) {
            kd_vec v[KD_VEC];
#pragma GCC unroll 16
            for (int a = 0; a < KD_VEC; a++) v[a] = kd_vec_load(R + (i + a) * SWAPPED_COLUMNS + n);
            kd_vec_transpose(v);
            kd_real *c = p->C + (column + n) * p->ldc + first + i;
            const int64_t left = rows - i;
            for (int a = 0; a < KD_VEC && n + a < columns; a++, c += p->ldc)
                kd_vec_store_part(c, p->beta == 0 ? v[a] : v[a] + kd_vec_load_part(c, left), left);
        }
}

static void run_job(const plan *p, int64_t first, int64_t rows, int64_t column, int64_t columns) {
    kd_real R[SLAB * SWAPPED_COLUMNS] __attribute__((aligned(64)));
    kd_tile_target t = {p->C + first * p->ldc + column, p->ldc, rows, columns, p->beta != 0, 1};
    if (p->swapped) t = (kd_tile_target){R, SWAPPED_COLUMNS, rows, columns, false, 1};
    const int64_t step = DEPTH * kd_tile_numbers(p->kind);
    for (int64_t k = 0; k < p->depth; k += step, t.add = true)
        multiply_slab(p, first, column, columns, k, kd_smaller(step, p->depth - k), t);
    if (p->swapped) store_swapped(p, R, first, rows, column, columns);
}

/* --- the product ----------------------------------------------------------------------------- */

static plan make_plan(const kd_matrix_product *p) {
    const kd_tile_operand a = kd_tile_rows_of(p->A), b = kd_tile_rows_of(kd_flipped(p->B));
    const kd_tile_kind kind = kd_tile_kind_of(p->precision);
    const bool swapped = 2 * p->M <= p->N;
    return (plan){.x = swapped ? b : a,
                  .y = swapped ? a : b,
                  .rows = swapped ? p->N : p->M,
                  .columns = swapped ? p->M : p->N,
                  .depth = p->K,
                  .elements = kd_tile_elements(p->K, kind),
                  .kind = kind,
                  .swapped = swapped,
                  .beta = p->beta,
                  .C = p->C,
                  .ldc = p->ldc};
}

void kd_panels_run(kd_tape *tape, const kd_matrix_product *product) {
    const double began = kd_gemm_count_begin();
    plan p = make_plan(product);
    const int64_t panels = (p.columns + KD_PANEL - 1) / KD_PANEL;
    const int64_t width = p.swapped ? SWAPPED_COLUMNS : p.columns;
    const int64_t parts = (p.columns + width - 1) / width;
    const int64_t tiles = (p.rows + KD_TILE - 1) / KD_TILE,
                  least = (tiles * KD_TILE + SLAB - 1) / SLAB;
    const int64_t slabs = kd_smaller(tiles, (least + SHARES - 1) / SHARES * SHARES);
    p.panels = kd_tape_take(tape, kd_array_bytes(panels * p.elements * KD_PANEL, sizeof *p.panels));
#pragma omp parallel
    {
#pragma omp for
        for (int64_t j = 0; j < panels; j++)
            kd_tile_pack(p.panels + j * p.elements * KD_PANEL, KD_PANEL, p.y, j * KD_PANEL,
                         kd_smaller((j + 1) * KD_PANEL, p.columns), p.depth, p.kind);
#pragma omp for schedule(dynamic, 1)
        for (int64_t job = 0; job < slabs * parts; job++) {
            const int64_t column = job / slabs * width, slab = job % slabs;
            const int64_t first = slab * tiles / slabs * KD_TILE;
            const int64_t end = kd_smaller((slab + 1) * tiles / slabs * KD_TILE, p.rows);
            run_job(&p, first, end - first, column, kd_smaller(width, p.columns - column));
        }
    }
    kd_tape_give(tape, p.panels);
    kd_gemm_count_end(began, 2.0 * (double)p.rows * (double)p.columns * (double)p.depth);
}
