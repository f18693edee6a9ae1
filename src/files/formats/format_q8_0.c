#include "files/formats/format_block.h"

/* Half d, 32 signed bytes. d = max|x|/127; q = x/d rounded half away from zero, with the d that
 * was not yet rounded to half. */
enum { BYTES = 34, MOST = 127 };

/* q[j] = roundf(x[j]·inverse), |…| ≤ 127, as vector units have it: with the number in front of a
 * half, not with a half, since that would bring the number in front of a half up to 1. */
static void to_steps(int8_t q[KD_FORMAT_BLOCK], const float *x, float inverse) {
    int32_t step[KD_FORMAT_BLOCK];
#pragma omp simd
    for (int j = 0; j < KD_FORMAT_BLOCK; j++) {
        const float scaled = x[j] * inverse;
        const float moved = scaled + copysignf(0x1.fffffep-2f, scaled);
        step[j] = fabsf(moved) < 128 ? (int32_t)moved : 0; /* 1/d may be infinite */
    }
    for (int j = 0; j < KD_FORMAT_BLOCK; j++) q[j] = (int8_t)step[j];
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    (void)importance; /* nor does ggml look */
    for (; n > 0; n -= KD_FORMAT_BLOCK, x += KD_FORMAT_BLOCK, out += BYTES) {
        const float d = fabsf(kd_format_extreme(x)) / MOST, inverse = d != 0 ? 1 / d : 0;
        int8_t q[KD_FORMAT_BLOCK];
        to_steps(q, x, inverse);
        kd_format_put_half(out, d);
        memcpy(out + 2, q, sizeof q);
    }
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (; n > 0; n -= KD_FORMAT_BLOCK, out += KD_FORMAT_BLOCK, in += BYTES) {
        const float d = kd_format_get_half(in);
        for (int j = 0; j < KD_FORMAT_BLOCK; j++) out[j] = d * (float)(int8_t)in[2 + j];
    }
}

static void put_steps(unsigned char *out, const uint8_t *code) {
    for (int j = 0; j < KD_FORMAT_BLOCK; j++) out[j] = (unsigned char)(code[j] - MOST);
}

KD_FORMAT_HALF_SCALES(0)
KD_FORMAT_PUT_CODES(put_steps, 2)

static const kd_format_grid GRID = {
    .codes = 2 * MOST + 1, .first = -MOST, .scales = scales, .put = put_codes};

static void get_steps(kd_row_steps *out, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i += KD_FORMAT_BLOCK, in += BYTES) {
        memcpy(&out->d[i / KD_FORMAT_BLOCK], in, sizeof *out->d);
        for (int j = 0; j < KD_FORMAT_BLOCK; j++) out->code[i + j] = in[2 + j] ^ 0x80;
    }
}

static const kd_format_steps STEPS = {{.bits = 8, .zero = 128}, get_steps};

const kd_number_format kd_format_q8_0 = {.name = "q8_0",
                                         .ggml_type = 8,
                                         .file_type = 7,
                                         .gguf_file_type = 7,
                                         .block = KD_FORMAT_BLOCK,
                                         .bytes = BYTES,
                                         .fallback = &kd_format_f16,
                                         .encode = encode,
                                         .decode = decode,
                                         .grid = &GRID,
                                         .steps = &STEPS};
