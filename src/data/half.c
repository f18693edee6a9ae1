#include "data/half.h"

#include <string.h>

#ifdef __F16C__
#include <immintrin.h>
#endif

uint16_t kd_half_from_float(float x) {
    uint32_t bits, sign;
    memcpy(&bits, &x, sizeof bits);
    sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x3ff)); /* NaN */
    if (bits >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* ≥ 65520 rounds to infinity */
    if (bits < 0x38800000) { /* < 2⁻¹⁴: no implicit bit left */
        /* The last place of 0.5f is that of the subnormal halves, so the addition rounds. */
        float magnitude;
        memcpy(&magnitude, &bits, sizeof magnitude);
        magnitude += 0.5f;
        memcpy(&bits, &magnitude, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    bits += 0xfff + (bits >> 13 & 1); /* half a place, less a bit when the kept part is even */
    return (uint16_t)(sign | (bits - 0x38000000) >> 13);
}

float kd_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1f, bits;
    uint32_t mantissa = half & 0x3ff;
    float x;
    if (exponent == 0) { /* mantissa·2⁻²⁴, exact in a float */
        x = (float)mantissa * 0x1p-24f;
        return sign ? -x : x;
    }
    if (exponent == 0x1f)
        bits = 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0);
    else
        bits = (exponent + 112) << 23 | mantissa << 13;
    bits |= sign;
    memcpy(&x, &bits, sizeof x);
    return x;
}

void kd_half_encode(uint16_t *out, const float *x, int64_t n) {
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i < n; i++) out[i] = kd_half_from_float(x[i]);
}

void kd_half_decode(float *out, const uint16_t *half, int64_t n) {
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(
            out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(half + i))));
#endif
    for (; i < n; i++) out[i] = kd_half_to_float(half[i]);
}
