#include <string.h>

#include "files/formats/number_format.h"

/* double. Only read. */
static void decode(float *out, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double x;
        memcpy(&x, in + 8 * i, sizeof x);
        out[i] = (float)x;
    }
}

const kd_number_format kd_format_f64 = {.name = "f64",
                                        .ggml_type = 28,
                                        .file_type = -1,
                                        .gguf_file_type = -1,
                                        .block = 1,
                                        .bytes = 8,
                                        .decode = decode};
