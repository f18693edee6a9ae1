/* kd_requantize of grid.h for sixteen numbers at a time. Only for files that check the processor.
 */
#ifndef KD_QUANT_GRID_AVX512_H
#define KD_QUANT_GRID_AVX512_H

#ifdef __x86_64__
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define KD_AVX512        __attribute__((target("avx512f")))
#define KD_AVX512_INLINE __attribute__((target("avx512f"), always_inline)) static inline

/* As kd_requantize_eight (grid_avx2.h); odd_factor has the factors of the odd lanes in its even
 * ones. */
KD_AVX512_INLINE __m512i kd_requantize_sixteen(__m512i x, __m512i factor, __m512i odd_factor,
                                               __m512i shift) {
    const __m512i nudge = _mm512_set1_epi64(1 << 30), one = _mm512_set1_epi32(1);
    const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(x, factor), nudge);
    const __m512i odd =
        _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(x, 32), odd_factor), nudge);
    const __m512i high =
        _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 31), _mm512_slli_epi64(odd, 1));
    const __m512i mask = _mm512_sub_epi32(_mm512_sllv_epi32(one, shift), one);
    const __m512i threshold =
        _mm512_sub_epi32(_mm512_srli_epi32(mask, 1), _mm512_srai_epi32(high, 31));
    const __m512i low = _mm512_srav_epi32(high, shift);
    return _mm512_mask_add_epi32(
        low, _mm512_cmpgt_epi32_mask(_mm512_and_si512(high, mask), threshold), low, one);
}

#endif
#endif
