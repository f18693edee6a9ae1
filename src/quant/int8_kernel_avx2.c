/* The AVX2 kernel: both sides widened to 16 bits, vpmaddwd adds two products into an int32. It is
 * exact: 2·255·128 is far from 2^31. Six rows by sixteen channels of sums stay in registers. */
#include "quant/int8_kernel.h"

#include <stddef.h>

#ifdef __x86_64__
#include <immintrin.h>
#include <string.h>

__attribute__((target("avx2"), always_inline)) static inline void
rows_tile(const int rows, const kd_int8_windows *in, const int8_t *weight,
          int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    const int64_t groups = in->groups;
    __m256i sum[KD_INT8_ROWS][2];
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (int s = 0; s < in->segments; s++) {
        const int16_t *x[KD_INT8_ROWS];
        for (int r = 0; r < rows; r++) x[r] = (const int16_t *)in->row[r] + in->offset[s];
        for (int64_t k = 0; k < groups; k++, weight += 2 * KD_INT8_COLUMNS) {
            const __m128i *panel = (const __m128i *)(const void *)weight;
            const __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128(panel));
            const __m256i w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128(panel + 1));
            for (int r = 0; r < rows; r++) {
                int32_t pair;
                memcpy(&pair, x[r] + 2 * k, sizeof pair);
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

/* A constant count of rows keeps the sums in registers. */
__attribute__((target("avx2"))) static void tile(const kd_int8_windows *in, const int8_t *weight,
                                                 int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    switch (in->rows) {
    case 6:
        rows_tile(6, in, weight, c);
        break;
    case 5:
        rows_tile(5, in, weight, c);
        break;
    case 4:
        rows_tile(4, in, weight, c);
        break;
    case 3:
        rows_tile(3, in, weight, c);
        break;
    case 2:
        rows_tile(2, in, weight, c);
        break;
    default:
        rows_tile(1, in, weight, c);
        break;
    }
}

/* kd_requantize of eight numbers whose shifts are not negative (grid.h): the even and the odd
 * lanes' 64-bit products, their bits 31 … 62 put together again, then the shift that rounds half
 * away. */
__attribute__((target("avx2"), always_inline)) static inline __m256i
requantize_eight(__m256i x, __m256i factor, __m256i shift) {
    const __m256i nudge = _mm256_set1_epi64x(1 << 30), one = _mm256_set1_epi32(1);
    __m256i even = _mm256_mul_epi32(x, factor);
    __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(factor, 32));
    even = _mm256_srli_epi64(_mm256_add_epi64(even, nudge), 31);
    odd = _mm256_slli_epi64(_mm256_add_epi64(odd, nudge), 1);
    const __m256i high = _mm256_blend_epi32(even, odd, 0xAA);
    const __m256i mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, shift), one);
    const __m256i threshold =
        _mm256_sub_epi32(_mm256_srli_epi32(mask, 1), _mm256_srai_epi32(high, 31));
    const __m256i up = _mm256_cmpgt_epi32(_mm256_and_si256(high, mask), threshold);
    return _mm256_sub_epi32(_mm256_srav_epi32(high, shift), up);
}

__attribute__((target("avx2"), always_inline)) static inline __m256i
load_eight(const int32_t *from) {
    return _mm256_loadu_si256((const __m256i *)(const void *)from);
}

__attribute__((target("avx2"), always_inline)) static inline __m256i
store_eight(const int32_t *sum, const kd_int8_rounding *how, int at) {
    const __m256i steps = _mm256_add_epi32(load_eight(sum + at), load_eight(how->bias + at));
    __m256i r = requantize_eight(steps, load_eight(how->factor + at), load_eight(how->shift + at));
    r = _mm256_max_epi32(r, _mm256_set1_epi32(how->low));
    r = _mm256_min_epi32(r, _mm256_set1_epi32(how->high));
    return _mm256_add_epi32(r, _mm256_set1_epi32(how->zero));
}

__attribute__((target("avx2"))) void kd_int8_store_avx2(const int32_t sum[KD_INT8_COLUMNS],
                                                        const kd_int8_rounding *how,
                                                        uint8_t out[KD_INT8_COLUMNS]) {
    const __m256i shifts = _mm256_or_si256(load_eight(how->shift), load_eight(how->shift + 8));
    if (_mm256_movemask_ps(_mm256_castsi256_ps(shifts))) { /* a multiplier of 1 or more: rare */
        kd_int8_store_portable(sum, how, out);
        return;
    }
    const __m256i both =
        _mm256_packus_epi32(store_eight(sum, how, 0), store_eight(sum, how, 8)); /* 0 2 1 3 */
    const __m256i order = _mm256_permute4x64_epi64(both, 0xD8);
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(order), _mm256_extracti128_si256(order, 1));
    _mm_storeu_si128((__m128i *)(void *)out, bytes);
}

static const kd_int8_kernel avx2 = {"avx2", 2, true, tile, kd_int8_store_avx2};

const kd_int8_kernel *kd_int8_kernel_avx2(void) {
    return __builtin_cpu_supports("avx2") ? &avx2 : NULL;
}

#else

const kd_int8_kernel *kd_int8_kernel_avx2(void) {
    return NULL;
}

#endif
