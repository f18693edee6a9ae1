/* The rounding of grid.h over arrays: what the fake-quant ops and the integer inference spend their
 * time in besides products. Compilers make poor vector code of it, so it is written out once. */
#include "quant/grid.h"
#include "quant/grid_avx2.h"

#ifdef __x86_64__

/* Whole eights from `at` on whose multipliers are below 1; returns where it stopped. */
KD_AVX2 static int64_t requantize_eights(int32_t *x, const int32_t *factor, const int32_t *shift,
                                         int64_t at, int64_t n) {
    for (; at + 8 <= n; at += 8) {
        const __m256i s = kd_load_eight(shift + at);
        if (kd_any_negative(s)) break;
        kd_store_eight(x + at,
                       kd_requantize_eight(kd_load_eight(x + at), kd_load_eight(factor + at), s));
    }
    return at;
}

KD_AVX2 static int64_t add_eights(int32_t *out, const int32_t *a, const int32_t *b,
                                  const kd_add_multipliers *m, int64_t n) {
    const __m256i factor_a = _mm256_set1_epi32(m->a.factor),
                  shift_a = _mm256_set1_epi32(m->a.shift);
    const __m256i factor_b = _mm256_set1_epi32(m->b.factor),
                  shift_b = _mm256_set1_epi32(m->b.shift);
    const __m256i factor = _mm256_set1_epi32(m->out.factor),
                  shift = _mm256_set1_epi32(m->out.shift);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i x = _mm256_slli_epi32(kd_load_eight(a + i), KD_ADD_HEADROOM);
        const __m256i y = _mm256_slli_epi32(kd_load_eight(b + i), KD_ADD_HEADROOM);
        const __m256i sum = _mm256_add_epi32(kd_requantize_eight(x, factor_a, shift_a),
                                             kd_requantize_eight(y, factor_b, shift_b));
        kd_store_eight(out + i, kd_requantize_eight(sum, factor, shift));
    }
    return i;
}

static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2");
}

#endif

void kd_requantize_run(int32_t *x, const int32_t *factor, const int32_t *shift, int64_t n) {
    int64_t i = 0;
    while (i < n) {
#ifdef __x86_64__
        if (has_avx2()) i = requantize_eights(x, factor, shift, i, n);
#endif
        const int64_t end = n - i < 8 ? n : i + 8; /* a tail, or eight that need a left shift */
        for (; i < end; i++) x[i] = kd_requantize(x[i], factor[i], shift[i]);
    }
}

void kd_add_steps_run(int32_t *out, const int32_t *a, const int32_t *b, const kd_add_multipliers *m,
                      int64_t n) {
    int64_t i = 0;
#ifdef __x86_64__
    if (has_avx2() && m->a.shift >= 0 && m->b.shift >= 0 && m->out.shift >= 0)
        i = add_eights(out, a, b, m, n);
#endif
    for (; i < n; i++) out[i] = kd_add_steps(a[i], b[i], m);
}
