/* Inside the block formats: halves in front of a block, the value that sets its scale, steps and
 * how they are packed. */
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

/* q[j] = (int)((x[j] − low)/d + offset), at most `most`, which x is at most one step beyond. Where
 * 1/d is infinite, q is 0, as ggml has it on x86. */
static inline void kd_format_steps(uint8_t q[KD_FORMAT_BLOCK], const float *x, float low,
                                   float inverse, float offset, int most) {
    int32_t step[KD_FORMAT_BLOCK];
#pragma omp simd
    for (int j = 0; j < KD_FORMAT_BLOCK; j++) {
        const float scaled = (x[j] - low) * inverse + offset;
        const int32_t s = scaled >= 0 && scaled < 128 ? (int32_t)scaled : 0;
        step[j] = s < most ? s : most;
    }
    for (int j = 0; j < KD_FORMAT_BLOCK; j++) q[j] = (uint8_t)step[j];
}

/* Steps 0 … most from the least value, *m, to the largest; → d. */
static inline float kd_format_span(uint8_t q[KD_FORMAT_BLOCK], float *m, const float *x, int most) {
    float high = x[0], low = x[0];
    for (int j = 1; j < KD_FORMAT_BLOCK; j++) {
        high = x[j] > high ? x[j] : high;
        low = x[j] < low ? x[j] : low;
    }
    const float d = (high - low) / (float)most, inverse = d != 0 ? 1 / d : 0;
    kd_format_steps(q, x, low, inverse, 0.5f, most);
    *m = low;
    return d;
}

/* The same with d and *m ≤ 0 searched for the least weighted error. */
static inline float kd_format_search_span(uint8_t q[KD_FORMAT_BLOCK], float *m, const float *x,
                                          const float *weight, int most) {
    static const kd_format_candidates candidates = {-0.9f, 0.05f, 36};
    return kd_format_search_offset(q, m, x, weight, KD_FORMAT_BLOCK, most, candidates);
}

/* 16 bytes: byte j holds the low four bits of value j in its low and of value j + 16 in its high
 * half. */
static inline void kd_format_put_nibbles(unsigned char *out, const uint8_t q[KD_FORMAT_BLOCK]) {
    uint8_t pair[KD_FORMAT_HALF_BLOCK];
    for (int j = 0; j < KD_FORMAT_HALF_BLOCK; j++)
        pair[j] = (uint8_t)((q[j] & 15) | (q[j + KD_FORMAT_HALF_BLOCK] & 15) << 4);
    memcpy(out, pair, sizeof pair);
}

/* 4 bytes of fifth bits, bit j of value j, and those 16. */
static inline void kd_format_put_fives(unsigned char *out, const uint8_t q[KD_FORMAT_BLOCK]) {
    uint32_t high = 0;
    for (int j = 0; j < KD_FORMAT_BLOCK; j++) high |= (uint32_t)(q[j] >> 4) << j;
    memcpy(out, &high, sizeof high);
    kd_format_put_nibbles(out + sizeof high, q);
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

/* Encodes a row block by block: `plain` without importance, `weighted` with what each value costs
 * (kd_format_weights; σ² is the row's). */
static inline void
kd_format_encode_blocks(unsigned char *out, int bytes, const float *x, const float *importance,
                        int64_t n, void (*plain)(unsigned char *, const float *),
                        void (*weighted)(unsigned char *, const float *, const float *)) {
    float weight[KD_FORMAT_BLOCK];
    const float sigma2 = importance ? kd_format_mean_square(x, n) : 0;
    for (int64_t i = 0; i < n; i += KD_FORMAT_BLOCK, out += bytes) {
        if (importance) {
            kd_format_weights(weight, importance + i, x + i, KD_FORMAT_BLOCK, sigma2);
            weighted(out, x + i, weight);
        } else {
            plain(out, x + i);
        }
    }
}

#endif
