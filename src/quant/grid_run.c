/* The rounding of grid.h over arrays: what the fake-quant ops and the integer inference spend their
 * time in besides products. Compilers make poor vector code of it, so it is written out once. */
#include "quant/grid.h"
#include "quant/grid_avx2.h"
#include "quant/grid_avx512.h"

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

/* An addend with the larger scale has the multiplier 1/2: a·2^20 becomes a·2^19 without a rounding.
 */
static bool is_half(const kd_multiplier *m) {
    return m->factor == 1 << 30 && m->shift == 0;
}

typedef struct {
    __m256i factor, shift;
} eight_multipliers;

KD_AVX2_INLINE eight_multipliers eight_of(const kd_multiplier *m) {
    return (eight_multipliers){_mm256_set1_epi32(m->factor), _mm256_set1_epi32(m->shift)};
}

KD_AVX2_INLINE __m256i eight_addends(const int32_t *from, const bool half, eight_multipliers m) {
    const __m256i x = kd_load_eight(from);
    if (half) return _mm256_slli_epi32(x, KD_ADD_HEADROOM - 1);
    return kd_requantize_eight(_mm256_slli_epi32(x, KD_ADD_HEADROOM), m.factor, m.shift);
}

KD_AVX2_INLINE int64_t add_eights(int32_t *out, const int32_t *a, const int32_t *b,
                                  const kd_add_multipliers *m, const bool half, int64_t n) {
    const eight_multipliers by_a = eight_of(&m->a), by_b = eight_of(&m->b), by = eight_of(&m->out);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i sum =
            _mm256_add_epi32(eight_addends(a + i, half, by_a), eight_addends(b + i, false, by_b));
        kd_store_eight(out + i, kd_requantize_eight(sum, by.factor, by.shift));
    }
    return i;
}

KD_AVX2 static int64_t add_avx2(int32_t *out, const int32_t *a, const int32_t *b,
                                const kd_add_multipliers *m, int64_t n) {
    return is_half(&m->a) ? add_eights(out, a, b, m, true, n) : add_eights(out, a, b, m, false, n);
}

typedef struct {
    __m512i factor, odd_factor, shift;
} sixteen_multipliers;

KD_AVX512_INLINE sixteen_multipliers sixteen_of(const kd_multiplier *m) {
    const __m512i factor = _mm512_set1_epi32(m->factor);
    return (sixteen_multipliers){factor, factor, _mm512_set1_epi32(m->shift)};
}

KD_AVX512_INLINE __m512i sixteen_by(__m512i x, sixteen_multipliers m) {
    return kd_requantize_sixteen(x, m.factor, m.odd_factor, m.shift);
}

KD_AVX512_INLINE __m512i sixteen_addends(const int32_t *from, const bool half,
                                         sixteen_multipliers m) {
    const __m512i x = _mm512_loadu_si512(from);
    if (half) return _mm512_slli_epi32(x, KD_ADD_HEADROOM - 1);
    return sixteen_by(_mm512_slli_epi32(x, KD_ADD_HEADROOM), m);
}

KD_AVX512_INLINE int64_t add_sixteens(int32_t *out, const int32_t *a, const int32_t *b,
                                      const kd_add_multipliers *m, const bool half, int64_t n) {
    const sixteen_multipliers by_a = sixteen_of(&m->a), by_b = sixteen_of(&m->b);
    const sixteen_multipliers by = sixteen_of(&m->out);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512i sum = _mm512_add_epi32(sixteen_addends(a + i, half, by_a),
                                             sixteen_addends(b + i, false, by_b));
        _mm512_storeu_si512(out + i, sixteen_by(sum, by));
    }
    return i;
}

KD_AVX512 static int64_t add_avx512(int32_t *out, const int32_t *a, const int32_t *b,
                                    const kd_add_multipliers *m, int64_t n) {
    return is_half(&m->a) ? add_sixteens(out, a, b, m, true, n)
                          : add_sixteens(out, a, b, m, false, n);
}

static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2");
}

/* Whole registers from the beginning; returns where it stopped. Of a sum of two, the one with the
 * simple multiplier comes first. */
static int64_t add_whole(int32_t *out, const int32_t *a, const int32_t *b,
                         const kd_add_multipliers *m, int64_t n) {
    kd_add_multipliers turned = {m->b, m->a, m->out};
    const bool turn = is_half(&m->b);
    const int32_t *first = turn ? b : a, *second = turn ? a : b;
    if (!has_avx2() || m->a.shift < 0 || m->b.shift < 0 || m->out.shift < 0) return 0;
    if (turn) m = &turned;
    return __builtin_cpu_supports("avx512f") && n >= 16 ? add_avx512(out, first, second, m, n)
                                                        : add_avx2(out, first, second, m, n);
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
    i = add_whole(out, a, b, m, n);
#endif
    for (; i < n; i++) out[i] = kd_add_steps(a[i], b[i], m);
}
