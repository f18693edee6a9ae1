#include "files/formats/format_parts.h"

#include "files/formats/format_small.h"

static void decode_i8(float *out, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = (float)(int8_t)in[i];
}

static void decode_u8(float *out, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = (float)(in[i] - 128);
}

static void decode_u4(float *out, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = (float)((in[i / 2] >> (i % 2 * 4) & 15) - 8);
}

static void decode_e2m1(float *out, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = KD_E2M1_VALUE[in[i / 2] >> (i % 2 * 4) & 15];
}

static void decode_e8m0(float *out, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = in[i] == 255 ? NAN : ldexpf(1, in[i] - 127);
}

#define PART(of, together)                                                                         \
    const kd_number_format kd_part_##of = {.name = #of,                                            \
                                           .ggml_type = KD_NO_GGML_TYPE,                           \
                                           .file_type = -1,                                        \
                                           .gguf_file_type = -1,                                   \
                                           .block = together,                                      \
                                           .bytes = 1,                                             \
                                           .decode = decode_##of};
PART(i8, 1)
PART(u8, 1)
PART(u4, 2)
PART(e2m1, 2)
PART(e8m0, 1)
