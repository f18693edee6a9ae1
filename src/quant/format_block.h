/* Inside the block formats: halves in front of a block, and the value that sets its scale. */
#ifndef KD_QUANT_FORMAT_BLOCK_H
#define KD_QUANT_FORMAT_BLOCK_H

#include <math.h>
#include <string.h>

#include "data/half.h"
#include "quant/number_format.h"

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

/* The value of largest magnitude, the first of several. */
static inline float kd_format_extreme(const float *x) {
    float extreme = 0;
    for (int j = 0; j < KD_FORMAT_BLOCK; j++)
        if (fabsf(x[j]) > fabsf(extreme)) extreme = x[j];
    return extreme;
}

/* (int)(x/d + offset), at most `most`: x/d lies in −most/2 … most/2. */
static inline unsigned kd_format_step(float x, float inverse, float offset, unsigned most) {
    const float scaled = x * inverse;
    const unsigned q = (unsigned)(int8_t)(scaled + offset);
    return q < most ? q : most;
}

#endif
