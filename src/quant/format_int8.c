#include <string.h>

#include "quant/grid.h"
#include "quant/number_format.h"

/* Float d, then n signed bytes: the symmetric grid of the row, d = max|x|/127, q = rint(x·(1/d)),
 * ties to even, as kd_grid_steps has it. */
static void encode(unsigned char *out, const float *x, int64_t n) {
    float largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++) largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    const kd_grid grid = kd_grid_from_range(-(double)largest, (double)largest, 8, true);
    memcpy(out, &grid.scale, sizeof grid.scale);
    int8_t *q = (int8_t *)out + sizeof grid.scale;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) q[i] = (int8_t)kd_grid_steps(&grid, x[i]);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    float d;
    memcpy(&d, in, sizeof d);
    const int8_t *q = (const int8_t *)in + sizeof d;
    for (int64_t i = 0; i < n; i++) out[i] = d * (float)q[i];
}

const kd_number_format kd_format_int8 = {"int8", KD_NO_GGML_TYPE, 0, 1, encode, decode};
