#include "files/formats/format_super.h"

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

/* The offset goes off: its half has the other sign. */
void kd_super_get_steps(kd_row_steps *out, const unsigned char *in, int64_t b) {
    enum { SUBS = 8 };
    kd_super_scales s;
    kd_super_get_scales(&s, in);
    memcpy(&out->d[b], in, sizeof *out->d);
    memcpy(&out->m[b], in + 2, sizeof *out->m);
    out->m[b] ^= 0x8000;
    for (int j = 0; j < SUBS; j++) {
        out->s[b * SUBS + j] = (int8_t)s.scale[j];
        out->o[b * SUBS + j] = (int8_t)s.offset[j];
    }
}

void kd_super_get_row(float *scale, float *offset, const unsigned char *in, int64_t n, int bytes) {
    enum { SUB = 32 };
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, in += bytes) {
        kd_super_scales s;
        kd_super_get_scales(&s, in);
        kd_super_fill(scale + at, offset + at, &s, SUB);
    }
}

void kd_super_fill(float *scale, float *offset, const kd_super_scales *s, int sub) {
    for (int j = 0; j < KD_SUPER_BLOCK / sub; j++)
        kd_format_fill(scale + j * sub, offset + j * sub, s->d * (float)s->scale[j],
                       -(s->m * (float)s->offset[j]), sub);
}

/* --- scales and offsets -------------------------------------------------------------------------
 */

/* What values cost: without importance, the larger the dearer. */
static void weigh(float *weight, const float *x, const float *importance,
                  const kd_super_kind *kind) {
    if (importance) {
        const float sigma2 = kind->sigma * kd_format_mean_square(x, KD_SUPER_BLOCK);
        kd_format_weights(weight, importance, x, KD_SUPER_BLOCK, sigma2);
        return;
    }
    for (int at = 0; at < KD_SUPER_BLOCK; at += kind->sub) {
        const float mean = kind->rms ? sqrtf(kd_format_mean_square(x + at, kind->sub)) : 0;
        for (int i = at; i < at + kind->sub; i++) weight[i] = mean + fabsf(x[i]);
    }
}

/* Positive numbers as 0 … most times what is returned, the largest on `most`. */
static float spread(uint8_t *out, const float *value, int count, int most) {
    float largest = 0;
    for (int j = 0; j < count; j++) largest = value[j] > largest ? value[j] : largest;
    const float inverse = largest > 0 ? (float)most / largest : 0;
    for (int j = 0; j < count; j++) {
        const uint8_t step = (uint8_t)kd_format_nearest(inverse * value[j]);
        out[j] = (uint8_t)(step < most ? step : most);
    }
    return largest / (float)most;
}

static float halved(float x) {
    unsigned char half[2];
    kd_format_put_half(half, x);
    return kd_format_get_half(half);
}

/* Scale, offset and weight of eight sub-blocks, and q. */
static void search(float *scale, float *offset, float *total, uint8_t *q, const float *x,
                   const float *weight, const kd_super_kind *kind,
                   const kd_format_candidates *candidates) {
    kd_octet values[KD_OCTET_VALUES], weights[KD_OCTET_VALUES], s, m, sum = {0};
    kd_octet_int steps[KD_OCTET_VALUES];
    kd_octet_gather(values, x, kind->sub, KD_OCTET);
    kd_octet_gather(weights, weight, kind->sub, KD_OCTET);
    kd_format_search_offset(&s, &m, steps, values, weights, kind->sub, kind->most, candidates);
    for (int i = 0; i < kind->sub; i++) sum += weights[i];
    kd_octet_scatter(q, steps, kind->sub, KD_OCTET);
    for (int k = 0; k < KD_OCTET; k++) {
        scale[k] = s[k];
        offset[k] = -m[k];
        total[k] = sum[k];
    }
}

/* Steps of the scales as they are stored; a scale of 0 leaves those of the search. */
static void requantize(const kd_super_scales *s, uint8_t *q, const float *x,
                       const kd_super_kind *kind) {
    for (int j = 0; j < KD_SUPER_BLOCK / kind->sub; j++) {
        const float d = s->d * (float)s->scale[j], m = s->m * (float)s->offset[j];
        const int first = j * kind->sub, end = d != 0 ? first + kind->sub : first;
        for (int i = first; i < end; i++) {
            const int step = kd_format_nearest((x[i] + m) / d);
            q[i] = (uint8_t)(step < 0 ? 0 : step < kind->most ? step : kind->most);
        }
    }
}

void kd_super_quantize(kd_super_scales *s, uint8_t *q, const float *x, const float *importance,
                       const kd_super_kind *kind) {
    const int subs = KD_SUPER_BLOCK / kind->sub, most = kind->most_scale;
    float scale[KD_SUPER_SUBS], offset[KD_SUPER_SUBS], total[KD_SUPER_SUBS];
    float weight[KD_SUPER_BLOCK];
    weigh(weight, x, importance, kind);
    for (int j = 0; j < subs; j += KD_OCTET)
        search(scale + j, offset + j, total + j, q + j * kind->sub, x + j * kind->sub,
               weight + j * kind->sub, kind, importance ? &kind->weighted : &kind->plain);
    if (importance) {
        s->d = halved(kd_format_search_positive(s->scale, scale, total, subs, most));
        s->m = halved(kd_format_search_positive(s->offset, offset, total, subs, most));
    } else {
        s->d = halved(spread(s->scale, scale, subs, most));
        s->m = halved(spread(s->offset, offset, subs, most));
    }
    requantize(s, q, x, kind);
}

/* --- scales alone -------------------------------------------------------------------------------
 */

void kd_super_search_scales(float *scale, uint8_t *q, const float *x, const float *weight,
                            int most) {
    enum { STEP = KD_OCTET * KD_SUPER_SUB };
    for (int at = 0; at < KD_SUPER_BLOCK; at += STEP, scale += KD_OCTET) {
        kd_octet values[KD_SUPER_SUB], weights[KD_SUPER_SUB], found;
        kd_octet_int steps[KD_SUPER_SUB];
        kd_octet_gather(values, x + at, KD_SUPER_SUB, KD_OCTET);
        if (weight) {
            kd_octet_gather(weights, weight + at, KD_SUPER_SUB, KD_OCTET);
            kd_format_search_scale(&found, steps, values, weights, KD_SUPER_SUB, most);
        } else {
            kd_format_search_steps(&found, steps, values, KD_SUPER_SUB, most);
        }
        kd_octet_scatter(q + at, steps, KD_SUPER_SUB, KD_OCTET);
        for (int k = 0; k < KD_OCTET; k++) scale[k] = found[k];
    }
}

void kd_super_requantize(uint8_t *q, const float *x, const float *scale, int most) {
    for (int j = 0; j < KD_SUPER_SUBS; j++, q += KD_SUPER_SUB, x += KD_SUPER_SUB)
        for (int i = 0; scale[j] != 0 && i < KD_SUPER_SUB; i++) {
            const int step = kd_format_nearest(x[i] / scale[j]);
            q[i] = (uint8_t)((step < -most ? -most : step < most ? step : most - 1) + most);
        }
}
