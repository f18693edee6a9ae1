/* Inside iq4_nl and iq4_xs: values are levels of an uneven ladder, denser near 0, times a scale. */
#ifndef KD_FILES_FORMAT_IQ4_H
#define KD_FILES_FORMAT_IQ4_H

#include "files/formats/format_block.h"

enum { KD_IQ4_LEVELS = 16 };
static const int8_t KD_IQ4_LEVEL[KD_IQ4_LEVELS] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                   1,    13,   25,  38,  53,  69,  89,  113};
static const float KD_IQ4_VALUE[KD_IQ4_LEVELS] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                  1,    13,   25,  38,  53,  69,  89,  113};

/* What values cost: importance·√(2·mean x² + x²) over n, without importance x². */
static inline void kd_iq4_weigh(float *weight, const float *x, const float *importance, int n) {
    if (importance)
        kd_format_weights(weight, importance, x, n,
                          kd_format_sum_of_squares(x, n) * (2.0f / (float)n));
    for (int i = 0; i < n && !importance; i++) weight[i] = x[i] * x[i];
}

/* 16 bytes of a block of 32 levels: byte j has values j (low) and j + 16. */
static inline void kd_iq4_put(unsigned char *out, const uint8_t *q) {
    for (int j = 0; j < KD_FORMAT_BLOCK / 2; j++)
        out[j] = (unsigned char)(q[j] | q[j + KD_FORMAT_BLOCK / 2] << 4);
}
static inline void kd_iq4_get(float *out, const unsigned char *in, float d) {
    for (int j = 0; j < KD_FORMAT_BLOCK / 2; j++) {
        out[j] = d * KD_IQ4_VALUE[in[j] & 15];
        out[j + KD_FORMAT_BLOCK / 2] = d * KD_IQ4_VALUE[in[j] >> 4];
    }
}

#endif
