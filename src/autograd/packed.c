#include "autograd/packed.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/packed_kernel.h"
#include "base/error.h"

enum { PANEL = KD_PACKED_PANEL, BLOCK = KD_STEPS_BLOCK };

#define KIND(name, bits, zero, offset, sub) {bits, zero, offset, sub},
static const kd_steps_kind KINDS[] = {KD_STEPS_KINDS(KIND)};
#undef KIND

static int find(const kd_steps_kind *kind) {
    int i = 0;
    while (i < KD_STEPS_COUNT && (KINDS[i].bits != kind->bits || KINDS[i].zero != kind->zero ||
                                  KINDS[i].offset != kind->offset || KINDS[i].sub != kind->sub))
        i++;
    return i;
}

static kd_packed measure(int which, int64_t rows, int64_t columns) {
    const kd_steps_kind *kind = &KINDS[which];
    return (kd_packed){.rows = rows,
                       .columns = columns,
                       .which = which,
                       .codes_bytes = columns / BLOCK * kd_steps_code_bytes(*kind),
                       .scales_bytes =
                           columns / kd_steps_block(*kind) * kd_steps_scale_bytes(*kind)};
}

static int64_t panels_of(const kd_packed *W) {
    return (W->rows + PANEL - 1) / PANEL;
}

int64_t kd_packed_bytes(const kd_steps_kind *kind, int64_t rows, int64_t columns) {
    const int which = find(kind);
    if (which == KD_STEPS_COUNT || columns % kd_steps_block(*kind)) return 0;
    const kd_packed W = measure(which, rows, columns);
    return (panels_of(&W) * (W.codes_bytes + W.scales_bytes) + 63) / 64 * 64;
}

/* --- packing ------------------------------------------------------------------------------------
 */

/* The codes of 32 columns of row i of a panel, four at a time. */
static void put_codes(unsigned char *out, const uint8_t *code, int i, int bits) {
    uint32_t four[8];
    memcpy(four, code, sizeof four);
    for (int g = 0; g < 8 && bits == 8; g++) memcpy(out + 64 * g + 4 * i, &four[g], 4);
    if (bits == 8) return;
    for (int g = 0; g < 4; g++) {
        const uint32_t pair = (four[g] & 0x0f0f0f0f) | (four[g + 4] & 0x0f0f0f0f) << 4;
        memcpy(out + 64 * g + 4 * i, &pair, sizeof pair);
    }
    out += 256;
    for (int g = 0; g < 8 && bits == 5; g++) {
        const uint32_t fifth = four[g] >> 4 & 0x01010101;
        const uint32_t together = (fifth | fifth >> 7 | fifth >> 14 | fifth >> 21) & 15;
        out[8 * g + i / 2] = (unsigned char)(out[8 * g + i / 2] | together << i % 2 * 4);
    }
    for (int h = 0; h < 2 && bits == 6; h++) {
        uint32_t upper = 0;
        for (int g = 0; g < 4; g++) upper |= (four[4 * h + g] >> 4 & 0x03030303) << 2 * g;
        memcpy(out + 64 * h + 4 * i, &upper, sizeof upper);
    }
}

static void put_scales(unsigned char *out, const kd_row_steps *row, int i, int64_t blocks,
                       const kd_steps_kind *kind) {
    const int subs = kind->sub ? KD_STEPS_SUPER / kind->sub : 0;
    for (int64_t b = 0; b < blocks; b++, out += kd_steps_scale_bytes(*kind)) {
        memcpy(out + 2 * i, &row->d[b], sizeof *row->d);
        if (kind->offset) memcpy(out + 2 * PANEL + 2 * i, &row->m[b], sizeof *row->m);
        unsigned char *small = out + kd_steps_halves_bytes(*kind) + i;
        for (int j = 0; j < subs; j++, small += kd_steps_small_bytes(*kind)) {
            small[0] = (unsigned char)row->s[b * subs + j];
            if (kind->offset) small[PANEL] = (unsigned char)row->o[b * subs + j];
        }
    }
}

/* The arrays of a row in one piece of memory. */
static unsigned char *row_alloc(kd_row_steps *row, int64_t columns) {
    const size_t n = (size_t)columns, halves = n / BLOCK * sizeof(uint16_t), small = n / 16;
    unsigned char *memory = malloc(n + 2 * halves + 2 * small);
    if (!memory) return NULL;
    uint16_t *d = (uint16_t *)(void *)(memory + n); /* n is a multiple of 32 */
    int8_t *s = (int8_t *)(memory + n + 2 * halves);
    *row = (kd_row_steps){memory, d, d + n / BLOCK, s, s + small};
    return memory;
}

static void fill_panel(const kd_packed *W, const kd_constant *constant, const kd_steps_kind *kind,
                       const kd_constant_steps *steps, int64_t panel, kd_row_steps *row) {
    unsigned char *codes = W->codes + panel * W->codes_bytes;
    unsigned char *scales = W->scales + panel * W->scales_bytes;
    memset(codes, 0, (size_t)W->codes_bytes);
    memset(scales, 0, (size_t)W->scales_bytes);
    for (int i = 0; i < PANEL && panel * PANEL + i < W->rows; i++) {
        steps->row(constant, row, panel * PANEL + i);
        for (int64_t b = 0; b < W->columns / BLOCK; b++)
            put_codes(codes + b * kd_steps_code_bytes(*kind), row->code + b * BLOCK, i, kind->bits);
        put_scales(scales, row, i, W->columns / kd_steps_block(*kind), kind);
    }
}

int kd_packed_fill(kd_packed *out, void *memory, const kd_constant *constant, int64_t rows,
                   int64_t columns) {
    const kd_constant_steps *steps = constant->steps;
    kd_packed W = measure(find(&steps->kind), rows, columns);
    const int64_t panels = panels_of(&W);
    atomic_bool good = true;
    W.kernel = kd_packed_kernel_choose();
    W.codes = memory;
    W.scales = W.codes + panels * W.codes_bytes;
    *out = W;
#pragma omp parallel
    {
        kd_row_steps row;
        unsigned char *arrays = row_alloc(&row, columns);
        if (!arrays) atomic_store_explicit(&good, false, memory_order_relaxed);
#pragma omp for schedule(static)
        for (int64_t panel = 0; panel < panels; panel++)
            if (arrays) fill_panel(&W, constant, &KINDS[W.which], steps, panel, &row);
        free(arrays);
    }
    return good ? KD_OK : kd_fail_memory((size_t)columns, "a row of weights");
}

/* --- products -----------------------------------------------------------------------------------
 */

static kd_rounded_rows take_rows(kd_tape *tape, int64_t rows, int64_t columns) {
    const size_t n = (size_t)(rows * columns), blocks = n / BLOCK;
    float *scale = kd_tape_take(tape, n + 4 * blocks * sizeof *scale);
    int32_t *minus = (int32_t *)(void *)(scale + 2 * blocks);
    return (kd_rounded_rows){.rows = rows,
                             .columns = columns,
                             .scale = scale,
                             .total = scale + blocks,
                             .minus = minus,
                             .step = (int8_t *)(void *)(minus + 2 * blocks)};
}

/* All rows of A times one panel. */
static void multiply_panel(const kd_packed_product *p, const kd_rounded_rows *A, int64_t panel) {
    const int64_t N = p->W->rows, left = N - panel * PANEL;
    const int units = (int)(left < PANEL ? left : PANEL);
    for (int64_t row = 0; row < A->rows;) {
        float out[KD_PACKED_ROWS * PANEL] __attribute__((aligned(64)));
        const int64_t rest = A->rows - row;
        const int rows = rest >= 8 ? 8 : rest >= 4 ? 4 : rest >= 2 ? 2 : 1;
        p->W->kernel->tile(p->W, panel, A, row, rows, out);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < units; i++)
                p->C[(row + r) * N + panel * PANEL + i] = out[r * PANEL + i];
        row += rows;
    }
}

enum { FEW = 4 /* rows that one thread rounds for all */, SERIAL = 1 << 15 /* multiply-adds */ };

/* Piece `piece` of so many, of the panels of all products. */
static void multiply_piece(const kd_packed_product *product, int count, const kd_rounded_rows *A,
                           int64_t piece, int64_t pieces) {
    for (int i = 0; i < count; i++) {
        const int64_t panels = panels_of(product[i].W);
        for (int64_t n = panels * piece / pieces; n < panels * (piece + 1) / pieces; n++)
            multiply_panel(&product[i], A, n);
    }
}

void kd_packed_multiply(kd_tape *tape, const kd_real *A, int64_t lda, int64_t rows,
                        const kd_packed_product *product, int count) {
    kd_rounded_rows rounded = take_rows(tape, rows, product[0].W->columns);
    const int64_t pieces = 4 * omp_get_max_threads(); /* no sum is cut */
    int64_t units = 0;
    for (int i = 0; i < count; i++) {
        KD_CONTRACT(product[i].W->columns == rounded.columns, "matrices of %lld and %lld columns",
                    (long long)product[i].W->columns, (long long)rounded.columns);
        units += product[i].W->rows;
    }
    if (rows <= FEW) kd_packed_round(&rounded, A, lda, 0, rows);
#pragma omp parallel if (rows * units * rounded.columns >= SERIAL)
    {
        if (rows > FEW) {
#pragma omp for schedule(static)
            for (int64_t row = 0; row < rows; row++)
                kd_packed_round(&rounded, A, lda, row, row + 1);
        }
#pragma omp for schedule(dynamic, 1)
        for (int64_t piece = 0; piece < pieces; piece++)
            multiply_piece(product, count, &rounded, piece, pieces);
    }
    kd_tape_give(tape, rounded.scale);
}
