#include "files/formats/format_block.h"

/* Half d, 16 bytes: byte j holds value j in its low and value j + 16 in its high half. d = (the
 * value of largest magnitude)/−8, so that this value is exact; q = x/d + 8 rounded. */
enum { BYTES = 18, HALF = KD_FORMAT_BLOCK / 2 };

static void encode(unsigned char *out, const float *x, int64_t n) {
    for (; n > 0; n -= KD_FORMAT_BLOCK, x += KD_FORMAT_BLOCK, out += BYTES) {
        const float d = kd_format_extreme(x) / -8, inverse = d != 0 ? 1 / d : 0;
        uint8_t q[KD_FORMAT_BLOCK], pair[HALF];
        kd_format_steps(q, x, inverse, 8.5f, 15);
        for (int j = 0; j < HALF; j++) pair[j] = (uint8_t)(q[j] | q[j + HALF] << 4);
        kd_format_put_half(out, d);
        memcpy(out + 2, pair, sizeof pair);
    }
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (; n > 0; n -= KD_FORMAT_BLOCK, out += KD_FORMAT_BLOCK, in += BYTES) {
        const float d = kd_format_get_half(in);
        for (int j = 0; j < HALF; j++) {
            out[j] = d * (float)((in[2 + j] & 15) - 8);
            out[j + HALF] = d * (float)((in[2 + j] >> 4) - 8);
        }
    }
}

const kd_number_format kd_format_q4_0 = {"q4_0", 2, KD_FORMAT_BLOCK, BYTES, encode, decode};
