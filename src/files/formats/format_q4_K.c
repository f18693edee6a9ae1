#include "files/formats/format_super.h"

/* Scales of 8 sub-blocks (format_super.h), 128 bytes: of each 64 values 32 bytes, the first 32
 * values in the low halves. */
enum { BYTES = KD_SUPER_SCALES_BYTES + KD_SUPER_BLOCK / 2, MOST = 15 };

static const kd_super_search SEARCH = {{-1.0f, 0.1f, 20}, {-0.9f, 0.05f, 36}};

static void put_block(unsigned char *block, const uint8_t *q) {
    unsigned char *pair = block + KD_SUPER_SCALES_BYTES;
    for (int i = 0; i < KD_SUPER_BLOCK; i += 64)
        for (int j = 0; j < 32; j++) *pair++ = (unsigned char)(q[i + j] | q[i + j + 32] << 4);
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, out += BYTES) {
        kd_super_scales scales;
        uint8_t q[KD_SUPER_BLOCK];
        kd_super_quantize(&scales, q, x + at, importance ? importance + at : NULL, MOST, &SEARCH);
        kd_super_put_scales(out, &scales);
        put_block(out, q);
    }
}

static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, row += BYTES) put_block(row, code + at);
}

static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, in += BYTES)
        kd_super_fill(scale + at, offset + at, in);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, in += BYTES) {
        kd_super_scales s;
        kd_super_get_scales(&s, in);
        const unsigned char *pair = in + KD_SUPER_SCALES_BYTES;
        for (int j = 0; j < KD_SUPER_SUBS; j++) {
            const float d = s.d * (float)s.scale[j], m = s.m * (float)s.offset[j];
            for (int i = 0; i < 32; i++) {
                const int q = pair[j / 2 * 32 + i] >> (j % 2 ? 4 : 0) & 15;
                *out++ = d * (float)q - m;
            }
        }
    }
}

static const kd_format_grid GRID = {
    .codes = MOST + 1, .first = 0, .scales = scales, .put = put_codes};

const kd_number_format kd_format_q4_K = {.name = "q4_K",
                                         .ggml_type = 12,
                                         .file_type = 12,
                                         .gguf_file_type = 14,
                                         .block = KD_SUPER_BLOCK,
                                         .bytes = BYTES,
                                         .fallback = &kd_format_q5_0,
                                         .encode = encode,
                                         .decode = decode,
                                         .grid = &GRID};
