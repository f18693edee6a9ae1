/* Pairs of bfloat16 numbers: two neighbours along the summed index of a product lie in the place of
 * one float, the earlier one in its lower half. Whatever moves floats (packing, transposing,
 * broadcasting) moves pairs.
 *
 * Rounding: to nearest, ties to even; sums are float32, and of a pair the upper product is added
 * first, each with one rounding. That is what AVX512-BF16 does, so that every set of loops gives
 * the same bits, except that AVX512-BF16 takes subnormal numbers for zeros. */
#ifndef KD_AUTOGRAD_VEC_PAIR_H
#define KD_AUTOGRAD_VEC_PAIR_H

#include "autograd/vec.h"

/* The 16 upper bits after rounding; a NaN stays one (and quiet). Without branches, so that loops of
 * it vectorise. */
static inline uint32_t kd_bfloat16_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t nan = 0u - (uint32_t)((bits & 0x7FFFFFFFu) > 0x7F800000u);
    const uint32_t nearest = bits + 0x7FFFu + ((bits >> 16) & 1u);
    return ((nearest & ~nan) | ((bits | 0x00400000u) & nan)) & 0xFFFF0000u;
}

#ifndef KD_DOUBLE
enum { KD_HAS_PAIRS = 1 };

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

static inline float kd_pair(float early, float late) {
    const uint32_t bits = kd_bfloat16_bits(early) >> 16 | kd_bfloat16_bits(late);
    float pair;
    memcpy(&pair, &bits, sizeof pair);
    return pair;
}

typedef uint32_t kd_vec_bits __attribute__((vector_size(KD_VEC_BYTES)));

KD_INLINE kd_vec_bits kd_vec_bfloat16_bits(kd_vec x) {
    const kd_vec_bits bits = (kd_vec_bits)x, nan = (kd_vec_bits)(x != x);
    const kd_vec_bits nearest = bits + 0x7FFFu + ((bits >> 16) & 1u);
    return (nearest & ~nan) | ((bits | 0x00400000u) & nan);
}

/* Pairs of (early[i], late[i]). */
KD_INLINE kd_vec kd_vec_pairs(kd_vec early, kd_vec late) {
#ifdef __AVX512BF16__
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)late, (__m512)early);
    return (kd_vec)_mm512_permutexvar_epi16(order, both);
#else
    return (kd_vec)(kd_vec_bfloat16_bits(early) >> 16 | (kd_vec_bfloat16_bits(late) & 0xFFFF0000u));
#endif
}

/* Pairs of neighbours among 2·KD_VEC numbers that lie behind each other. */
KD_INLINE kd_vec kd_vec_load_pairs(const float *from) {
    const kd_vec a = kd_vec_load(from), b = kd_vec_load(from + KD_VEC);
#ifdef __AVX512BF16__
    return (kd_vec)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
#elif KD_VEC_BYTES == 64
    return kd_vec_pairs(
        __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
        __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
#else
    return kd_vec_pairs(__builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14),
                        __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15));
#endif
}

/* sum + the products of one pair with KD_VEC others. */
KD_INLINE kd_vec kd_vec_add_pair_products(kd_vec sum, float pair, kd_vec with) {
#ifdef __AVX512BF16__
    return (kd_vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(pair), (__m512bh)with);
#else
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    const kd_vec_bits x = bits - (kd_vec_bits){0}, y = (kd_vec_bits)with;
    sum += (kd_vec)(x & 0xFFFF0000u) * (kd_vec)(y & 0xFFFF0000u);
    return sum + (kd_vec)(x << 16) * (kd_vec)(y << 16);
#endif
}

#else /* In double precision nothing is rounded: nobody asks for pairs. */

enum { KD_HAS_PAIRS = 0 };
KD_INLINE kd_real kd_pair(kd_real early, kd_real late) {
    (void)late;
    return early;
}
KD_INLINE kd_vec kd_vec_pairs(kd_vec early, kd_vec late) {
    (void)late;
    return early;
}
KD_INLINE kd_vec kd_vec_load_pairs(const kd_real *from) {
    return kd_vec_load(from);
}
KD_INLINE kd_vec kd_vec_add_pair_products(kd_vec sum, kd_real pair, kd_vec with) {
    return sum + pair * with;
}

#endif
#endif
