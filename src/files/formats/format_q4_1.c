#include "files/formats/format_block.h"

/* Half d, half m, 16 bytes as in q4_0. Only read. */
enum { BYTES = 20, HALF = KD_FORMAT_BLOCK / 2 };

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (; n > 0; n -= KD_FORMAT_BLOCK, out += KD_FORMAT_BLOCK, in += BYTES) {
        const float d = kd_format_get_half(in), m = kd_format_get_half(in + 2);
        for (int j = 0; j < HALF; j++) {
            out[j] = d * (float)(in[4 + j] & 15) + m;
            out[j + HALF] = d * (float)(in[4 + j] >> 4) + m;
        }
    }
}

const kd_number_format kd_format_q4_1 = {"q4_1", 3, KD_FORMAT_BLOCK, BYTES, NULL, decode};
