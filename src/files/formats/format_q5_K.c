#include "files/formats/format_super.h"

/* Scales of 8 sub-blocks (format_super.h), 32 bytes of fifth bits (bit k of byte j is value
 * j + 32k's), 128 of the lower four as in q4_K. */
enum { HIGH = KD_SUPER_SCALES_BYTES, LOW = HIGH + 32, BYTES = LOW + KD_SUPER_BLOCK / 2 };
enum { SUB = 32, MOST = 31 };

static const kd_super_kind KIND = {.sub = SUB,
                                   .most = MOST,
                                   .most_scale = 63,
                                   .rms = true,
                                   .sigma = 2,
                                   .plain = {-0.5f, 0.1f, 15, 0},
                                   .weighted = {-0.9f, 0.05f, 36, 0}};

static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {
    for (; n > 0; n -= KD_SUPER_BLOCK, row += BYTES, code += KD_SUPER_BLOCK) {
        unsigned char *high = row + HIGH;
        memset(high, 0, LOW - HIGH);
        for (int i = 0; i < KD_SUPER_BLOCK; i++)
            high[i % 32] = (unsigned char)(high[i % 32] | code[i] >> 4 << i / 32);
        kd_super_put_nibbles(row + LOW, code);
    }
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, out += BYTES) {
        kd_super_scales s;
        uint8_t q[KD_SUPER_BLOCK];
        kd_super_quantize(&s, q, x + at, importance ? importance + at : NULL, &KIND);
        kd_super_put_scales(out, &s);
        put_codes(out, q, KD_SUPER_BLOCK);
    }
}

static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {
    kd_super_get_row(scale, offset, in, n, BYTES);
}

static void get_codes(uint8_t *q, const unsigned char *in) {
    kd_super_get_nibbles(q, in + LOW);
    for (int i = 0; i < KD_SUPER_BLOCK; i++)
        q[i] = (uint8_t)(q[i] | (in[HIGH + i % 32] >> i / 32 & 1) << 4);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, in += BYTES) {
        kd_super_scales s;
        uint8_t q[KD_SUPER_BLOCK];
        kd_super_get_scales(&s, in);
        get_codes(q, in);
        for (int i = 0; i < KD_SUPER_BLOCK; i++)
            *out++ = s.d * (float)s.scale[i / SUB] * (float)q[i] - s.m * (float)s.offset[i / SUB];
    }
}

static const kd_format_grid GRID = {
    .codes = MOST + 1, .first = 0, .scales = scales, .put = put_codes};

static void get_steps(kd_row_steps *out, const unsigned char *in, int64_t n) {
    for (int64_t b = 0; b < n / KD_SUPER_BLOCK; b++, in += BYTES) {
        kd_super_get_steps(out, in, b);
        get_codes(out->code + b * KD_SUPER_BLOCK, in);
    }
}

static const kd_format_steps STEPS = {{.bits = 5, .offset = true, .sub = SUB}, get_steps};

const kd_number_format kd_format_q5_K = {.name = "q5_K",
                                         .ggml_type = 13,
                                         .file_type = 13,
                                         .gguf_file_type = 16,
                                         .block = KD_SUPER_BLOCK,
                                         .bytes = BYTES,
                                         .fallback = &kd_format_q5_1,
                                         .encode = encode,
                                         .decode = decode,
                                         .grid = &GRID,
                                         .steps = &STEPS};
