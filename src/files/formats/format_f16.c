#include <string.h>

#include "data/half.h"
#include "files/formats/number_format.h"

/* In pieces, since `out` and `in` may be unaligned. */
enum { PIECE = 512 };

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    (void)importance;
    uint16_t half[PIECE];
    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t count = n - i < PIECE ? n - i : PIECE;
        kd_half_encode(half, x + i, count);
        memcpy(out + 2 * i, half, (size_t)count * sizeof *half);
    }
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    uint16_t half[PIECE];
    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t count = n - i < PIECE ? n - i : PIECE;
        memcpy(half, in + 2 * i, (size_t)count * sizeof *half);
        kd_half_decode(out + i, half, count);
    }
}

const kd_number_format kd_format_f16 = {.name = "f16",
                                        .ggml_type = 1,
                                        .file_type = 1,
                                        .gguf_file_type = 1,
                                        .block = 1,
                                        .bytes = 2,
                                        .encode = encode,
                                        .decode = decode};
