/* Inside the block formats: halves in front of a block, the value that sets its scale. */
#ifndef KD_FILES_FORMAT_BLOCK_H
#define KD_FILES_FORMAT_BLOCK_H

#include <math.h>
#include <string.h>

#include "data/half.h"
#include "files/formats/format_search.h"
#include "files/formats/number_format.h"

enum { KD_FORMAT_BLOCK = 32, KD_FORMAT_HALF_BLOCK = KD_FORMAT_BLOCK / 2 };

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

/* For grids: the scale and the offset of a block's values. */
static inline void kd_format_fill(float *scale, float *offset, float d, float m, int n) {
    for (int j = 0; j < n; j++) {
        scale[j] = d;
        offset[j] = m;
    }
}

/* The grid of a format of half scales in front of blocks, of half offsets too where `M` is given.
 */
#define KD_FORMAT_HALF_SCALES(M)                                                                   \
    static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {          \
        for (int64_t i = 0; i < n; i += KD_FORMAT_BLOCK, in += BYTES)                              \
            kd_format_fill(scale + i, offset + i, kd_format_get_half(in), M, KD_FORMAT_BLOCK);     \
    }

/* Likewise its codes, which `PUT` writes `AT` bytes behind the block's start. */
#define KD_FORMAT_PUT_CODES(PUT, AT)                                                               \
    static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {                    \
        for (int64_t i = 0; i < n; i += KD_FORMAT_BLOCK, row += BYTES) PUT(row + AT, code + i);    \
    }

#endif
