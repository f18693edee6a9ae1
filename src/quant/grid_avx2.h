/* kd_requantize of grid.h for eight numbers at a time. Only for files that check the processor. */
#ifndef KD_QUANT_GRID_AVX2_H
#define KD_QUANT_GRID_AVX2_H

#ifdef __x86_64__
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define KD_AVX2        __attribute__((target("avx2")))
#define KD_AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

KD_AVX2_INLINE __m256i kd_load_eight(const int32_t *from) {
    return _mm256_loadu_si256((const __m256i *)(const void *)from);
}

KD_AVX2_INLINE void kd_store_eight(int32_t *to, __m256i x) {
    _mm256_storeu_si256((__m256i *)(void *)to, x);
}

KD_AVX2_INLINE bool kd_any_negative(__m256i x) {
    return _mm256_movemask_ps(_mm256_castsi256_ps(x)) != 0;
}

/* Shifts must not be negative. The 64-bit products of the even and of the odd lanes, their bits
 * 31 … 62 put together again, then the shift that rounds half away from zero. */
KD_AVX2_INLINE __m256i kd_requantize_eight(__m256i x, __m256i factor, __m256i shift) {
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

#endif
#endif
