/* Elementary functions that gcc can vectorise when they are called in a loop.
 *
 * In float they are polynomials without branches or calls, within 2 units in the last place of the
 * exact value; the same input gives the same bits in a vector and alone, since every fused
 * multiply-add is written as one. In double they are libm's, which gradient checks need.
 * Coefficients: minimax fits on the reduced ranges (iteratively reweighted least squares).
 */
#ifndef KD_AUTOGRAD_VECTOR_MATH_H
#define KD_AUTOGRAD_VECTOR_MATH_H

#include <stdint.h>
#include <string.h>

#include "autograd/real.h"

#ifdef KD_DOUBLE

static inline kd_real kd_vexp(kd_real x) {
    return exp(x);
}
static inline kd_real kd_vtanh(kd_real x) {
    return tanh(x);
}
static inline kd_real kd_verf(kd_real x) {
    return erf(x);
}
static inline kd_real kd_vlog(kd_real x) {
    return log(x);
}

#else

/* a·b + c, in one rounding where the processor can */
static inline float kd_vfma(float a, float b, float c) {
#ifdef FP_FAST_FMAF
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

/* 2^n for −126 ≤ n ≤ 127 */
static inline float kd_vpower_of_two(int32_t n) {
    int32_t bits = (int32_t)((uint32_t)(n + 127) << 23);
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* condition ? a : b without a branch, which gcc would otherwise move the arithmetic into */
static inline float kd_vselect(int condition, float a, float b) {
    uint32_t mask = 0u - (uint32_t)(condition != 0), x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    x = (x & mask) | (y & ~mask);
    memcpy(&a, &x, sizeof a);
    return a;
}

/* e^x = 2^n · e^r, n = round(x/ln 2), |r| ≤ ln 2/2. 0 below −105 and ∞ above 89; NaN stays. */
static inline float kd_vexp(float x) {
    const float shift = 12582912.0f; /* 1.5·2²³: adding it leaves round(y) in the low bits */
    x = x < -105.0f ? -105.0f : x;
    x = x > 89.0f ? 89.0f : x;
    float shifted = kd_vfma(x, 1.44269504f, shift), n = shifted - shift;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    int32_t exponent = (int32_t)((uint32_t)bits - 0x4B400000u), half = exponent >> 1;
    float r = kd_vfma(n, -0.693359375f, x); /* ln 2 in two parts, the first exact in 9 bits */
    r = kd_vfma(n, 2.12194440e-4f, r);
    float p = 0.00139505998f;
    p = kd_vfma(p, r, 0.00836895406f);
    p = kd_vfma(p, r, 0.0416662060f);
    p = kd_vfma(p, r, 0.166665182f);
    p = kd_vfma(p, r, 0.5f);
    p = kd_vfma(p * r, r, r) + 1.0f;
    /* In two steps, so that results near overflow and below the normal range come out right. */
    return p * kd_vpower_of_two(half) * kd_vpower_of_two(exponent - half);
}

/* |x| < 0.625: x + x³·P(x²); else ±(1 − 2/(e^{2|x|} + 1)) */
static inline float kd_vtanh(float x) {
    float u = x * x, p = -0.00552862464f;
    p = kd_vfma(p, u, 0.0204833057f);
    p = kd_vfma(p, u, -0.0536929630f);
    p = kd_vfma(p, u, 0.133308992f);
    p = kd_vfma(p, u, -0.333332628f);
    float near = kd_vfma(p * u, x, x);
    float far = 1.0f - 2.0f / (kd_vexp(2.0f * fabsf(x)) + 1.0f);
    return kd_vselect(fabsf(x) < 0.625f, near, copysignf(far, x));
}

/* |x| < 1: x + x·P(x²); else ±(1 − e^{−Q(|x|)}) with Q = −log erfc, which is 1 from 4 on */
static inline float kd_verf(float x) {
    float u = x * x, p = 7.88911639e-5f;
    p = kd_vfma(p, u, -8.02083989e-4f);
    p = kd_vfma(p, u, 5.18953521e-3f);
    p = kd_vfma(p, u, -0.0268544443f);
    p = kd_vfma(p, u, 0.112836003f);
    p = kd_vfma(p, u, -0.376126260f);
    p = kd_vfma(p, u, 0.128379107f);
    float t = fabsf(x);
    t = kd_vselect(t > 4.0f, 4.0f, t);
    float q = -1.87972546e-4f;
    q = kd_vfma(q, t, 2.96401442e-3f);
    q = kd_vfma(q, t, -0.0219065081f);
    q = kd_vfma(q, t, 0.103256270f);
    q = kd_vfma(q, t, 0.637964904f);
    q = kd_vfma(q, t, 1.12720227f);
    q = kd_vfma(q, t, 3.12459742e-4f);
    float far = 1.0f - kd_vexp(-q);
    return kd_vselect(t < 1.0f, kd_vfma(p, x, x), copysignf(far, x));
}

/* x = 2^e · m with √½ ≤ m < √2: e·ln 2 + f − f²/2 + f³·P(f), f = m − 1; exactly 0 at 1. For normal
 * numbers above 0. */
static inline float kd_vlog(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const int32_t exponent = (bits - 0x3F3504F3) >> 23;
    bits -= (int32_t)((uint32_t)exponent << 23);
    float f, n = (float)exponent;
    memcpy(&f, &bits, sizeof f);
    f -= 1.0f;
    float p = 0.0674653349f;
    p = kd_vfma(p, f, -0.116756121f);
    p = kd_vfma(p, f, 0.118881902f);
    p = kd_vfma(p, f, -0.124055977f);
    p = kd_vfma(p, f, 0.142195495f);
    p = kd_vfma(p, f, -0.166679952f);
    p = kd_vfma(p, f, 0.200021188f);
    p = kd_vfma(p, f, -0.250000096f);
    p = kd_vfma(p, f, 0.333333126f);
    p = kd_vfma(p * f, f * f, -0.5f * f * f);
    p = kd_vfma(n, -2.12194440e-4f, p);
    return kd_vfma(n, 0.693359375f, p + f);
}

#endif

/* 1/(1 + e^−x) */
static inline kd_real kd_vsigmoid(kd_real x) {
    return 1 / (1 + kd_vexp(-x));
}

#endif
