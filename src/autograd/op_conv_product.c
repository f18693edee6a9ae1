/* The inner loops of convolution: see conv_kernels.h. */
#include "autograd/conv_kernels.h"

/* Let a·b + c be one instruction; -std=c11 would forbid it. */
#pragma GCC optimize("fp-contract=fast")

/* Rows of C held in registers at once: ROWS × 2 sums, two vectors of B and one element of A fill
 * the 16 registers of AVX2 (of 32 in AVX-512). */
#ifdef __AVX512F__
enum { ROWS = 12 };
#else
enum { ROWS = 6 };
#endif

/* Rows first … first+rows−1 of one panel, `vectors` registers wide; `rows` and `vectors` are
 * constants wherever this is inlined, so that the sums stay in registers. */
KD_INLINE void panel_rows(const kd_window_product *p, int64_t first, int64_t column, const int rows,
                          const int vectors) {
    kd_vec sum[ROWS][2];
    const kd_real *a[ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        a[i] = p->a + p->a_at[first + i];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            int64_t at = column + v * KD_VEC, left = p->columns - at;
            sum[i][v] = (kd_vec){0};
            if (p->bias)
                sum[i][v] = kd_vec_load_part(p->bias + at, left);
            else if (p->add)
                sum[i][v] = kd_vec_load_part(p->c + p->c_at[first + i] + at, left);
        }
    }
    const kd_real *b = p->b + column / KD_PANEL * p->b_panel;
    const int64_t step = p->a_step;
    for (int64_t s = 0; s < p->segments; s++) {
        int64_t at = s * p->a_pitch;
        for (int64_t k = 0; k < p->length; k++, at += step, b += KD_PANEL) {
            kd_vec row[2];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) row[v] = kd_vec_load(b + v * KD_VEC);
#pragma GCC unroll 16
            for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++) sum[i][v] += a[i][at] * row[v];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            int64_t at = column + v * KD_VEC;
            kd_vec y = p->relu ? kd_vec_relu(sum[i][v]) : sum[i][v];
            kd_vec_store_part(p->c + p->c_at[first + i] + at, y, p->columns - at);
        }
}

#define CASE(n)                                                                                    \
    case n:                                                                                        \
        if (wide)                                                                                  \
            panel_rows(p, first, column, n, 2);                                                    \
        else                                                                                       \
            panel_rows(p, first, column, n, 1);                                                    \
        break;

static void panel(const kd_window_product *p, int64_t first, int64_t rows, int64_t column) {
    bool wide = p->columns - column > KD_VEC;
    switch (rows) {
        CASE(1)
        CASE(2)
        CASE(3) CASE(4) CASE(5) CASE(6)
#ifdef __AVX512F__
            CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
    }
}

/* The rows are shared out evenly: a last tile of one row would wait for its additions. */
void kd_window_product_run(const kd_window_product *p) {
    int64_t tiles = (p->rows + ROWS - 1) / ROWS;
    for (int64_t column = 0; column < p->columns; column += KD_PANEL)
        for (int64_t t = 0; t < tiles; t++) {
            int64_t first = p->rows * t / tiles;
            panel(p, first, p->rows * (t + 1) / tiles - first, column);
        }
}
