/* The inner loops of convolution: see conv_kernels.h. */
#include "autograd/conv_kernels.h"

/* Let a·b + c be one instruction; -std=c11 would forbid it. */
#pragma GCC optimize("fp-contract=fast", "no-version-loops-for-strides")

/* Rows of C held in registers at once. WIDE × 2 sums, two vectors of B and one element of A fill
 * the 16 registers of AVX2 (of 32 in AVX-512); a panel of one register needs NARROW sums to keep
 * the multipliers busy. */
#ifdef __AVX512F__
enum { WIDE = 12, NARROW = 12, ROWS = 12 };
#else
enum { WIDE = 6, NARROW = 8, ROWS = 8 };
#endif

/* What of p->ahead was asked for: `share` elements after every tile. */
typedef struct {
    kd_ahead left[4];
    int64_t share[4];
} looking_ahead;

kd_ahead kd_ahead_part(kd_ahead all, int64_t i, int64_t n) {
    if (all.size == 0) return all;
    const int64_t first = all.size * i / n, end = all.size * (i + 1) / n;
    return (kd_ahead){all.at + first, end - first};
}

static void fetch_share(looking_ahead *l) {
    for (int i = 0; i < 4; i++) {
        const int64_t left = l->left[i].size, size = l->share[i] < left ? l->share[i] : left;
        if (size == 0) continue;
        for (int64_t at = 0; at < size; at += 64 / (int64_t)sizeof(kd_real))
            __builtin_prefetch(l->left[i].at + at, 0, 2);
        l->left[i].at += size;
        l->left[i].size -= size;
    }
}

/* Writes one tile of C from its sums; `lanes` of each register exist. */
KD_INLINE void finish_tile(const kd_window_product *p, kd_vec sum[ROWS][2], int64_t first,
                           int64_t column, const int rows, const int vectors,
                           const int64_t lanes[2]) {
    kd_vec bias[2] = {{0}, {0}};
    for (int v = 0; v < vectors && p->bias; v++)
        bias[v] = kd_vec_load_part(p->bias + column + v * KD_VEC, lanes[v]);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        kd_real *c = p->c + p->c_at[first + i] + column;
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            kd_vec y = sum[i][v] + bias[v];
            if (p->add) y += kd_vec_load_part(c + v * KD_VEC, lanes[v]);
            if (p->relu) y = kd_vec_relu(y);
            kd_vec_store_part(c + v * KD_VEC, y, lanes[v]);
        }
    }
}

/* The same at the last columns; once, for all numbers of rows. */
static __attribute__((noinline)) void finish_partial_tile(const kd_window_product *p,
                                                          kd_vec sum[ROWS][2], int64_t first,
                                                          int64_t column, int rows, int vectors) {
    const int64_t left = p->columns - column;
    finish_tile(p, sum, first, column, rows, vectors, (int64_t[]){left, left - KD_VEC});
}

/* `tiles` tiles of `rows` rows each, the first at `first`, in one panel `vectors` registers wide.
 * rows and vectors are constants wherever this is inlined, so that the sums stay in registers. */
KD_INLINE void panel_tiles(const kd_window_product *p, looking_ahead *ahead, int64_t first,
                           int64_t tiles, int64_t column, const int rows, const int vectors,
                           const bool pairs) {
    const int64_t step = p->a_step, segments = p->segments, length = p->length;
    const bool full = p->columns - column >= vectors * KD_VEC;
    for (int64_t end = first + tiles * rows; first < end; first += rows) {
        kd_vec sum[ROWS][2];
        const kd_real *a[ROWS], *b = p->b + column / KD_PANEL * p->b_panel;
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            a[i] = p->a + p->a_at[first + i];
            sum[i][0] = sum[i][1] = (kd_vec){0};
        }
        for (int64_t s = 0; s < segments; s++) {
            int64_t at = p->segment_at[s];
            for (int64_t k = 0; k < length; k++, at += step, b += KD_PANEL) {
                kd_vec row[2];
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++) row[v] = kd_vec_load(b + v * KD_VEC);
#pragma GCC unroll 16
                for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
                    for (int v = 0; v < vectors; v++)
                        sum[i][v] = pairs ? kd_vec_add_pair_products(sum[i][v], a[i][at], row[v])
                                          : sum[i][v] + a[i][at] * row[v];
            }
        }
        if (full) {
            finish_tile(p, sum, first, column, rows, vectors, (int64_t[]){KD_VEC, KD_VEC});
        } else {
            kd_vec copy[ROWS][2]; /* `sum` itself must have no address */
#pragma GCC unroll 16
            for (int i = 0; i < rows; i++) copy[i][0] = sum[i][0], copy[i][1] = sum[i][1];
            finish_partial_tile(p, copy, first, column, rows, vectors);
        }
        fetch_share(ahead);
    }
}

/* clang-format off */
#define TILES(n, vectors, pairs) \
    case n: panel_tiles(p, ahead, first, tiles, column, n, vectors, pairs); break;
#ifdef __AVX512F__
#define MORE_TILES(vectors, pairs) \
    TILES(7, vectors, pairs) TILES(8, vectors, pairs) TILES(9, vectors, pairs) \
    TILES(10, vectors, pairs) TILES(11, vectors, pairs) TILES(12, vectors, pairs)
#else
#define MORE_TILES(vectors, pairs) \
    TILES(7, vectors, pairs) TILES(8, vectors, pairs)
#endif
/* `tiles` tiles of `rows` rows, in a panel of two registers or of one, of numbers or of pairs. */
#define RUN(name, vectors, pairs) \
    static void name(const kd_window_product *p, looking_ahead *ahead, int64_t first, \
                     int64_t tiles, int64_t column, int64_t rows) { \
        switch (rows) { \
            TILES(1, vectors, pairs) TILES(2, vectors, pairs) TILES(3, vectors, pairs) \
            TILES(4, vectors, pairs) TILES(5, vectors, pairs) TILES(6, vectors, pairs) \
            MORE_TILES(vectors, pairs) \
        } \
    }
RUN(wide_tiles, 2, false)
RUN(narrow_tiles, 1, false)
RUN(wide_pair_tiles, 2, true)
RUN(narrow_pair_tiles, 1, true)
/* clang-format on */

void kd_window_product_run(const kd_window_product *p) {
    const int64_t panels = (p->columns + KD_PANEL - 1) / KD_PANEL;
    looking_ahead ahead;
    for (int i = 0; i < 4; i++) {
        ahead.left[i] = p->ahead[i];
        ahead.share[i] = p->ahead[i].size * WIDE / (p->rows * panels + 1) + 1;
    }
    for (int64_t column = 0; column < p->columns; column += KD_PANEL) {
        const bool wide = p->columns - column > KD_VEC;
        const int64_t most = wide ? WIDE : NARROW, tiles = (p->rows + most - 1) / most;
        /* The rows are shared out evenly, some tiles with one more: a last tile of a single row
         * would wait for its additions. */
        const int64_t rows = tiles ? p->rows / tiles : 0, more = p->rows - rows * tiles;
        void (*run)(const kd_window_product *, looking_ahead *, int64_t, int64_t, int64_t,
                    int64_t) = wide ? wide_tiles : narrow_tiles;
        if (p->pairs) run = wide ? wide_pair_tiles : narrow_pair_tiles;
        run(p, &ahead, 0, more, column, rows + 1);
        run(p, &ahead, more * (rows + 1), tiles - more, column, rows);
    }
}
