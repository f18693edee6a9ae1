#include <string.h>

#include "files/formats/number_format.h"

/* bfloat16: the upper half of a float. Only read. */
static void decode(float *out, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * i, sizeof half);
        const uint32_t bits = (uint32_t)half << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

const kd_number_format kd_format_bf16 = {.name = "bf16",
                                         .ggml_type = 30,
                                         .file_type = -1,
                                         .gguf_file_type = -1,
                                         .block = 1,
                                         .bytes = 2,
                                         .decode = decode};
