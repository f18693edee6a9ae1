#include "quant/format_block.h"

/* Half d, 32 signed bytes. d = max|x|/127; q = x/d rounded half away from zero, with the d that
 * was not yet rounded to half. */
enum { BYTES = 34 };

static void encode(unsigned char *out, const float *x, int64_t n) {
    for (; n > 0; n -= KD_FORMAT_BLOCK, x += KD_FORMAT_BLOCK, out += BYTES) {
        const float d = fabsf(kd_format_extreme(x)) / 127, inverse = d != 0 ? 1 / d : 0;
        kd_format_put_half(out, d);
        for (int j = 0; j < KD_FORMAT_BLOCK; j++)
            out[2 + j] = (unsigned char)(int8_t)roundf(x[j] * inverse);
    }
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (; n > 0; n -= KD_FORMAT_BLOCK, out += KD_FORMAT_BLOCK, in += BYTES) {
        const float d = kd_format_get_half(in);
        for (int j = 0; j < KD_FORMAT_BLOCK; j++) out[j] = d * (float)(int8_t)in[2 + j];
    }
}

const kd_number_format kd_format_q8_0 = {"q8_0", 8, KD_FORMAT_BLOCK, BYTES, encode, decode};
