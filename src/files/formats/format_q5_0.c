#include "files/formats/format_block.h"

/* Half d, 32 fifth bits, 16 bytes of the low four. d = (the value of largest magnitude)/−16;
 * q = x/d + 16 rounded. Weighted, d is searched. */
enum { BYTES = 22, MOST = 16, HALF = KD_FORMAT_HALF_BLOCK };

static void encode_plain(unsigned char *out, const float *x) {
    const float d = kd_format_extreme(x) / -MOST, inverse = d != 0 ? 1 / d : 0;
    uint8_t q[KD_FORMAT_BLOCK];
    kd_format_steps(q, x, 0, inverse, MOST + 0.5f, 2 * MOST - 1);
    kd_format_put_half(out, d);
    kd_format_put_fives(out + 2, q);
}

static void encode_weighted(unsigned char *out, const float *x, const float *weight) {
    uint8_t q[KD_FORMAT_BLOCK];
    kd_format_put_half(out, kd_format_search_scale(q, x, weight, KD_FORMAT_BLOCK, MOST));
    kd_format_put_fives(out + 2, q);
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    kd_format_encode_blocks(out, BYTES, x, importance, n, encode_plain, encode_weighted);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (; n > 0; n -= KD_FORMAT_BLOCK, out += KD_FORMAT_BLOCK, in += BYTES) {
        const float d = kd_format_get_half(in);
        uint32_t high;
        memcpy(&high, in + 2, sizeof high);
        for (int j = 0; j < HALF; j++) {
            const int a = (int)((in[6 + j] & 15u) | (high >> j & 1) << 4);
            const int b = (int)((in[6 + j] >> 4) | (high >> (j + HALF) & 1) << 4);
            out[j] = d * (float)(a - 16);
            out[j + HALF] = d * (float)(b - 16);
        }
    }
}

KD_FORMAT_HALF_SCALES(0)
KD_FORMAT_PUT_CODES(kd_format_put_fives, 2)

static const kd_format_grid GRID = {
    .codes = 2 * MOST, .first = -MOST, .scales = scales, .put = put_codes};

const kd_number_format kd_format_q5_0 = {.name = "q5_0",
                                         .ggml_type = 6,
                                         .file_type = 8,
                                         .gguf_file_type = 8,
                                         .block = KD_FORMAT_BLOCK,
                                         .bytes = BYTES,
                                         .fallback = &kd_format_f16,
                                         .encode = encode,
                                         .decode = decode,
                                         .grid = &GRID};
