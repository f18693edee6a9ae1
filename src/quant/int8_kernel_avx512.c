/* The AVX512-VNNI kernel: vpdpbusd (int8_kernel_vnni.c) in 512-bit registers, sixteen channels
 * each, and the rounding while the sums are in them. */
#include "quant/int8_kernel.h"
#include "quant/int8_kernel_rows.h"

#include <stddef.h>

#ifdef __x86_64__
#include <string.h>

#include "quant/grid_avx512.h"

#define VNNI __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512vnni")))
#define VNNI_INLINE                                                                                \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512vnni"),                        \
                   always_inline)) static inline

VNNI_INLINE __m512i four_everywhere(const uint8_t *from) {
    int32_t four;
    memcpy(&four, from, sizeof four);
    return _mm512_set1_epi32(four);
}

VNNI_INLINE __m512i panel_at(const int8_t *weight, int64_t group) {
    return _mm512_loadu_si512(weight + group * 4 * KD_INT8_COLUMNS);
}

/* sum[0][r] = Σ_k of one panel. Two sums a row, of even and of odd groups: eight alone would wait
 * for each other. */
VNNI_INLINE void one_panel(const int rows, const kd_int8_windows *in, const int8_t *weight,
                           __m512i sum[KD_INT8_PANELS][KD_INT8_ROWS]) {
    const int64_t groups = in->groups;
    const uint8_t *x[KD_INT8_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        sum[0][r] = sum[1][r] = _mm512_setzero_si512();
        x[r] = in->row[r];
    }
    for (int s = 0; s < in->segments; s++, weight += groups * 4 * KD_INT8_COLUMNS) {
        const int64_t at = in->offset[s];
        int64_t k = 0;
        for (; k + 2 <= groups; k += 2) {
            const __m512i w0 = panel_at(weight, k), w1 = panel_at(weight, k + 1);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const uint8_t *from = x[r] + at + 4 * k;
                sum[0][r] = _mm512_dpbusd_epi32(sum[0][r], four_everywhere(from), w0);
                sum[1][r] = _mm512_dpbusd_epi32(sum[1][r], four_everywhere(from + 4), w1);
            }
        }
        if (k == groups) continue;
        const __m512i w = panel_at(weight, k);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            sum[0][r] = _mm512_dpbusd_epi32(sum[0][r], four_everywhere(x[r] + at + 4 * k), w);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) sum[0][r] = _mm512_add_epi32(sum[0][r], sum[1][r]);
}

/* sum[p][r] = Σ_k of panel p: what is read of a window is multiplied twice. */
VNNI_INLINE void two_panels(const int rows, const kd_int8_windows *in, const int8_t *weight,
                            int64_t panel_bytes, __m512i sum[KD_INT8_PANELS][KD_INT8_ROWS]) {
    const int64_t groups = in->groups;
    const uint8_t *x[KD_INT8_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        sum[0][r] = sum[1][r] = _mm512_setzero_si512();
        x[r] = in->row[r];
    }
    for (int s = 0; s < in->segments; s++, weight += groups * 4 * KD_INT8_COLUMNS) {
        const int64_t at = in->offset[s];
        for (int64_t k = 0; k < groups; k++) {
            const __m512i w0 = panel_at(weight, k), w1 = panel_at(weight + panel_bytes, k);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const __m512i four = four_everywhere(x[r] + at + 4 * k);
                sum[0][r] = _mm512_dpbusd_epi32(sum[0][r], four, w0);
                sum[1][r] = _mm512_dpbusd_epi32(sum[1][r], four, w1);
            }
        }
    }
}

VNNI_INLINE void tile_rows(const int rows, const kd_int8_windows *in, const int8_t *weight,
                           int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    __m512i sum[KD_INT8_PANELS][KD_INT8_ROWS];
    one_panel(rows, in, weight, sum);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) _mm512_storeu_si512(c[r], sum[0][r]);
}

VNNI static void tile(const kd_int8_windows *in, const int8_t *weight,
                      int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    FOR_EACH_COUNT(in->rows, tile_rows, in, weight, c)
}

/* --- rounding --------------------------------------------------------------------------------- */

/* What sixteen channels' rounding needs, loaded once for all rows. */
typedef struct {
    __m512i bias, factor, odd_factor, shift, zero, low,
        high; /* zero of 16 bits; bounds of stored bytes */
    __mmask16 kept;
} channels16;

VNNI_INLINE channels16 channels_at(const kd_int8_rounding *how, int at) {
    const int left = how->channels - at;
    const __m512i factor = _mm512_loadu_si512(how->factor + at);
    return (channels16){.bias = _mm512_loadu_si512(how->bias + at),
                        .factor = factor,
                        .odd_factor = _mm512_srli_epi64(factor, 32),
                        .shift = _mm512_loadu_si512(how->shift + at),
                        .zero = _mm512_set1_epi16((short)how->zero),
                        .low = _mm512_set1_epi8((char)(how->low + how->zero)),
                        .high = _mm512_set1_epi8((char)(how->high + how->zero)),
                        .kept = (__mmask16)(left < 16 ? (1U << left) - 1 : 0xFFFF)};
}

VNNI_INLINE bool any_above_one(const kd_int8_rounding *how, int at) { /* M ≥ 1: rare */
    return _mm512_movepi32_mask(_mm512_loadu_si512(how->shift + at)) != 0;
}

VNNI_INLINE __m512i round_sixteen(__m512i sum, const channels16 *c) {
    return kd_requantize_sixteen(_mm512_add_epi32(sum, c->bias), c->factor, c->odd_factor,
                                 c->shift);
}

/* Four rows become bytes together. Saturating at 16 bits changes no number between low and high. */
VNNI_INLINE __m512i bytes_of_four(const __m512i row[4], const channels16 *c) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i first = _mm512_adds_epi16(_mm512_packs_epi32(row[0], row[1]), c->zero);
    const __m512i second = _mm512_adds_epi16(_mm512_packs_epi32(row[2], row[3]), c->zero);
    const __m512i bytes = _mm512_packus_epi16(first, second);
    return _mm512_permutexvar_epi32(order,
                                    _mm512_min_epu8(_mm512_max_epu8(bytes, c->low), c->high));
}

VNNI_INLINE void store_bytes(uint8_t *out, __m128i bytes, __mmask16 kept) {
    if (kept == 0xFFFF)
        _mm_storeu_si128((__m128i *)(void *)out, bytes);
    else
        _mm_mask_storeu_epi8(out, kept, bytes);
}

/* Rows of sums become stored values. */
VNNI_INLINE void store_rows(const int rows, __m512i sum[KD_INT8_ROWS], const channels16 *c,
                            uint8_t *out, int64_t row_stride) {
    const __mmask16 kept = c->kept;
#pragma GCC unroll 2
    for (int r = 0; r < rows; r += 4) {
        __m512i row[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            row[i] = r + i < rows ? round_sixteen(sum[r + i], c) : _mm512_setzero_si512();
        const __m512i bytes = bytes_of_four(row, c);
        uint8_t *to = out + r * row_stride;
        store_bytes(to, _mm512_castsi512_si128(bytes), kept);
        if (r + 1 < rows) store_bytes(to + row_stride, _mm512_extracti32x4_epi32(bytes, 1), kept);
        if (r + 2 < rows)
            store_bytes(to + 2 * row_stride, _mm512_extracti32x4_epi32(bytes, 2), kept);
        if (r + 3 < rows)
            store_bytes(to + 3 * row_stride, _mm512_extracti32x4_epi32(bytes, 3), kept);
    }
}

VNNI_INLINE void store_loaded(const int rows, int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS],
                              const kd_int8_rounding *how) {
    const channels16 c = channels_at(how, 0);
    __m512i row[KD_INT8_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) row[r] = _mm512_loadu_si512(sum[r]);
    store_rows(rows, row, &c, how->out, how->row_stride);
}

VNNI static void store(int rows, int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS],
                       const kd_int8_rounding *how) {
    if (any_above_one(how, 0))
        kd_int8_store_portable(rows, sum, how);
    else
        FOR_EACH_COUNT(rows, store_loaded, sum, how)
}

VNNI_INLINE void run_one(const int rows, const kd_int8_windows *in, const int8_t *weight,
                         const kd_int8_rounding *how) {
    __m512i sum[KD_INT8_PANELS][KD_INT8_ROWS];
    one_panel(rows, in, weight, sum);
    const channels16 c = channels_at(how, 0);
    store_rows(rows, sum[0], &c, how->out, how->row_stride);
}

VNNI_INLINE void run_two(const int rows, const kd_int8_windows *in, const int8_t *weight,
                         int64_t panel_bytes, const kd_int8_rounding *how) {
    __m512i sum[KD_INT8_PANELS][KD_INT8_ROWS];
    two_panels(rows, in, weight, panel_bytes, sum);
#pragma GCC unroll 2
    for (int p = 0; p < KD_INT8_PANELS; p++) {
        const channels16 c = channels_at(how, p * KD_INT8_COLUMNS);
        store_rows(rows, sum[p], &c, how->out + p * KD_INT8_COLUMNS, how->row_stride);
    }
}

/* A panel whose multipliers need a shift to the left. */
static void run_apart(const kd_int8_windows *in, const int8_t *weight, const kd_int8_rounding *how,
                      int at) {
    int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS];
    kd_int8_rounding own = *how;
    own.bias += at, own.factor += at, own.shift += at, own.out += at;
    own.channels = how->channels - at < KD_INT8_COLUMNS ? how->channels - at : KD_INT8_COLUMNS;
    tile(in, weight, sum);
    kd_int8_store_portable(in->rows, sum, &own);
}

VNNI static void run(const kd_int8_windows *in, const int8_t *weight, int64_t panel_bytes,
                     const kd_int8_rounding *how) {
    const bool both = how->channels > KD_INT8_COLUMNS;
    if (any_above_one(how, 0) || (both && any_above_one(how, KD_INT8_COLUMNS))) {
        run_apart(in, weight, how, 0);
        if (both) run_apart(in, weight + panel_bytes, how, KD_INT8_COLUMNS);
    } else if (both) {
        FOR_EACH_COUNT(in->rows, run_two, in, weight, panel_bytes, how)
    } else {
        FOR_EACH_COUNT(in->rows, run_one, in, weight, how)
    }
}

static const kd_int8_kernel avx512vnni = {"avx512vnni", 4, false, 8, tile, store, run};

const kd_int8_kernel *kd_int8_kernel_avx512vnni(void) {
    return __builtin_cpu_supports("avx512vnni") ? &avx512vnni : NULL;
}

#else

const kd_int8_kernel *kd_int8_kernel_avx512vnni(void) {
    return NULL;
}

#endif
