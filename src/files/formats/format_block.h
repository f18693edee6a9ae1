/* Inside the block formats: halves in front of a block, and the value that sets its scale. */
#ifndef KD_FILES_FORMAT_BLOCK_H
#define KD_FILES_FORMAT_BLOCK_H

#include <math.h>
#include <string.h>

#include "data/half.h"
#include "files/formats/number_format.h"

enum { KD_FORMAT_BLOCK = 32 };

static inline float kd_format_get_half(const unsigned char *from) {
    uint16_t half;
    memcpy(&half, from, sizeof half);
    return kd_half_to_float(half);
}

static inline void kd_format_put_half(unsigned char *to, float x) {
    const uint16_t half = kd_half_from_float(x);
    memcpy(to, &half, sizeof half);
}

static inline float kd_format_largest(const float *x) {
    float largest = 0;
#pragma omp simd reduction(max : largest)
    for (int j = 0; j < KD_FORMAT_BLOCK; j++)
        largest = fabsf(x[j]) > largest ? fabsf(x[j]) : largest;
    return largest;
}

/* The value of largest magnitude, the first of several. */
static inline float kd_format_extreme(const float *x) {
    float high = 0, low = 0;
#pragma omp simd reduction(max : high) reduction(min : low)
    for (int j = 0; j < KD_FORMAT_BLOCK; j++) {
        high = x[j] > high ? x[j] : high;
        low = x[j] < low ? x[j] : low;
    }
    if (high != -low) return high > -low ? high : low;
    int j = 0;
    while (j < KD_FORMAT_BLOCK - 1 && fabsf(x[j]) != high) j++;
    return high > 0 ? x[j] : 0;
}

/* q[j] = (int)(x[j]/d + offset), at most `most`: x/d lies in −most/2 … most/2. */
static inline void kd_format_steps(uint8_t q[KD_FORMAT_BLOCK], const float *x, float inverse,
                                   float offset, int most) {
    int32_t step[KD_FORMAT_BLOCK];
#pragma omp simd
    for (int j = 0; j < KD_FORMAT_BLOCK; j++) {
        const int32_t s = (int32_t)(x[j] * inverse + offset);
        step[j] = s < most ? s : most;
    }
    for (int j = 0; j < KD_FORMAT_BLOCK; j++) q[j] = (uint8_t)step[j];
}

#endif
