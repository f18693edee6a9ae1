#include "files/formats/format_small.h"
#include "files/formats/number_format.h"

/* Float d, then n numbers in E4M3: d is max|x|/448, or the next power of two above it. */
static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    (void)importance;
    float most = 0;
    for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    const float d = kd_power_above(most / KD_E4M3_MOST);
    memcpy(out, &d, sizeof d);
    for (int64_t i = 0; i < n; i++) out[sizeof d + (size_t)i] = kd_f8_e4m3_from_float(x[i] / d);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    float d;
    memcpy(&d, in, sizeof d);
    for (int64_t i = 0; i < n; i++) out[i] = d * kd_f8_e4m3_to_float(in[sizeof d + (size_t)i]);
}

const kd_number_format kd_format_f8_e4m3 = {.name = "f8_e4m3",
                                            .ggml_type = KD_NO_GGML_TYPE,
                                            .file_type = -1,
                                            .gguf_file_type = -1,
                                            .block = 0,
                                            .bytes = 1,
                                            .encode = encode,
                                            .decode = decode};
