#include <math.h>
#include <string.h>

#include "files/formats/number_format.h"

enum { MOST = 127 };

/* Float d, then n signed bytes: d = max|x|/127, q = rint(x·(1/d)), ties to even: the symmetric grid
 * of 8 bits (quant/grid.h) that the row's own range gives. */
static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    (void)importance;
    float largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++) largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    float d = (float)((double)largest / MOST);
    if (!(d >= 0x1p-100f)) d = (float)(1.0 / MOST); /* 1/d must be finite */
    memcpy(out, &d, sizeof d);
    int8_t *q = (int8_t *)out + sizeof d;
    const float inverse = 1.0f / d;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float steps = rintf(x[i] * inverse);
        steps = steps < MOST ? steps : MOST;
        q[i] = (int8_t)(steps > -MOST ? steps : -MOST);
    }
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    float d;
    memcpy(&d, in, sizeof d);
    const int8_t *q = (const int8_t *)in + sizeof d;
    for (int64_t i = 0; i < n; i++) out[i] = d * (float)q[i];
}

static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {
    float d;
    memcpy(&d, in, sizeof d);
    for (int64_t i = 0; i < n; i++) {
        scale[i] = d;
        offset[i] = 0;
    }
}

static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        row[sizeof(float) + (size_t)i] = (unsigned char)(code[i] - MOST);
}

static const kd_format_grid GRID = {
    .codes = 2 * MOST + 1, .first = -MOST, .scales = scales, .put = put_codes};

const kd_number_format kd_format_int8 = {.name = "int8",
                                         .ggml_type = KD_NO_GGML_TYPE,
                                         .file_type = -1,
                                         .gguf_file_type = -1,
                                         .block = 0,
                                         .bytes = 1,
                                         .encode = encode,
                                         .decode = decode,
                                         .grid = &GRID};
