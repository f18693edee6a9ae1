#include <string.h>

#include "files/formats/number_format.h"

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    (void)importance;
    memcpy(out, x, (size_t)n * sizeof *x);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    memcpy(out, in, (size_t)n * sizeof *out);
}

const kd_number_format kd_format_f32 = {.name = "f32",
                                        .ggml_type = 0,
                                        .file_type = 0,
                                        .gguf_file_type = 0,
                                        .block = 1,
                                        .bytes = 4,
                                        .encode = encode,
                                        .decode = decode};
