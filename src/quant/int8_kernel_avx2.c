/* The AVX2 kernel: both sides widened to 16 bits, vpmaddwd adds two products into an int32. It is
 * exact: 2·255·128 is far from 2^31. Six rows by sixteen channels of sums stay in registers. */
#include "quant/int8_kernel.h"

#include <stddef.h>

#ifdef __x86_64__
#include <immintrin.h>
#include <string.h>

__attribute__((target("avx2"), always_inline)) static inline void
rows_tile(const int rows, int64_t groups, const int16_t *a, int64_t stride, const int8_t *weight,
          int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    __m256i sum[KD_INT8_ROWS][2];
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (int64_t k = 0; k < groups; k++) {
        const __m128i *panel = (const __m128i *)(const void *)(weight + 32 * k);
        const __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128(panel));
        const __m256i w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128(panel + 1));
        for (int r = 0; r < rows; r++) {
            int32_t pair;
            memcpy(&pair, a + r * stride + 2 * k, sizeof pair);
            const __m256i x = _mm256_set1_epi32(pair);
            sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(x, w0));
            sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(x, w1));
        }
    }
    for (int r = 0; r < rows; r++) {
        _mm256_storeu_si256((__m256i *)(void *)c[r], sum[r][0]);
        _mm256_storeu_si256((__m256i *)(void *)(c[r] + 8), sum[r][1]);
    }
}

__attribute__((target("avx2"))) static void tile(int rows, int64_t groups, const void *a,
                                                 int64_t stride, const int8_t *weight,
                                                 int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    switch (rows) { /* a constant count of rows keeps the sums in registers */
    case 6:
        rows_tile(6, groups, a, stride, weight, c);
        break;
    case 5:
        rows_tile(5, groups, a, stride, weight, c);
        break;
    case 4:
        rows_tile(4, groups, a, stride, weight, c);
        break;
    case 3:
        rows_tile(3, groups, a, stride, weight, c);
        break;
    case 2:
        rows_tile(2, groups, a, stride, weight, c);
        break;
    default:
        rows_tile(1, groups, a, stride, weight, c);
        break;
    }
}

static const kd_int8_kernel avx2 = {"avx2", 2, true, tile};

const kd_int8_kernel *kd_int8_kernel_avx2(void) {
    return __builtin_cpu_supports("avx2") ? &avx2 : NULL;
}

#else

const kd_int8_kernel *kd_int8_kernel_avx2(void) {
    return NULL;
}

#endif
