#include "files/formats/format_block.h"

/* Half d, half m, then fifth bits and bytes as in q5_0. Only read. */
enum { BYTES = 24, HALF = KD_FORMAT_BLOCK / 2 };

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

const kd_number_format kd_format_q5_1 = {"q5_1", 7, KD_FORMAT_BLOCK, BYTES, NULL, decode};
