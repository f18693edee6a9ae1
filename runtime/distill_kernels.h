/* The products of the runner: two columns of activations times two channels' weights, which lie
 * where the file has them. One interface, chosen by what the compiler may use; all give the same
 * bits. (The program's own kernels, src/quant/int8_kernel.h, want weights packed in RAM.)
 *
 *     spread     n stored values → a column of `width` entries, as this kernel wants them
 *     multiply   sum = Σ (a − zero)·u, Σ (a − zero)·v, Σ (b − zero)·u, Σ (b − zero)·v
 *
 * A column has room for DISTILL_WIDTH 16-bit numbers and more; `from` may be its second half.
 */
#ifndef DISTILL_KERNELS_H
#define DISTILL_KERNELS_H

#include "distill_internal.h"

typedef struct {
    const void *a, *b; /* columns */
    const int8_t *u, *v;
    uint32_t n;
    int32_t zero;
} distill_product;

#if defined(__ARM_FEATURE_MATMUL_INT8) || defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

/* --- bytes: the zero goes out by Σw -------------------------------------------------------------
 */

#if defined(__ARM_FEATURE_MATMUL_INT8)

/* USMMLA: two rows of eight unsigned bytes times two of eight signed ones, which is all four sums.
 */
static const char distill_kernel[] = "i8mm";
enum { STEP = 8, FLIP = 0 };
typedef struct {
    int32x4_t sum, weights;
} distill_sums;

static inline void distill_step(distill_sums *s, const uint8_t *a, const uint8_t *b,
                                const int8_t *u, const int8_t *v) {
    const int8x16_t w = vcombine_s8(vld1_s8(u), vld1_s8(v));
    s->sum = vusmmlaq_s32(s->sum, vcombine_u8(vld1_u8(a), vld1_u8(b)), w);
    s->weights = vusmmlaq_s32(s->weights, vdupq_n_u8(1), w);
}

static inline void distill_finish(int32_t sum[4], const distill_sums *s, int32_t zero) {
    vst1q_s32(sum, vmlsq_n_s32(s->sum, s->weights, zero));
}

#else

/* SDOT: four products of signed bytes to each of four sums; activations are taken less 128. */
static const char distill_kernel[] = "dotprod";
enum { STEP = 16, FLIP = 0x80 };
typedef struct {
    int32x4_t sum[4], weights[2];
} distill_sums;

static inline void distill_step(distill_sums *s, const uint8_t *a, const uint8_t *b,
                                const int8_t *u, const int8_t *v) {
    const int8x16_t x = vreinterpretq_s8_u8(vld1q_u8(a)), y = vreinterpretq_s8_u8(vld1q_u8(b));
    const int8x16_t w = vld1q_s8(u), z = vld1q_s8(v), one = vdupq_n_s8(1);
    s->sum[0] = vdotq_s32(s->sum[0], x, w);
    s->sum[1] = vdotq_s32(s->sum[1], x, z);
    s->sum[2] = vdotq_s32(s->sum[2], y, w);
    s->sum[3] = vdotq_s32(s->sum[3], y, z);
    s->weights[0] = vdotq_s32(s->weights[0], one, w);
    s->weights[1] = vdotq_s32(s->weights[1], one, z);
}

static inline void distill_finish(int32_t sum[4], const distill_sums *s, int32_t zero) {
    const int32x4_t w = vpaddq_s32(s->weights[0], s->weights[1]), both = vpaddq_s32(w, w);
    const int32x4_t x = vpaddq_s32(s->sum[0], s->sum[1]), y = vpaddq_s32(s->sum[2], s->sum[3]);
    vst1q_s32(sum, vmlaq_n_s32(vpaddq_s32(x, y), both, 128 - zero));
}

#endif

/* What a vector step takes of n values from k on; beyond them weights are 0. */
typedef struct {
    int8_t u[STEP], v[STEP];
} distill_tail;

static inline void distill_cut(distill_tail *tail, const distill_product *p, uint32_t k) {
    memset(tail, 0, sizeof *tail);
    memcpy(tail->u, p->u + k, p->n - k);
    memcpy(tail->v, p->v + k, p->n - k);
}

static inline void distill_spread(void *to, const uint8_t *from, uint32_t n, uint32_t width,
                                  int32_t zero) {
    uint8_t *restrict column = to; /* n ≤ width: what is read lies behind it */
    const uint8_t *restrict stored = from;
    uint32_t k;
    (void)zero;
    for (k = 0; k < n; k++) column[k] = stored[k] ^ FLIP;
    memset(column + n, 0, width - n);
}

static inline void distill_multiply(int32_t sum[4], const distill_product *p) {
    const uint8_t *a = p->a, *b = p->b;
    distill_tail tail;
    distill_sums s;
    uint32_t k = 0;
    memset(&s, 0, sizeof s);
    for (; k + STEP <= p->n; k += STEP) distill_step(&s, a + k, b + k, p->u + k, p->v + k);
    if (k < p->n) {
        distill_cut(&tail, p, k);
        distill_step(&s, a + k, b + k, tail.u, tail.v);
    }
    distill_finish(sum, &s, p->zero);
}

#elif defined(__AVX2__)
#include <immintrin.h>

/* --- AVX2: VPMADDWD adds two products of 16 bits -------------------------------------------------
 */

static const char distill_kernel[] = "avx2";

static inline __m256i distill_wide(const int8_t *weights) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)weights));
}

static inline void distill_step(__m256i s[4], const int16_t *a, const int16_t *b, const int8_t *u,
                                const int8_t *v) {
    const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)a), w = distill_wide(u);
    const __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)b), z = distill_wide(v);
    s[0] = _mm256_add_epi32(s[0], _mm256_madd_epi16(x, w));
    s[1] = _mm256_add_epi32(s[1], _mm256_madd_epi16(x, z));
    s[2] = _mm256_add_epi32(s[2], _mm256_madd_epi16(y, w));
    s[3] = _mm256_add_epi32(s[3], _mm256_madd_epi16(y, z));
}

/* Whole vectors, each read before its place is written: `width` is a multiple of them. What stands
 * behind the n values meets weights of 0. */
static inline void distill_spread(void *to, const uint8_t *from, uint32_t n, uint32_t width,
                                  int32_t zero) {
    const __m256i less = _mm256_set1_epi16((short)zero);
    int16_t *column = to;
    uint32_t k;
    (void)width;
    for (k = 0; k < n; k += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(from + k));
        _mm256_storeu_si256((__m256i *)(void *)(column + k),
                            _mm256_sub_epi16(_mm256_cvtepu8_epi16(bytes), less));
    }
}

static inline void distill_multiply(int32_t sum[4], const distill_product *p) {
    const int16_t *a = p->a, *b = p->b;
    int8_t u[16] = {0}, v[16] = {0};
    __m256i s[4], all;
    uint32_t k = 0;
    s[0] = s[1] = s[2] = s[3] = _mm256_setzero_si256();
    for (; k + 16 <= p->n; k += 16) distill_step(s, a + k, b + k, p->u + k, p->v + k);
    if (k < p->n) {
        memcpy(u, p->u + k, p->n - k);
        memcpy(v, p->v + k, p->n - k);
        distill_step(s, a + k, b + k, u, v);
    }
    all = _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
    _mm_storeu_si128((__m128i *)(void *)sum,
                     _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
}

#elif defined(__ARM_FEATURE_DSP) && !defined(__aarch64__)
#include <arm_acle.h>

/* --- Cortex-M4 and up: SMLAD adds two products of 16 bits ----------------------------------------
 * A group of four lies as 0, 2, 1, 3, which is how SXTB16 takes four weights apart. Compilers do
 * not fold the rotation into it. */

static const char distill_kernel[] = "smlad";

static inline int16x2_t distill_odd_weights(uint32_t four) {
    int16x2_t odd;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(four));
    return odd;
}

static inline uint32_t distill_odd_values(uint32_t four) {
    uint32_t odd;
    __asm__("uxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(four));
    return odd;
}

static void distill_spread(void *to, const uint8_t *from, uint32_t n, uint32_t width,
                           int32_t zero) {
    const int16x2_t both = (int16x2_t)((uint32_t)zero * 0x10001u);
    int16_t *column = to;
    uint32_t k = 0;
    (void)width;
    for (; k + 4 <= n; k += 4) {
        const uint32_t four = distill_word(from + k);
        const int16x2_t even = __ssub16((int16x2_t)__uxtb16((uint8x4_t)four), both);
        const int16x2_t odd = __ssub16((int16x2_t)distill_odd_values(four), both);
        memcpy(column + k, &even, 4);
        memcpy(column + k + 2, &odd, 4);
    }
    for (; k < n; k++) column[k] = (int16_t)(from[k] - zero);
}

/* Kept a function of its own: inlined, its numbers do not find registers. */
__attribute__((noinline)) static void distill_multiply(int32_t sum[4], const distill_product *p) {
    int32_t au = 0, av = 0, bu = 0, bv = 0;
    const uint8_t *a = p->a, *b = p->b, *u = (const uint8_t *)p->u, *v = (const uint8_t *)p->v;
    const uint8_t *const end = u + p->n / 4 * 4;
    uint32_t k;
    while (u != end) {
        const uint32_t four_u = distill_word(u), four_v = distill_word(v);
        const int16x2_t a0 = (int16x2_t)distill_word(a), a1 = (int16x2_t)distill_word(a + 4);
        const int16x2_t b0 = (int16x2_t)distill_word(b), b1 = (int16x2_t)distill_word(b + 4);
        const int16x2_t u0 = __sxtb16((int8x4_t)four_u), u1 = distill_odd_weights(four_u);
        const int16x2_t v0 = __sxtb16((int8x4_t)four_v), v1 = distill_odd_weights(four_v);
        au = __smlad(u1, a1, __smlad(u0, a0, au));
        av = __smlad(v1, a1, __smlad(v0, a0, av));
        bu = __smlad(u1, b1, __smlad(u0, b0, bu));
        bv = __smlad(v1, b1, __smlad(v0, b0, bv));
        a += 8, b += 8, u += 4, v += 4;
    }
    for (k = p->n / 4 * 4; k < p->n; k++) {
        const int32_t x = ((const int16_t *)p->a)[k], y = ((const int16_t *)p->b)[k];
        au += x * p->u[k];
        av += x * p->v[k];
        bu += y * p->u[k];
        bv += y * p->v[k];
    }
    sum[0] = au, sum[1] = av, sum[2] = bu, sum[3] = bv;
}

#else

/* --- any processor -------------------------------------------------------------------------------
 */

static const char distill_kernel[] = "portable";

static inline void distill_spread(void *to, const uint8_t *from, uint32_t n, uint32_t width,
                                  int32_t zero) {
    int16_t *column = to;
    uint32_t k;
    (void)width;
    for (k = 0; k < n; k++) column[k] = (int16_t)(from[k] - zero);
}

static inline void distill_multiply(int32_t sum[4], const distill_product *p) {
    const int16_t *a = p->a, *b = p->b;
    int32_t au = 0, av = 0, bu = 0, bv = 0;
    uint32_t k;
    for (k = 0; k < p->n; k++) {
        au += a[k] * p->u[k];
        av += a[k] * p->v[k];
        bu += b[k] * p->u[k];
        bv += b[k] * p->v[k];
    }
    sum[0] = au, sum[1] = av, sum[2] = bu, sum[3] = bv;
}

#endif

#endif
