#include "files/formats/format_block.h"

/* Half d, 32 fifth bits (bit j of value j), 16 bytes as in q4_0 with the low four. d = (the value
 * of largest magnitude)/−16; q = x/d + 16 rounded. */
enum { BYTES = 22, HALF = KD_FORMAT_BLOCK / 2 };

static void encode(unsigned char *out, const float *x, int64_t n) {
    for (; n > 0; n -= KD_FORMAT_BLOCK, x += KD_FORMAT_BLOCK, out += BYTES) {
        const float d = kd_format_extreme(x) / -16, inverse = d != 0 ? 1 / d : 0;
        uint8_t q[KD_FORMAT_BLOCK], pair[HALF];
        uint32_t high = 0;
        kd_format_steps(q, x, inverse, 16.5f, 31);
        for (int j = 0; j < HALF; j++) pair[j] = (uint8_t)((q[j] & 15) | (q[j + HALF] & 15) << 4);
        for (int j = 0; j < KD_FORMAT_BLOCK; j++) high |= (uint32_t)(q[j] >> 4) << j;
        kd_format_put_half(out, d);
        memcpy(out + 6, pair, sizeof pair);
        memcpy(out + 2, &high, sizeof high);
    }
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

const kd_number_format kd_format_q5_0 = {"q5_0", 6, KD_FORMAT_BLOCK, BYTES, encode, decode};
