#include "files/formats/format_super.h"

/* 128 bytes of low four bits, 64 of upper two, 16 signed scales of sub-blocks of 16, half d: value
 * = d·scale·(q − 32). Of each 128 values, byte j of 64 holds values j and j + 64, and the upper
 * bits of values j, j + 32, j + 64 and j + 96 are one byte. */
enum { LOW = 128, HIGH = 64, SUBS = 16, SUB = 16, BYTES = LOW + HIGH + SUBS + 2, MOST = 32 };

static const float NOTHING = 1e-15f; /* scales below it are 0, for ggml */

static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {
    for (; n > 0; n -= KD_SUPER_BLOCK, row += BYTES, code += KD_SUPER_BLOCK) {
        uint8_t high[KD_SUPER_BLOCK];
        for (int i = 0; i < KD_SUPER_BLOCK; i++) high[i] = code[i] >> 4;
        kd_super_put_pairs(row + LOW, high);
        for (int j = 0; j < LOW; j++) {
            const uint8_t *q = code + j / 64 * 128 + j % 64;
            row[j] = (unsigned char)((q[0] & 15) | (q[64] & 15) << 4);
        }
    }
}

/* Each sub-block's scale, and q with it; → the scale of largest magnitude. */
static float search(float *scale, uint8_t *q, const float *x, const float *importance) {
    float square[KD_SUPER_BLOCK], extreme = 0;
    for (int i = 0; i < KD_SUPER_BLOCK; i++) square[i] = x[i] * x[i];
    kd_super_search_scales(scale, q, x, importance ? importance : square, MOST);
    for (int j = 0; j < SUBS; j++)
        if (fabsf(scale[j]) > fabsf(extreme)) extreme = scale[j];
    return extreme;
}

static void encode_block(unsigned char *out, const float *x, const float *importance) {
    float scale[SUBS];
    uint8_t q[KD_SUPER_BLOCK];
    const float extreme = search(scale, q, x, importance), inverse = -128.0f / extreme;
    memset(out, 0, BYTES);
    if (fabsf(extreme) < NOTHING) return;
    kd_format_put_half(out + LOW + HIGH + SUBS, 1 / inverse);
    const float d = kd_format_get_half(out + LOW + HIGH + SUBS);
    for (int j = 0; j < SUBS; j++) {
        const int step = kd_format_nearest(inverse * scale[j]);
        const int8_t stored = (int8_t)(step < 127 ? step : 127);
        out[LOW + HIGH + j] = (unsigned char)stored;
        scale[j] = d * (float)stored;
    }
    kd_super_requantize(q, x, scale, MOST);
    put_codes(out, q, KD_SUPER_BLOCK);
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, out += BYTES)
        encode_block(out, x + at, importance ? importance + at : NULL);
}

static void get_codes(uint8_t *q, const unsigned char *in) {
    for (int i = 0; i < KD_SUPER_BLOCK; i++) {
        const int half = i / 128, quarter = i % 128 / 32, j = i % 32;
        const int low = in[half * 64 + quarter % 2 * 32 + j] >> (quarter / 2 * 4) & 15;
        const int high = in[LOW + half * 32 + j] >> (quarter * 2) & 3;
        q[i] = (uint8_t)(low | high << 4);
    }
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, in += BYTES) {
        const float d = kd_format_get_half(in + LOW + HIGH + SUBS);
        uint8_t q[KD_SUPER_BLOCK];
        get_codes(q, in);
        for (int i = 0; i < KD_SUPER_BLOCK; i++) {
            const float own = d * (float)(int8_t)in[LOW + HIGH + i / SUB];
            *out++ = own * (float)(q[i] - MOST);
        }
    }
}

static void get_steps(kd_row_steps *out, const unsigned char *in, int64_t n) {
    for (int64_t b = 0; b < n / KD_SUPER_BLOCK; b++, in += BYTES) {
        memcpy(&out->d[b], in + LOW + HIGH + SUBS, sizeof *out->d);
        memcpy(out->s + b * SUBS, in + LOW + HIGH, SUBS);
        get_codes(out->code + b * KD_SUPER_BLOCK, in);
    }
}

static const kd_format_steps STEPS = {{.bits = 6, .zero = MOST, .sub = SUB}, get_steps};

static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += SUB) {
        const unsigned char *block = in + at / KD_SUPER_BLOCK * BYTES;
        const float d = kd_format_get_half(block + LOW + HIGH + SUBS);
        const int8_t step = (int8_t)block[LOW + HIGH + at % KD_SUPER_BLOCK / SUB];
        kd_format_fill(scale + at, offset + at, d * (float)step, 0, SUB);
    }
}

static const kd_format_grid GRID = {
    .codes = 2 * MOST, .first = -MOST, .scales = scales, .put = put_codes};

const kd_number_format kd_format_q6_K = {.name = "q6_K",
                                         .ggml_type = 14,
                                         .file_type = 14,
                                         .gguf_file_type = 18,
                                         .block = KD_SUPER_BLOCK,
                                         .bytes = BYTES,
                                         .fallback = &kd_format_q8_0,
                                         .encode = encode,
                                         .decode = decode,
                                         .grid = &GRID,
                                         .steps = &STEPS};
