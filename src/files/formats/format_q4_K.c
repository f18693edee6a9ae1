#include "files/formats/format_super.h"

/* Scales of 8 sub-blocks (format_super.h), 128 bytes: of each 64 values 32 bytes, the first 32
 * values in the low halves. */
enum { BYTES = KD_SUPER_SCALES_BYTES + KD_SUPER_BLOCK / 2, SUB = 32, MOST = 15 };

static const kd_super_kind KIND = {.sub = SUB,
                                   .most = MOST,
                                   .most_scale = 63,
                                   .rms = true,
                                   .sigma = 2,
                                   .plain = {-1.0f, 0.1f, 20, 0},
                                   .weighted = {-0.9f, 0.05f, 36, 0}};

static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {
    for (; n > 0; n -= KD_SUPER_BLOCK, row += BYTES, code += KD_SUPER_BLOCK)
        kd_super_put_nibbles(row + KD_SUPER_SCALES_BYTES, code);
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

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, in += BYTES) {
        kd_super_scales s;
        uint8_t q[KD_SUPER_BLOCK];
        kd_super_get_scales(&s, in);
        kd_super_get_nibbles(q, in + KD_SUPER_SCALES_BYTES);
        for (int i = 0; i < KD_SUPER_BLOCK; i++)
            *out++ = s.d * (float)s.scale[i / SUB] * (float)q[i] - s.m * (float)s.offset[i / SUB];
    }
}

static const kd_format_grid GRID = {
    .codes = MOST + 1, .first = 0, .scales = scales, .put = put_codes};

static void get_steps(kd_row_steps *out, const unsigned char *in, int64_t n) {
    for (int64_t b = 0; b < n / KD_SUPER_BLOCK; b++, in += BYTES) {
        kd_super_get_steps(out, in, b);
        kd_super_get_nibbles(out->code + b * KD_SUPER_BLOCK, in + KD_SUPER_SCALES_BYTES);
    }
}

static const kd_format_steps STEPS = {{.bits = 4, .offset = true, .sub = SUB}, get_steps};

const kd_number_format kd_format_q4_K = {.name = "q4_K",
                                         .ggml_type = 12,
                                         .file_type = 12,
                                         .gguf_file_type = 14,
                                         .block = KD_SUPER_BLOCK,
                                         .bytes = BYTES,
                                         .fallback = &kd_format_q5_0,
                                         .encode = encode,
                                         .decode = decode,
                                         .grid = &GRID,
                                         .steps = &STEPS};
