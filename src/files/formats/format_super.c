#include "files/formats/format_super.h"

enum { MOST_SCALE = 63, SUB = KD_FORMAT_BLOCK };

void kd_super_put_scales(unsigned char *out, const kd_super_scales *s) {
    unsigned char *bits = out + 4;
    kd_format_put_half(out, s->d);
    kd_format_put_half(out + 2, s->m);
    for (int j = 0; j < 4; j++) {
        const unsigned scale = s->scale[j + 4], offset = s->offset[j + 4];
        bits[j] = (unsigned char)(s->scale[j] | scale >> 4 << 6);
        bits[j + 4] = (unsigned char)(s->offset[j] | offset >> 4 << 6);
        bits[j + 8] = (unsigned char)((scale & 15) | (offset & 15) << 4);
    }
}

void kd_super_get_scales(kd_super_scales *out, const unsigned char *in) {
    const unsigned char *bits = in + 4;
    out->d = kd_format_get_half(in);
    out->m = kd_format_get_half(in + 2);
    for (int j = 0; j < 4; j++) {
        out->scale[j] = bits[j] & 63;
        out->offset[j] = bits[j + 4] & 63;
        out->scale[j + 4] = (uint8_t)((bits[j + 8] & 15) | bits[j] >> 6 << 4);
        out->offset[j + 4] = (uint8_t)(bits[j + 8] >> 4 | bits[j + 4] >> 6 << 4);
    }
}

void kd_super_fill(float *scale, float *offset, const unsigned char *in) {
    kd_super_scales s;
    kd_super_get_scales(&s, in);
    for (int j = 0; j < KD_SUPER_SUBS; j++)
        kd_format_fill(scale + j * SUB, offset + j * SUB, s.d * (float)s.scale[j],
                       -(s.m * (float)s.offset[j]), SUB);
}

/* What a sub-block's values cost: without importance, the larger the dearer. */
static float weigh(float *weight, const float *x, const float *importance, float sigma2) {
    float sum = 0;
    if (importance) {
        kd_format_weights(weight, importance, x, SUB, sigma2);
    } else {
        const float mean = sqrtf(kd_format_mean_square(x, SUB));
        for (int i = 0; i < SUB; i++) weight[i] = mean + fabsf(x[i]);
    }
    for (int i = 0; i < SUB; i++) sum += weight[i];
    return sum;
}

/* Eight positive numbers as 0 … 63 times what is returned, the largest on 63. */
static float spread(uint8_t *out, const float *value) {
    float largest = 0;
    for (int j = 0; j < KD_SUPER_SUBS; j++) largest = value[j] > largest ? value[j] : largest;
    const float inverse = largest > 0 ? MOST_SCALE / largest : 0;
    for (int j = 0; j < KD_SUPER_SUBS; j++) {
        const uint8_t step = (uint8_t)kd_format_nearest(inverse * value[j]);
        out[j] = step < MOST_SCALE ? step : MOST_SCALE;
    }
    return largest / MOST_SCALE;
}

static float halved(float x) {
    unsigned char half[2];
    kd_format_put_half(half, x);
    return kd_format_get_half(half);
}

/* Steps of the scales as they are stored; a scale of 0 leaves those of the search. */
static void requantize(const kd_super_scales *s, uint8_t *q, const float *x, int most) {
    for (int j = 0; j < KD_SUPER_SUBS; j++) {
        const float d = s->d * (float)s->scale[j], m = s->m * (float)s->offset[j];
        for (int i = j * SUB; d != 0 && i < (j + 1) * SUB; i++) {
            const int step = kd_format_nearest((x[i] + m) / d);
            q[i] = (uint8_t)(step < 0 ? 0 : step < most ? step : most);
        }
    }
}

void kd_super_quantize(kd_super_scales *s, uint8_t *q, const float *x, const float *importance,
                       int most, const kd_super_search *search) {
    float scale[KD_SUPER_SUBS], offset[KD_SUPER_SUBS], total[KD_SUPER_SUBS], weight[SUB];
    const float sigma2 = importance ? 2 * kd_format_mean_square(x, KD_SUPER_BLOCK) : 0;
    for (int j = 0; j < KD_SUPER_SUBS; j++) {
        const float *part = importance ? importance + j * SUB : NULL;
        float m;
        total[j] = weigh(weight, x + j * SUB, part, sigma2);
        scale[j] = kd_format_search_offset(q + j * SUB, &m, x + j * SUB, weight, SUB, most,
                                           part ? search->weighted : search->plain);
        offset[j] = -m;
    }
    if (importance) {
        s->d = halved(kd_format_search_positive(s->scale, scale, total, KD_SUPER_SUBS, MOST_SCALE));
        s->m =
            halved(kd_format_search_positive(s->offset, offset, total, KD_SUPER_SUBS, MOST_SCALE));
    } else {
        s->d = halved(spread(s->scale, scale));
        s->m = halved(spread(s->offset, offset));
    }
    requantize(s, q, x, most);
}
