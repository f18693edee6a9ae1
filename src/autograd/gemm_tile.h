/* Inside gemm and the ops that tile themselves: sums of products that stay in registers.
 *
 * A tile is KD_TILE rows × KD_PANEL columns of a product: its sums, two vectors of the right side
 * and one element of the left fill the registers. The right side comes in panels of KD_PANEL
 * columns, y[k·KD_PANEL + n]; the left one mostly packed alike, x[k·KD_TILE + i].
 *
 * KD_PAIRS: both sides are packed as pairs of bfloat16 (vec_pair.h), and an element of x or y above
 * is a pair; a last number without a neighbour is paired with zero.
 *
 * Include behind `#pragma GCC optimize("fp-contract=fast")`: a·b + c should be one instruction. */
#ifndef KD_AUTOGRAD_GEMM_TILE_H
#define KD_AUTOGRAD_GEMM_TILE_H

#include <stdbool.h>
#include <string.h>

#include "autograd/gemm.h"
#include "autograd/vec_pair.h"
#include "autograd/vec_transpose.h"
#include "base/order.h"

#ifdef __AVX512F__
enum { KD_TILE = 12 };
#else
enum { KD_TILE = 6 };
#endif
enum { KD_PANEL = 2 * KD_VEC, KD_TILE_AHEAD = 8 /* rows asked for ahead of time */ };

typedef enum { KD_NUMBERS, KD_PAIRS } kd_tile_kind;

/* How many numbers an element of a packed side is; how many elements `depth` numbers are. */
KD_INLINE int64_t kd_tile_numbers(kd_tile_kind kind) {
    return kind == KD_PAIRS ? 2 : 1;
}
KD_INLINE int64_t kd_tile_elements(int64_t depth, kd_tile_kind kind) {
    return kind == KD_PAIRS ? (depth + 1) / 2 : depth;
}

/* The side of a product by its element (i, k): at[i·row + k·step]; row or step is 1. */
typedef struct {
    const kd_real *at;
    int64_t row, step;
} kd_tile_operand;

/* By (row, k) of a factor. */
KD_INLINE kd_tile_operand kd_tile_rows_of(kd_factor x) {
    return x.trans == KD_PLAIN ? (kd_tile_operand){x.at, x.ld, 1}
                               : (kd_tile_operand){x.at, 1, x.ld};
}

/* How operands are packed for products at `precision`. */
KD_INLINE kd_tile_kind kd_tile_kind_of(kd_precision precision) {
    return KD_HAS_PAIRS && precision == KD_PRECISION_BFLOAT16 ? KD_PAIRS : KD_NUMBERS;
}

/* --- copies ---------------------------------------------------------------------------------- */

/* out[e·width + i] = element e of o(first + i, ·), i < width, by squares; what is not below `end`
 * repeats the last row. */
KD_INLINE void kd_tile_pack_rows(kd_real *restrict out, const int width, kd_tile_operand o,
                                 int64_t first, int64_t end, int64_t depth,
                                 const kd_tile_kind kind) {
    const kd_real *row[2 * KD_PANEL];
    const int64_t numbers = kd_tile_numbers(kind);
    for (int i = 0; i < width + KD_VEC; i++) row[i] = o.at + kd_smaller(first + i, end - 1) * o.row;
    int64_t k = 0;
    for (; k + numbers * KD_VEC <= depth; k += numbers * KD_VEC, out += KD_VEC * width)
        for (int at = 0; at < width; at += KD_VEC) {
            kd_vec v[KD_VEC];
#pragma GCC unroll 16
            for (int i = 0; i < KD_VEC; i++)
                v[i] = kind == KD_PAIRS ? kd_vec_load_pairs(row[at + i] + k)
                                        : kd_vec_load(row[at + i] + k);
            kd_vec_transpose(v);
#pragma GCC unroll 16
            for (int i = 0; i < KD_VEC; i++)
                kd_vec_store_part(out + i * width + at, v[i], width - at);
        }
    for (; k < depth; k += numbers, out += width)
        for (int i = 0; i < width; i++)
            out[i] = kind == KD_PAIRS ? kd_pair(row[i][k], k + 1 < depth ? row[i][k + 1] : 0)
                                      : row[i][k];
}

/* `width` elements of two lines of memory, of which the first `left` numbers exist; else zeros. */
KD_INLINE void kd_tile_join_lines(kd_real *restrict out, const int width, const kd_real *early,
                                  const kd_real *late, int64_t left) {
    for (int i = 0; i < width; i += KD_VEC) {
        const int64_t n = left - i < 0 ? 0 : left - i;
        const kd_vec a = kd_vec_load_part(early + i, n);
        const kd_vec b = late ? kd_vec_load_part(late + i, n) : (kd_vec){0};
        kd_vec_store_part(out + i, kd_vec_pairs(a, b), width - i);
    }
}

/* The same for o.row = 1 and all of [first, end), group after group of `width`: each of the
 * scattered lines of memory is read once, and asked for ahead of time. What is not below `end` is
 * zero: sums of leftover numbers could be slow (subnormal), though nobody reads them. */
KD_INLINE void kd_tile_pack_columns(kd_real *restrict out, const int width, kd_tile_operand o,
                                    int64_t first, int64_t end, int64_t depth,
                                    const kd_tile_kind kind) {
    const int64_t numbers = kd_tile_numbers(kind), group = kd_tile_elements(depth, kind) * width;
    for (int64_t k = 0; k < depth; k += numbers, out += width) {
        const kd_real *restrict from = o.at + k * o.step;
        const kd_real *later = from + kd_smaller(KD_TILE_AHEAD, depth - 1 - k) * o.step;
        const kd_real *after = from + kd_smaller(KD_TILE_AHEAD + 1, depth - 1 - k) * o.step;
        const kd_real *next = k + 1 < depth ? from + o.step : NULL;
        for (int64_t i = first; i < end; i += 64 / (int64_t)sizeof *out) {
            __builtin_prefetch(later + i);
            if (kind == KD_PAIRS) __builtin_prefetch(after + i);
        }
        kd_real *restrict to = out;
        int64_t i = first;
        if (kind == KD_PAIRS) {
            for (; i < end; i += width, to += group)
                kd_tile_join_lines(to, width, from + i, next ? next + i : NULL, end - i);
            continue;
        }
        for (; i + width <= end; i += width, to += group)
            memcpy(to, from + i, (size_t)width * sizeof *to);
        if (i < end) {
            memcpy(to, from + i, (size_t)(end - i) * sizeof *to);
            memset(to + (end - i), 0, (size_t)(width - (end - i)) * sizeof *to);
        }
    }
}

/* Rows [first, end) by groups of `width`, each kd_tile_elements(depth) · width elements. */
KD_INLINE void kd_tile_pack_kind(kd_real *restrict out, const int width, kd_tile_operand o,
                                 int64_t first, int64_t end, int64_t depth,
                                 const kd_tile_kind kind) {
    if (o.row == 1) {
        kd_tile_pack_columns(out, width, o, first, end, depth, kind);
        return;
    }
    for (int64_t i = first; i < end; i += width)
        kd_tile_pack_rows(out + (i - first) * kd_tile_elements(depth, kind), width, o, i, end,
                          depth, kind);
}

KD_INLINE void kd_tile_pack(kd_real *restrict out, const int width, kd_tile_operand o,
                            int64_t first, int64_t end, int64_t depth, kd_tile_kind kind) {
    if (kind == KD_PAIRS)
        kd_tile_pack_kind(out, width, o, first, end, depth, KD_PAIRS);
    else
        kd_tile_pack_kind(out, width, o, first, end, depth, KD_NUMBERS);
}

/* --- a tile ---------------------------------------------------------------------------------- */

/* Where sums go: c[i·ldc + n], i < rows, n < columns ≤ KD_PANEL. */
typedef struct {
    kd_real *c;
    int64_t ldc, rows, columns;
    bool add;
    kd_real scale; /* of pairs: what their sums are multiplied with */
} kd_tile_target;

KD_INLINE void kd_tile_store(kd_vec sum[KD_TILE][2], kd_tile_target t, const kd_tile_kind kind) {
#pragma GCC unroll 16
    for (int i = 0; i < KD_TILE; i++) {
        if (i >= t.rows) break;
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            const int64_t left = t.columns - v * KD_VEC;
            kd_real *to = t.c + i * t.ldc + v * KD_VEC;
            if (left <= 0) break;
            if (kind == KD_PAIRS) sum[i][v] *= t.scale;
            if (t.add) sum[i][v] += kd_vec_load_part(to, left);
            kd_vec_store_part(to, sum[i][v], left);
        }
    }
}

static __attribute__((noinline, unused)) void
kd_tile_store_partial(kd_vec sum[KD_TILE][2], kd_tile_target t, kd_tile_kind kind) {
    kd_tile_store(sum, t, kind);
}

/* Sums of x[i][k·step] · y[k·KD_PANEL + n] over k, in `rows` times `vectors` registers. */
KD_INLINE void kd_tile_sums(const kd_real *const x[KD_TILE], const int step,
                            const kd_real *restrict y, int64_t depth, kd_tile_target t,
                            const int rows, const int vectors, const kd_tile_kind kind) {
    kd_vec sum[KD_TILE][2];
#pragma GCC unroll 16
    for (int i = 0; i < KD_TILE; i++) sum[i][0] = sum[i][1] = (kd_vec){0};
    for (int64_t k = 0; k < depth; k++, y += KD_PANEL) {
        kd_vec row[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) row[v] = kd_vec_load(y + v * KD_VEC);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const kd_real a = x[i][k * step];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[i][v] = kind == KD_PAIRS ? kd_vec_add_pair_products(sum[i][v], a, row[v])
                                             : sum[i][v] + a * row[v];
        }
    }
    if (t.rows == KD_TILE && t.columns == KD_PANEL) {
        t.rows = KD_TILE, t.columns = KD_PANEL;
        kd_tile_store(sum, t, kind);
    } else {
        kd_vec copy[KD_TILE][2]; /* `sum` itself must have no address */
#pragma GCC unroll 16
        for (int i = 0; i < KD_TILE; i++) copy[i][0] = sum[i][0], copy[i][1] = sum[i][1];
        kd_tile_store_partial(copy, t, kind);
    }
}

/* A tile at the edge takes half the rows or half the registers where those are enough. Whatever is
 * taken, an element is one chain of multiply-adds along k: the same bits. */
KD_INLINE void kd_tile_multiply(const kd_real *const x[KD_TILE], const int step,
                                const kd_real *restrict y, int64_t depth, kd_tile_target t,
                                const kd_tile_kind kind) {
    enum { HALF = KD_TILE / 2 };
    if (t.columns > KD_VEC)
        if (t.rows > HALF)
            kd_tile_sums(x, step, y, depth, t, KD_TILE, 2, kind);
        else
            kd_tile_sums(x, step, y, depth, t, HALF, 2, kind);
    else
        kd_tile_sums(x, step, y, depth, t, KD_TILE, 1, kind);
}

/* The same where x is packed; `depth` elements. */
static inline void kd_tile_multiply_packed(const kd_real *x, const kd_real *y, int64_t depth,
                                           kd_tile_target t, kd_tile_kind kind) {
    const kd_real *row[KD_TILE];
    for (int i = 0; i < KD_TILE; i++) row[i] = x + i;
    if (kind == KD_PAIRS)
        kd_tile_multiply(row, KD_TILE, y, depth, t, KD_PAIRS);
    else
        kd_tile_multiply(row, KD_TILE, y, depth, t, KD_NUMBERS);
}

#endif
