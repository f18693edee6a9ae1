/* The AVX2 kernel: both sides widened to 16 bits, vpmaddwd adds two products into an int32. It is
 * exact: 2·255·128 is far from 2^31. Six rows by sixteen channels of sums stay in registers. */
#include "quant/int8_kernel.h"

#include <stddef.h>

#include "quant/grid_avx2.h"
#include "quant/int8_kernel_rows.h"

#ifdef __x86_64__
#include <string.h>

KD_AVX2_INLINE void rows_tile(const int rows, const kd_int8_windows *in, const int8_t *weight,
                              int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    const int64_t groups = in->groups;
    __m256i sum[KD_INT8_ROWS][2];
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    const int16_t *x[KD_INT8_ROWS];
    for (int r = 0; r < rows; r++) x[r] = in->row[r];
    for (int s = 0; s < in->segments; s++) {
        int64_t at = in->offset[s]; /* of all rows */
        for (int64_t k = 0; k < groups; k++, at += 2, weight += 2 * KD_INT8_COLUMNS) {
            const __m128i *panel = (const __m128i *)(const void *)weight;
            const __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128(panel));
            const __m256i w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128(panel + 1));
            for (int r = 0; r < rows; r++) {
                int32_t pair;
                memcpy(&pair, x[r] + at, sizeof pair);
                const __m256i both = _mm256_set1_epi32(pair);
                sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(both, w0));
                sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(both, w1));
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        _mm256_storeu_si256((__m256i *)(void *)c[r], sum[r][0]);
        _mm256_storeu_si256((__m256i *)(void *)(c[r] + 8), sum[r][1]);
    }
}

KD_AVX2 static void tile(const kd_int8_windows *in, const int8_t *weight,
                         int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    FOR_EACH_COUNT(in->rows, rows_tile, in, weight, c)
}

/* What eight channels' rounding needs, loaded once for all rows. */
typedef struct {
    __m256i bias, factor, shift;
} eight_channels;

KD_AVX2_INLINE eight_channels channels_at(const kd_int8_rounding *how, int at) {
    return (eight_channels){kd_load_eight(how->bias + at), kd_load_eight(how->factor + at),
                            kd_load_eight(how->shift + at)};
}

KD_AVX2_INLINE __m256i round_eight(const int32_t *sum, eight_channels c,
                                   const kd_int8_rounding *how) {
    const __m256i steps = _mm256_add_epi32(kd_load_eight(sum), c.bias);
    __m256i r = kd_requantize_eight(steps, c.factor, c.shift);
    r = _mm256_max_epi32(r, _mm256_set1_epi32(how->low));
    r = _mm256_min_epi32(r, _mm256_set1_epi32(how->high));
    return _mm256_add_epi32(r, _mm256_set1_epi32(how->zero));
}

KD_AVX2 void kd_int8_store_avx2(int rows, int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS],
                                const kd_int8_rounding *how) {
    const eight_channels low = channels_at(how, 0), high = channels_at(how, 8);
    if (kd_any_negative(_mm256_or_si256(low.shift, high.shift))) { /* M ≥ 1: rare */
        kd_int8_store_portable(rows, sum, how);
        return;
    }
    for (int r = 0; r < rows; r++) {
        uint8_t *out = how->out + r * how->row_stride;
        const __m256i both =
            _mm256_packus_epi32(round_eight(sum[r], low, how), round_eight(sum[r] + 8, high, how));
        const __m256i order = _mm256_permute4x64_epi64(both, 0xD8); /* the pack works in halves */
        const __m128i bytes =
            _mm_packus_epi16(_mm256_castsi256_si128(order), _mm256_extracti128_si256(order, 1));
        if (how->channels == KD_INT8_COLUMNS) {
            _mm_storeu_si128((__m128i *)(void *)out, bytes);
        } else {
            uint8_t stored[KD_INT8_COLUMNS];
            _mm_storeu_si128((__m128i *)(void *)stored, bytes);
            memcpy(out, stored, (size_t)how->channels);
        }
    }
}

static const kd_int8_kernel avx2 = {"avx2", 2, true, 6, tile, kd_int8_store_avx2, NULL};

const kd_int8_kernel *kd_int8_kernel_avx2(void) {
    return __builtin_cpu_supports("avx2") ? &avx2 : NULL;
}

#else

const kd_int8_kernel *kd_int8_kernel_avx2(void) {
    return NULL;
}

#endif
