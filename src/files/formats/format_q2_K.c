#include "files/formats/format_super.h"

/* 16 bytes of scales (low) and offsets (high) of 16 sub-blocks of 16, 64 bytes of two bits
 * (kd_super_put_pairs), half d, half m: value = d·s·q − m·o. */
enum { SCALES = 16, PAIRS = 64, HALVES = SCALES + PAIRS, BYTES = HALVES + 4, SUB = 16 };

static const kd_super_kind KIND = {.sub = SUB,
                                   .most = 3,
                                   .most_scale = 15,
                                   .sigma = 1,
                                   .plain = {-0.5f, 0.1f, 15, 1},
                                   .weighted = {-0.9f, 0.05f, 36, 0}};

static void get_scales(kd_super_scales *s, const unsigned char *in) {
    s->d = kd_format_get_half(in + HALVES);
    s->m = kd_format_get_half(in + HALVES + 2);
    for (int j = 0; j < SCALES; j++) {
        s->scale[j] = in[j] & 15;
        s->offset[j] = in[j] >> 4;
    }
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, out += BYTES) {
        kd_super_scales s;
        uint8_t q[KD_SUPER_BLOCK];
        kd_super_quantize(&s, q, x + at, importance ? importance + at : NULL, &KIND);
        for (int j = 0; j < SCALES; j++) out[j] = (unsigned char)(s.scale[j] | s.offset[j] << 4);
        kd_super_put_pairs(out + SCALES, q);
        kd_format_put_half(out + HALVES, s.d);
        kd_format_put_half(out + HALVES + 2, s.m);
    }
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, in += BYTES) {
        kd_super_scales s;
        uint8_t q[KD_SUPER_BLOCK];
        get_scales(&s, in);
        kd_super_get_pairs(q, in + SCALES);
        for (int i = 0; i < KD_SUPER_BLOCK; i++)
            *out++ = s.d * (float)s.scale[i / SUB] * (float)q[i] - s.m * (float)s.offset[i / SUB];
    }
}

static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, in += BYTES) {
        kd_super_scales s;
        get_scales(&s, in);
        kd_super_fill(scale + at, offset + at, &s, SUB);
    }
}

static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {
    for (int64_t at = 0; at < n; at += KD_SUPER_BLOCK, row += BYTES)
        kd_super_put_pairs(row + SCALES, code + at);
}

static const kd_format_grid GRID = {.codes = 4, .first = 0, .scales = scales, .put = put_codes};

const kd_number_format kd_format_q2_K = {.name = "q2_K",
                                         .ggml_type = 10,
                                         .file_type = 10,
                                         .gguf_file_type = 10,
                                         .block = KD_SUPER_BLOCK,
                                         .bytes = BYTES,
                                         .fallback = &kd_format_q4_0,
                                         .encode = encode,
                                         .decode = decode,
                                         .grid = &GRID};
