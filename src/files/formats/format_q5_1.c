#include "files/formats/format_block.h"

/* Half d, half m, then fifth bits and bytes as in q5_0; m, d and q as in q4_1, with 31 steps. */
enum { BYTES = 24, MOST = 31, HALF = KD_FORMAT_HALF_BLOCK };

static void put(unsigned char *out, float d, float m, const uint8_t *q) {
    kd_format_put_half(out, d);
    kd_format_put_half(out + 2, m);
    kd_format_put_fives(out + 4, q);
}

static void encode_plain(unsigned char *out, const float *x) {
    uint8_t q[KD_FORMAT_BLOCK];
    float m;
    const float d = kd_format_span(q, &m, x, MOST);
    put(out, d, m, q);
}

static void encode_weighted(unsigned char *out, const float *x, const float *weight) {
    uint8_t q[KD_FORMAT_BLOCK];
    float m;
    const float d = kd_format_search_span(q, &m, x, weight, MOST);
    put(out, d, m, q);
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    kd_format_encode_blocks(out, BYTES, x, importance, n, encode_plain, encode_weighted);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (; n > 0; n -= KD_FORMAT_BLOCK, out += KD_FORMAT_BLOCK, in += BYTES) {
        const float d = kd_format_get_half(in), m = kd_format_get_half(in + 2);
        uint32_t high;
        memcpy(&high, in + 4, sizeof high);
        for (int j = 0; j < HALF; j++) {
            const unsigned a = (in[8 + j] & 15u) | (high >> j & 1) << 4;
            const unsigned b = (unsigned)(in[8 + j] >> 4) | (high >> (j + HALF) & 1) << 4;
            out[j] = d * (float)a + m;
            out[j + HALF] = d * (float)b + m;
        }
    }
}

KD_FORMAT_HALF_SCALES(kd_format_get_half(in + 2))
KD_FORMAT_PUT_CODES(kd_format_put_fives, 4)

static const kd_format_grid GRID = {
    .codes = MOST + 1, .first = 0, .scales = scales, .put = put_codes};

const kd_number_format kd_format_q5_1 = {.name = "q5_1",
                                         .ggml_type = 7,
                                         .file_type = 9,
                                         .gguf_file_type = 9,
                                         .block = KD_FORMAT_BLOCK,
                                         .bytes = BYTES,
                                         .fallback = &kd_format_f16,
                                         .encode = encode,
                                         .decode = decode,
                                         .grid = &GRID};
