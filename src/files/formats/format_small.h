/* Floats of four and eight bits, rounded to nearest, ties to even, and what scales them.
 *
 *   E2M1   0, ½, 1, 1½, 2, 3, 4, 6 with a sign; code 8 + k is −(code k)
 *   E4M3   bias 7, at most 448, steps of 2⁻⁹ below 2⁻⁶; no infinity; nvfp4's scales have no sign
 *   E5M2   bias 15, at most 57344, steps of 2⁻¹⁶ below 2⁻¹⁴
 */
#ifndef KD_FILES_FORMAT_SMALL_H
#define KD_FILES_FORMAT_SMALL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { KD_E2M1_CODES = 16, KD_E4M3_MOST = 448, KD_E5M2_MOST = 57344 };

static const float KD_E2M1_MOST = 6;
static const float KD_E2M1_VALUE[KD_E2M1_CODES] = {0, .5f,  1,  1.5f,  2,  3,  4,  6,
                                                   0, -.5f, -1, -1.5f, -2, -3, -4, -6};

/* What is beyond 6 becomes 6, and −0 becomes 0. */
static inline uint8_t kd_e2m1_from_float(float x) {
    const float a = fabsf(x);
    const int code = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) +
                     (a >= 3.5f) + (a > 5);
    return (uint8_t)(x < 0 && code > 0 ? code + 8 : code);
}

/* The smallest power of two that is at least x; 1 where x is no positive number. */
static inline float kd_power_above(float x) {
    int exponent;
    if (!(x > 0) || !isfinite(x)) return 1;
    const float half = frexpf(x, &exponent); /* x = half·2^exponent, half in [½, 1) */
    exponent = half > 0.5f ? exponent : exponent - 1;
    return ldexpf(1, exponent > -100 ? exponent : -100); /* what is divided by it stays finite */
}

/* A magnitude of `mantissa` bits behind the point: steps of 2^-fixed below `normal`, the smallest
 * of its normal numbers. */
static inline uint8_t kd_f8_round(float a, int mantissa, float normal, float fixed) {
    uint32_t bits, least;
    if (a < normal) return (uint8_t)(a * fixed + 0x1p23f - 0x1p23f);
    memcpy(&bits, &a, sizeof bits);
    memcpy(&least, &normal, sizeof least);
    const int cut = 23 - mantissa;
    bits += (1u << (cut - 1)) - 1 + (bits >> cut & 1);
    return (uint8_t)((bits >> cut) - (least >> cut) + (1u << mantissa));
}

static inline float kd_f8_magnitude(unsigned code, int mantissa, float normal, float fixed) {
    uint32_t bits;
    float value;
    if (code < 1u << mantissa) return (float)code / fixed;
    memcpy(&bits, &normal, sizeof bits);
    bits += (code - (1u << mantissa)) << (23 - mantissa);
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Without the sign: x ≥ 0; what is beyond 448 becomes 448, what is no number 0. */
static inline uint8_t kd_e4m3_from_float(float x) {
    if (!(x > 0)) return 0;
    return x >= KD_E4M3_MOST ? 0x7e : kd_f8_round(x, 3, 0x1p-6f, 0x1p9f);
}

/* Likewise. */
static inline float kd_e4m3_to_float(uint8_t code) {
    return code >= 0x7f ? NAN : kd_f8_magnitude(code, 3, 0x1p-6f, 0x1p9f);
}

/* With it, in the highest bit. Numbers beyond ±448 become ±448; E4M3 has no infinity, so that
 * infinite ones become what is none, as what is none does. */
static inline uint8_t kd_f8_e4m3_from_float(float x) {
    const uint8_t sign = (uint8_t)(signbit(x) ? 0x80 : 0);
    return (uint8_t)(sign | (isfinite(x) ? kd_e4m3_from_float(fabsf(x)) : 0x7f));
}

static inline float kd_f8_e4m3_to_float(uint8_t code) {
    const float a = kd_e4m3_to_float(code & 0x7f);
    return code & 0x80 ? -a : a;
}

/* Numbers beyond ±57344 become ±57344; infinite ones stay, and so does what is none. */
static inline uint8_t kd_f8_e5m2_from_float(float x) {
    const uint8_t sign = (uint8_t)(signbit(x) ? 0x80 : 0);
    const float a = fabsf(x);
    if (!isfinite(x)) return (uint8_t)(sign | (isnan(x) ? 0x7f : 0x7c));
    return (uint8_t)(sign | (a >= KD_E5M2_MOST ? 0x7b : kd_f8_round(a, 2, 0x1p-14f, 0x1p16f)));
}

static inline float kd_f8_e5m2_to_float(uint8_t code) {
    const unsigned own = code & 0x7f;
    const float a = own > 0x7c    ? NAN
                    : own == 0x7c ? INFINITY
                                  : kd_f8_magnitude(own, 2, 0x1p-14f, 0x1p16f);
    return code & 0x80 ? -a : a;
}

#endif
