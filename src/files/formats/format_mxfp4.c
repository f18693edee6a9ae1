#include "files/formats/format_block.h"
#include "files/formats/format_small.h"

/* OCP's microscaling format MXFP4 as ggml lays it out: a byte e, then 16 bytes, byte j with value j
 * in its low and value j + 16 in its high half; value = 2^(e − 127)·E2M1. The largest magnitude has
 * the exponent of E2M1's largest: e = ⌊log2 max|x|⌋ − 2 + 127. Weighted, that exponent or one above
 * it, whichever loses less. ggml takes the smaller number where one lies between two; here the even
 * one. */
enum { BYTES = 1 + KD_FORMAT_BLOCK / 2, BIAS = 127 };

static float scale_of(int e) {
    return ldexpf(1, e - BIAS);
}

static int exponent_of(const float *x) {
    int exponent;
    const float most = fabsf(kd_format_extreme(x));
    if (!(most > 0) || !isfinite(most)) return 0;
    frexpf(most, &exponent);
    return exponent - 1 - 2 + BIAS > 0 ? exponent - 1 - 2 + BIAS : 0;
}

static void put_block(unsigned char *block, const uint8_t *code) {
    for (int j = 0; j < KD_FORMAT_HALF_BLOCK; j++)
        block[1 + j] = (unsigned char)(code[j] | code[j + KD_FORMAT_HALF_BLOCK] << 4);
}

static double encode_at(unsigned char *out, int e, const float *x, const float *importance) {
    uint8_t code[KD_FORMAT_BLOCK];
    const float scale = scale_of(e);
    double error = 0;
    for (int j = 0; j < KD_FORMAT_BLOCK; j++) {
        code[j] = kd_e2m1_from_float(x[j] / scale);
        const float lost = x[j] - scale * KD_E2M1_VALUE[code[j]];
        if (importance) error += (double)importance[j] * (double)(lost * lost);
    }
    out[0] = (unsigned char)e;
    put_block(out, code);
    return error;
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    unsigned char wider[BYTES];
    for (int64_t i = 0; i < n; i += KD_FORMAT_BLOCK, out += BYTES) {
        const float *own = importance ? importance + i : NULL;
        const int e = exponent_of(x + i);
        const double error = encode_at(out, e, x + i, own);
        if (own && encode_at(wider, e + 1, x + i, own) < error) memcpy(out, wider, BYTES);
    }
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (; n > 0; n -= KD_FORMAT_BLOCK, out += KD_FORMAT_BLOCK, in += BYTES) {
        const float scale = scale_of(in[0]);
        for (int j = 0; j < KD_FORMAT_HALF_BLOCK; j++) {
            out[j] = scale * KD_E2M1_VALUE[in[1 + j] & 15];
            out[j + KD_FORMAT_HALF_BLOCK] = scale * KD_E2M1_VALUE[in[1 + j] >> 4];
        }
    }
}

static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i += KD_FORMAT_BLOCK, in += BYTES)
        kd_format_fill(scale + i, offset + i, scale_of(in[0]), 0, KD_FORMAT_BLOCK);
}

KD_FORMAT_PUT_CODES(put_block, 0)

static const kd_format_grid GRID = {
    .codes = KD_E2M1_CODES, .level = KD_E2M1_VALUE, .scales = scales, .put = put_codes};

const kd_number_format kd_format_mxfp4 = {.name = "mxfp4",
                                          .ggml_type = 39,
                                          .file_type = -1,
                                          .gguf_file_type = 38,
                                          .block = KD_FORMAT_BLOCK,
                                          .bytes = BYTES,
                                          .fallback = &kd_format_q8_0,
                                          .encode = encode,
                                          .decode = decode,
                                          .grid = &GRID};
