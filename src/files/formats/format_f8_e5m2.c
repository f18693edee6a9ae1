#include "files/formats/format_small.h"
#include "files/formats/number_format.h"

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    (void)importance;
    for (int64_t i = 0; i < n; i++) out[i] = kd_f8_e5m2_from_float(x[i]);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = kd_f8_e5m2_to_float(in[i]);
}

const kd_number_format kd_format_f8_e5m2 = {.name = "f8_e5m2",
                                            .ggml_type = KD_NO_GGML_TYPE,
                                            .file_type = -1,
                                            .gguf_file_type = -1,
                                            .block = 1,
                                            .bytes = 1,
                                            .encode = encode,
                                            .decode = decode};
