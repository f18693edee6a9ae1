#include "files/formats/format_super.h"

/* 128 bytes of low four bits, 64 of upper two, 16 signed scales of sub-blocks of 16, half d: value
 * = d·scale·(q − 32). Of each 128 values, byte j of 64 holds values j and j + 64, and the upper
 * bits of values j, j + 32, j + 64 and j + 96 are one byte. */
enum { LOW = 128, HIGH = 64, SUBS = 16, SUB = 16, BYTES = LOW + HIGH + SUBS + 2, MOST = 32 };

static const float NOTHING = 1e-15f; /* scales below it are 0, for ggml */

/* → whether there is anything but zeros. Each sub-block's scale, and q with it. */
static bool search(float *scale, float *extreme, uint8_t *q, const float *x,
                   const float *importance) {
    *extreme = 0;
    for (int j = 0; j < SUBS; j++) {
        float weight[SUB];
        for (int i = 0; i < SUB; i++)
            weight[i] = importance ? importance[j * SUB + i] : x[j * SUB + i] * x[j * SUB + i];
        scale[j] = kd_format_search_scale(q + j * SUB, x + j * SUB, weight, SUB, MOST);
        if (fabsf(scale[j]) > fabsf(*extreme)) *extreme = scale[j];
    }
    return fabsf(*extreme) >= NOTHING;
}

static void pack(unsigned char *low, unsigned char *high, const uint8_t *q) {
    for (int half = 0; half < KD_SUPER_BLOCK; half += 128, low += 64, high += 32, q += 128)
        for (int j = 0; j < 32; j++) {
            low[j] = (unsigned char)((q[j] & 15) | (q[j + 64] & 15) << 4);
            low[j + 32] = (unsigned char)((q[j + 32] & 15) | (q[j + 96] & 15) << 4);
            high[j] = (unsigned char)(q[j] >> 4 | q[j + 32] >> 4 << 2 | q[j + 64] >> 4 << 4 |
                                      q[j + 96] >> 4 << 6);
        }
}

/* The scales as they are stored; a scale of 0 leaves the steps of the search. */
static void encode_block(unsigned char *out, const float *x, const float *importance) {
    float scale[SUBS], extreme;
    uint8_t q[KD_SUPER_BLOCK];
    memset(out, 0, BYTES);
    if (!search(scale, &extreme, q, x, importance)) return;
    const float inverse = -128.0f / extreme;
    kd_format_put_half(out + LOW + HIGH + SUBS, 1 / inverse);
    const float d = kd_format_get_half(out + LOW + HIGH + SUBS);
    for (int j = 0; j < SUBS; j++) {
        const int step = kd_format_nearest(inverse * scale[j]);
        const int8_t stored = (int8_t)(step < 127 ? step : 127);
        const float own = d * (float)stored;
        out[LOW + HIGH + j] = (unsigned char)stored;
        for (int i = j * SUB; own != 0 && i < (j + 1) * SUB; i++) {
            const int s = kd_format_nearest(x[i] / own);
            q[i] = (uint8_t)((s < -MOST ? -MOST : s < MOST ? s : MOST - 1) + MOST);
        }
    }
    pack(out, out + LOW, q);
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, out += BYTES)
        encode_block(out, x + at, importance ? importance + at : NULL);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, in += BYTES) {
        const float d = kd_format_get_half(in + LOW + HIGH + SUBS);
        for (int i = 0; i < KD_SUPER_BLOCK; i++) {
            const int half = i / 128, quarter = i % 128 / 32, j = i % 32;
            const int low = in[half * 64 + quarter % 2 * 32 + j] >> (quarter / 2 * 4) & 15;
            const int high = in[LOW + half * 32 + j] >> (quarter * 2) & 3;
            const float own = d * (float)(int8_t)in[LOW + HIGH + i / SUB];
            *out++ = own * (float)((low | high << 4) - MOST);
        }
    }
}

static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += SUB) {
        const unsigned char *block = in + at / KD_SUPER_BLOCK * BYTES;
        const float d = kd_format_get_half(block + LOW + HIGH + SUBS);
        const int8_t step = (int8_t)block[LOW + HIGH + at % KD_SUPER_BLOCK / SUB];
        kd_format_fill(scale + at, offset + at, d * (float)step, 0, SUB);
    }
}

static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, row += BYTES)
        pack(row, row + LOW, code + at);
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
                                         .grid = &GRID};
