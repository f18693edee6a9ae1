/* Inside mxfp4 and nvfp4: floats of four and eight bits, rounded to nearest, ties to even.
 *
 *   E2M1   0, ½, 1, 1½, 2, 3, 4, 6 with a sign; code 8 + k is −(code k)
 *   E4M3   bias 7, at most 448, steps of 2⁻⁹ below 2⁻⁶; here without a sign
 */
#ifndef KD_FILES_FORMAT_SMALL_H
#define KD_FILES_FORMAT_SMALL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { KD_E2M1_CODES = 16, KD_E4M3_MOST = 448 };

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

/* x ≥ 0; what is beyond 448 becomes 448, what is no number 0. */
static inline uint8_t kd_e4m3_from_float(float x) {
    if (!(x > 0)) return 0;
    if (x >= KD_E4M3_MOST) return 0x7e;
    int exponent;
    frexpf(x, &exponent); /* x in [½, 1)·2^exponent */
    const int step = exponent - 1 < -6 ? -9 : exponent - 4;
    const int steps = (int)rintf(ldexpf(x, -step)); /* of 2^step: at most 16 */
    return (uint8_t)(step == -9 && steps < 8 ? steps : (step + 10) * 8 + steps - 8);
}

static inline float kd_e4m3_to_float(uint8_t code) {
    const int exponent = code >> 3, mantissa = code & 7;
    if (code >= 0x7f) return NAN;
    return exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
}

#endif
