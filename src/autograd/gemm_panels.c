/* Products of weights with a batch: one side is large and used once, the other small.
 *
 * OpenBLAS copies both sides into its own order before it multiplies. With 128 samples a copied
 * weight is used 128 times only, and the copy takes a quarter of the time. Here the rows of the
 * result are those of the large side, which is read where it lies; only the small side is copied,
 * once for all threads, into panels of PANEL columns.
 *
 *     R (rows, columns) = X (rows, depth) · Y (depth, columns)      C = R, or Rᵀ when `swapped`
 *
 * A job is at most SLAB rows of R. It goes down `depth` in steps of DEPTH: a panel of Y stays in
 * the first cache while it meets the slab's tiles of TILE rows, whose sums stay in registers. Sums
 * are added in an order that depends on the shape alone. */
#include "autograd/gemm_panels.h"

#include <string.h>

#include "autograd/vec.h"

/* Let a·b + c be one instruction; -std=c11 would forbid it. */
#pragma GCC optimize("fp-contract=fast")

/* TILE × 2 sums, two vectors of Y and one element of X fill the 16 registers of AVX2. */
#ifdef __AVX512F__
enum { TILE = 12 };
#else
enum { TILE = 6 };
#endif
enum { PANEL = 2 * KD_VEC, SLAB = 48, DEPTH = 256, SWAPPED_COLUMNS = 128, AHEAD = 8 };

/* The number of slabs is a multiple of this, so that no thread waits for another's last one. */
enum { SHARES = 4 };

/* Where it pays: the smallest side is that of a batch; below and above, OpenBLAS is as good. */
static const int64_t LEAST_MACS = 1 << 22, LEAST_SIDE = 64, MOST_SIDE = 512;

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

bool kd_panels_pay(const kd_panels_product *p) {
    const int64_t side = smaller(smaller(p->M, p->N), p->K);
    if (side < LEAST_SIDE || side > MOST_SIDE || p->M * p->N * p->K < LEAST_MACS) return false;
#if defined(__AVX512F__)
    return true;
#elif defined(__AVX2__) && defined(__FMA__)
    return !__builtin_cpu_supports("avx512f"); /* there OpenBLAS has the wider registers */
#else
    return false;
#endif
}

/* An operand by its element (i, k): at[i·row + k·step]; row or step is 1. */
typedef struct {
    const kd_real *at;
    int64_t row, step;
} operand;

typedef struct {
    operand x, y; /* y by (column, k) */
    int64_t rows, columns, depth;
    bool swapped;
    kd_real beta, *C;
    int64_t ldc;
    kd_real *panels; /* of y: panel j, step k at (j·depth + k)·PANEL */
} plan;

/* --- copies ---------------------------------------------------------------------------------- */

/* A square of KD_VEC registers is transposed by exchanging blocks of 1, 2, 4 … lanes: of a pair of
 * registers `s` apart, LOWER are the lanes the first one ends with, UPPER those of the second. */
#define LOWER(lane, s)   ((lane) & (s) ? (lane) - (s) + KD_VEC : (lane))
#define UPPER(lane, s)   (LOWER(lane, s) + (s))
#define LANES4(f, at, s) f((at), s), f((at) + 1, s), f((at) + 2, s), f((at) + 3, s)
#define LANES8(f, at, s) LANES4(f, at, s), LANES4(f, (at) + 4, s)
#if KD_VEC_BYTES == 64 && !defined(KD_DOUBLE)
#define LANES(f, s) LANES8(f, 0, s), LANES8(f, 8, s)
#elif KD_VEC_BYTES == 64 || !defined(KD_DOUBLE)
#define LANES(f, s) LANES8(f, 0, s)
#else
#define LANES(f, s) LANES4(f, 0, s)
#endif
#define EXCHANGE(v, s)                                                                             \
    for (int i = 0; i < KD_VEC; i++) {                                                             \
        if (i & (s)) continue;                                                                     \
        const kd_vec a = (v)[i], b = (v)[i + (s)];                                                 \
        (v)[i] = __builtin_shufflevector(a, b, LANES(LOWER, s));                                   \
        (v)[i + (s)] = __builtin_shufflevector(a, b, LANES(UPPER, s));                             \
    }

KD_INLINE void transpose(kd_vec v[KD_VEC]) {
#pragma GCC unroll 16
    EXCHANGE(v, 1)
#pragma GCC unroll 16
    EXCHANGE(v, 2)
#if KD_VEC_BYTES == 64 || !defined(KD_DOUBLE)
#pragma GCC unroll 16
    EXCHANGE(v, 4)
#endif
#if KD_VEC_BYTES == 64 && !defined(KD_DOUBLE)
#pragma GCC unroll 16
    EXCHANGE(v, 8)
#endif
}

/* out[k·width + i] = o(first + i, k), i < width, by squares; what is not below `end` is any number.
 */
KD_INLINE void pack_rows(kd_real *restrict out, const int width, operand o, int64_t first,
                         int64_t end, int64_t depth) {
    const kd_real *row[2 * PANEL];
    for (int i = 0; i < width + KD_VEC; i++) row[i] = o.at + smaller(first + i, end - 1) * o.row;
    int64_t k = 0;
    for (; k + KD_VEC <= depth; k += KD_VEC)
        for (int at = 0; at < width; at += KD_VEC) {
            kd_vec v[KD_VEC];
#pragma GCC unroll 16
            for (int i = 0; i < KD_VEC; i++) v[i] = kd_vec_load(row[at + i] + k);
            transpose(v);
#pragma GCC unroll 16
            for (int i = 0; i < KD_VEC; i++)
                kd_vec_store_part(out + (k + i) * width + at, v[i], width - at);
        }
    for (; k < depth; k++)
        for (int i = 0; i < width; i++) out[k * width + i] = row[i][k];
}

/* The same for o.row = 1 and all of [first, end), group after group of `width`: each of the
 * scattered lines of memory is read once, and asked for ahead of time. */
KD_INLINE void pack_columns(kd_real *restrict out, const int width, operand o, int64_t first,
                            int64_t end, int64_t depth) {
    for (int64_t k = 0; k < depth; k++) {
        const kd_real *restrict from = o.at + k * o.step;
        const kd_real *later = from + smaller(AHEAD, depth - 1 - k) * o.step;
        for (int64_t i = first; i < end; i += 64 / (int64_t)sizeof *out)
            __builtin_prefetch(later + i);
        kd_real *restrict to = out + k * width;
        int64_t i = first;
        for (; i + width <= end; i += width, to += depth * width)
            memcpy(to, from + i, (size_t)width * sizeof *to);
        if (i < end) memcpy(to, from + i, (size_t)(end - i) * sizeof *to);
    }
}

KD_INLINE void pack(kd_real *restrict out, const int width, operand o, int64_t first, int64_t end,
                    int64_t depth) {
    if (o.row == 1) {
        pack_columns(out, width, o, first, end, depth);
        return;
    }
    for (int64_t i = first; i < end; i += width)
        pack_rows(out + (i - first) * depth, width, o, i, end, depth);
}

/* --- a tile ---------------------------------------------------------------------------------- */

/* Where sums go: c[i·ldc + n], i < rows, n < columns ≤ PANEL. */
typedef struct {
    kd_real *c;
    int64_t ldc, rows, columns;
    bool add;
} target;

KD_INLINE void store_tile(kd_vec sum[TILE][2], target t) {
#pragma GCC unroll 16
    for (int i = 0; i < TILE; i++) {
        if (i >= t.rows) break;
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            const int64_t left = t.columns - v * KD_VEC;
            kd_real *to = t.c + i * t.ldc + v * KD_VEC;
            if (left <= 0) break;
            if (t.add) sum[i][v] += kd_vec_load_part(to, left);
            kd_vec_store_part(to, sum[i][v], left);
        }
    }
}

static __attribute__((noinline)) void store_partial_tile(kd_vec sum[TILE][2], target t) {
    store_tile(sum, t);
}

/* Sums of x[i][k·step] · y[k·PANEL + n] over k. */
KD_INLINE void multiply(const kd_real *const x[TILE], const int step, const kd_real *restrict y,
                        int64_t depth, target t) {
    kd_vec sum[TILE][2];
#pragma GCC unroll 16
    for (int i = 0; i < TILE; i++) sum[i][0] = sum[i][1] = (kd_vec){0};
    for (int64_t k = 0; k < depth; k++, y += PANEL) {
        const kd_vec y0 = kd_vec_load(y), y1 = kd_vec_load(y + KD_VEC);
#pragma GCC unroll 16
        for (int i = 0; i < TILE; i++) {
            const kd_real a = x[i][k * step];
            sum[i][0] += a * y0;
            sum[i][1] += a * y1;
        }
    }
    if (t.rows == TILE && t.columns == PANEL) {
        t.rows = TILE, t.columns = PANEL;
        store_tile(sum, t);
    } else {
        kd_vec copy[TILE][2]; /* `sum` itself must have no address */
#pragma GCC unroll 16
        for (int i = 0; i < TILE; i++) copy[i][0] = sum[i][0], copy[i][1] = sum[i][1];
        store_partial_tile(copy, t);
    }
}

/* The same where x is packed, and where rows lie `apart`; one that does not exist repeats another.
 */
static void multiply_packed(const kd_real *x, const kd_real *y, int64_t depth, target t) {
    const kd_real *row[TILE];
    for (int i = 0; i < TILE; i++) row[i] = x + i;
    multiply(row, TILE, y, depth, t);
}

static void multiply_rows(const kd_real *x, int64_t apart, const kd_real *y, int64_t depth,
                          target t) {
    const kd_real *row[TILE];
    for (int i = 0; i < TILE; i++) row[i] = x + smaller(i, t.rows - 1) * apart;
    multiply(row, 1, y, depth, t);
}

/* --- a job ----------------------------------------------------------------------------------- */

/* R[first + i, column + n] (+)= over steps [k, k + depth), written at `t`, for a slab of rows. */
static void multiply_slab(const plan *p, int64_t first, int64_t column, int64_t columns, int64_t k,
                          int64_t depth, target t) {
    kd_real packed[SLAB * DEPTH] __attribute__((aligned(64)));
    const bool in_place = p->swapped && p->x.step == 1;
    const operand x = {p->x.at + k * p->x.step, p->x.row, p->x.step};
    if (!in_place) pack(packed, TILE, x, first, first + t.rows, depth);
    for (int64_t n = 0; n < columns; n += PANEL) {
        const kd_real *y = p->panels + ((column + n) / PANEL * p->depth + k) * PANEL;
        for (int64_t i = 0; i < t.rows; i += TILE) {
            const target tile = {t.c + i * t.ldc + n, t.ldc, smaller(TILE, t.rows - i),
                                 smaller(PANEL, columns - n), t.add};
            if (in_place)
                multiply_rows(x.at + (first + i) * x.row, x.row, y, depth, tile);
            else
                multiply_packed(packed + i * depth, y, depth, tile);
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
            transpose(v);
            kd_real *c = p->C + (column + n) * p->ldc + first + i;
            const int64_t left = rows - i;
            for (int a = 0; a < KD_VEC && n + a < columns; a++, c += p->ldc)
                kd_vec_store_part(c, p->beta == 0 ? v[a] : v[a] + kd_vec_load_part(c, left), left);
        }
}

static void run_job(const plan *p, int64_t first, int64_t rows, int64_t column, int64_t columns) {
    kd_real R[SLAB * SWAPPED_COLUMNS] __attribute__((aligned(64)));
    target t = {p->C + first * p->ldc + column, p->ldc, rows, columns, p->beta != 0};
    if (p->swapped) t = (target){R, SWAPPED_COLUMNS, rows, columns, false};
    for (int64_t k = 0; k < p->depth; k += DEPTH, t.add = true)
        multiply_slab(p, first, column, columns, k, smaller(DEPTH, p->depth - k), t);
    if (p->swapped) store_swapped(p, R, first, rows, column, columns);
}

/* --- the product ----------------------------------------------------------------------------- */

static plan make_plan(const kd_panels_product *p) {
    const operand a = p->ta == KD_PLAIN ? (operand){p->A, p->lda, 1} : (operand){p->A, 1, p->lda};
    const operand b = p->tb == KD_PLAIN ? (operand){p->B, 1, p->ldb} : (operand){p->B, p->ldb, 1};
    const bool swapped = 2 * p->M <= p->N;
    return (plan){.x = swapped ? b : a,
                  .y = swapped ? a : b,
                  .rows = swapped ? p->N : p->M,
                  .columns = swapped ? p->M : p->N,
                  .depth = p->K,
                  .swapped = swapped,
                  .beta = p->beta,
                  .C = p->C,
                  .ldc = p->ldc};
}

void kd_panels_run(kd_tape *tape, const kd_panels_product *product) {
    const double began = kd_gemm_count_begin();
    plan p = make_plan(product);
    const int64_t panels = (p.columns + PANEL - 1) / PANEL;
    const int64_t width = p.swapped ? SWAPPED_COLUMNS : p.columns;
    const int64_t parts = (p.columns + width - 1) / width;
    const int64_t tiles = (p.rows + TILE - 1) / TILE, least = (tiles * TILE + SLAB - 1) / SLAB;
    const int64_t slabs = smaller(tiles, (least + SHARES - 1) / SHARES * SHARES);
    p.panels = kd_tape_take(tape, (size_t)(panels * p.depth * PANEL) * sizeof *p.panels);
#pragma omp parallel
    {
#pragma omp for
        for (int64_t j = 0; j < panels; j++)
            pack(p.panels + j * p.depth * PANEL, PANEL, p.y, j * PANEL,
                 smaller((j + 1) * PANEL, p.columns), p.depth);
#pragma omp for schedule(dynamic, 1)
        for (int64_t job = 0; job < slabs * parts; job++) {
            const int64_t column = job / slabs * width, slab = job % slabs;
            const int64_t first = slab * tiles / slabs * TILE;
            const int64_t end = smaller((slab + 1) * tiles / slabs * TILE, p.rows);
            run_job(&p, first, end - first, column, smaller(width, p.columns - column));
        }
    }
    kd_tape_give(tape, p.panels);
    kd_gemm_count_end(began, 2.0 * (double)p.rows * (double)p.columns * (double)p.depth);
}
