/* One register of floats from halves, bfloat16 or signed bytes. KD_VEC_COMPACT says that these are
 * there. */
#ifndef KD_AUTOGRAD_VEC_COMPACT_H
#define KD_AUTOGRAD_VEC_COMPACT_H

#include "autograd/vec.h"

#if defined(__AVX2__) && defined(__F16C__) && !defined(KD_DOUBLE)
#define KD_VEC_COMPACT
#include <immintrin.h>

KD_INLINE kd_vec kd_vec_load_halves(const uint16_t *from) {
#ifdef __AVX512F__
    return (kd_vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)from));
#else
    return (kd_vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)from));
#endif
}

KD_INLINE kd_vec kd_vec_load_brains(const uint16_t *from) {
#ifdef __AVX512F__
    const __m256i brains = _mm256_loadu_si256((const __m256i *)(const void *)from);
    return (kd_vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(brains), 16);
#else
    const __m128i brains = _mm_loadu_si128((const __m128i *)(const void *)from);
    return (kd_vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(brains), 16);
#endif
}

KD_INLINE void kd_vec_store_halves(uint16_t *to, kd_vec x) {
#ifdef __AVX512F__
    _mm256_storeu_si256((__m256i *)(void *)to,
                        _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT));
#else
    _mm_storeu_si128((__m128i *)(void *)to, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
#endif
}

KD_INLINE kd_vec kd_vec_load_bytes(const int8_t *from) {
#ifdef __AVX512F__
    return (kd_vec)_mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)from)));
#else
    return (kd_vec)_mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from)));
#endif
}

#endif
#endif
