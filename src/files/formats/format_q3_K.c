#include "files/formats/format_super.h"

/* 32 bytes of third bits (bit k of byte j is value j + 32k's), 64 of the lower two
 * (kd_super_put_pairs), 12 of the 6-bit scales of 16 sub-blocks of 16, half d: value =
 * d·(s − 32)·(q − 4). Of the scales the low four bits of the first eight are in the low halves of 8
 * bytes, of the others in the high ones; the upper two of scales j, j + 4, j + 8, j + 12 are a
 * byte. */
enum { HIGH = 32, LOW = 64, SCALES = 12, HALF = HIGH + LOW + SCALES, BYTES = HALF + 2 };
enum { MOST = 4, MOST_SCALE = 32 };

static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {
    for (; n > 0; n -= KD_SUPER_BLOCK, row += BYTES, code += KD_SUPER_BLOCK) {
        memset(row, 0, HIGH);
        for (int i = 0; i < KD_SUPER_BLOCK; i++)
            row[i % 32] = (unsigned char)(row[i % 32] | code[i] >> 2 << i / 32);
        kd_super_put_pairs(row + HIGH, code);
    }
}

static void put_scales(unsigned char *out, const uint8_t *s) {
    memset(out, 0, SCALES);
    for (int j = 0; j < KD_SUPER_SUBS; j++) {
        out[j % 8] = (unsigned char)(out[j % 8] | (s[j] & 15) << j / 8 * 4);
        out[8 + j % 4] = (unsigned char)(out[8 + j % 4] | s[j] >> 4 << j / 4 * 2);
    }
}

/* d·(s − 32) of each sub-block. */
static void get_scales(float *own, const unsigned char *block) {
    const unsigned char *in = block + HIGH + LOW;
    const float d = kd_format_get_half(block + HALF);
    for (int j = 0; j < KD_SUPER_SUBS; j++) {
        const int low = in[j % 8] >> j / 8 * 4 & 15, high = in[8 + j % 4] >> j / 4 * 2 & 3;
        own[j] = d * (float)((low | high << 4) - MOST_SCALE);
    }
}

/* Steps of the scales, and what they are multiplied by: the largest in magnitude on step 0. */
static float spread_scales(uint8_t *step, const float *scale) {
    float extreme = 0;
    for (int j = 0; j < KD_SUPER_SUBS; j++)
        if (fabsf(scale[j]) > fabsf(extreme)) extreme = scale[j];
    memset(step, 0, KD_SUPER_SUBS);
    if (extreme == 0) return 0;
    const float inverse = -(float)MOST_SCALE / extreme;
    for (int j = 0; j < KD_SUPER_SUBS; j++) {
        const int8_t s = (int8_t)kd_format_nearest(inverse * scale[j]);
        step[j] = (uint8_t)((s < -MOST_SCALE  ? -MOST_SCALE
                             : s < MOST_SCALE ? s
                                              : MOST_SCALE - 1) +
                            MOST_SCALE);
    }
    return 1 / inverse;
}

/* The same by what sub-blocks cost. */
static float search_scales(uint8_t *step, const float *scale, const float *weight) {
    kd_octet value[KD_SUPER_SUBS], total[KD_SUPER_SUBS], found;
    kd_octet_int q[KD_SUPER_SUBS];
    float sum[KD_SUPER_SUBS] = {0};
    for (int i = 0; i < KD_SUPER_BLOCK; i++) sum[i / KD_SUPER_SUB] += weight[i];
    kd_octet_gather(value, scale, KD_SUPER_SUBS, 1);
    kd_octet_gather(total, sum, KD_SUPER_SUBS, 1);
    kd_format_search_scale(&found, q, value, total, KD_SUPER_SUBS, MOST_SCALE);
    kd_octet_scatter(step, q, KD_SUPER_SUBS, 1);
    return found[0];
}

static void encode_block(unsigned char *out, const float *x, const float *importance) {
    float scale[KD_SUPER_SUBS], weight[KD_SUPER_BLOCK], d;
    uint8_t q[KD_SUPER_BLOCK], step[KD_SUPER_SUBS];
    if (importance) {
        const float sigma2 = 2 * kd_format_mean_square(x, KD_SUPER_BLOCK);
        kd_format_weights(weight, importance, x, KD_SUPER_BLOCK, sigma2);
        kd_super_search_scales(scale, q, x, weight, MOST);
        d = search_scales(step, scale, weight);
    } else {
        kd_super_search_scales(scale, q, x, NULL, MOST);
        d = spread_scales(step, scale);
    }
    put_scales(out + HIGH + LOW, step);
    kd_format_put_half(out + HALF, d);
    get_scales(scale, out);
    kd_super_requantize(q, x, scale, MOST);
    put_codes(out, q, KD_SUPER_BLOCK);
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, out += BYTES)
        encode_block(out, x + at, importance ? importance + at : NULL);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, in += BYTES) {
        float own[KD_SUPER_SUBS];
        uint8_t q[KD_SUPER_BLOCK];
        get_scales(own, in);
        kd_super_get_pairs(q, in + HIGH);
        for (int i = 0; i < KD_SUPER_BLOCK; i++) {
            const int high = in[i % 32] >> i / 32 & 1;
            *out++ = own[i / KD_SUPER_SUB] * (float)((q[i] | high << 2) - MOST);
        }
    }
}

static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, in += BYTES) {
        float own[KD_SUPER_SUBS];
        get_scales(own, in);
        for (int i = 0; i < KD_SUPER_BLOCK; i += KD_SUPER_SUB)
            kd_format_fill(scale + at + i, offset + at + i, own[i / KD_SUPER_SUB], 0, KD_SUPER_SUB);
    }
}

static const kd_format_grid GRID = {
    .codes = 2 * MOST, .first = -MOST, .scales = scales, .put = put_codes};

const kd_number_format kd_format_q3_K = {.name = "q3_K",
                                         .ggml_type = 11,
                                         .file_type = 11,
                                         .gguf_file_type = 11,
                                         .block = KD_SUPER_BLOCK,
                                         .bytes = BYTES,
                                         .fallback = &kd_format_q4_0,
                                         .encode = encode,
                                         .decode = decode,
                                         .grid = &GRID};
