#include <string.h>

#include "files/formats/number_format.h"

static void encode(unsigned char *out, const float *x, int64_t n) {
    memcpy(out, x, (size_t)n * sizeof *x);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    memcpy(out, in, (size_t)n * sizeof *out);
}

const kd_number_format kd_format_f32 = {"f32", 0, 1, 4, encode, decode};
