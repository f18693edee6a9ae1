/* Rows of activations, rounded to 8 bits. */
#include <math.h>

#include "autograd/packed_kernel.h"

/* To nearest, ties to even, of |x| < 2²². */
static inline int8_t nearest(float x) {
    return (int8_t)((x + 12582912.0f) - 12582912.0f);
}

/* One block → its scale. A block that holds what is no number becomes none as a whole. */
static float round_block(int8_t *restrict out, const kd_real *restrict x) {
    float most = 0, strange = 0;
#pragma omp simd reduction(max : most) reduction(+ : strange)
    for (int i = 0; i < KD_STEPS_BLOCK; i++) {
        const float size = fabsf((float)x[i]);
        most = size > most ? size : most;
        strange += (float)x[i] - (float)x[i]; /* 0, or NaN */
    }
    const float inverse = most > 0 ? 127 / most : 0;
    if (!(strange == 0) || !(inverse < INFINITY)) { /* of less than 2⁻¹²¹ nothing is left */
        for (int i = 0; i < KD_STEPS_BLOCK; i++) out[i] = 0;
        return strange;
    }
    for (int i = 0; i < KD_STEPS_BLOCK; i++) out[i] = nearest((float)x[i] * inverse);
    return most / 127;
}

static int32_t sum_of(const int8_t *step, int n) {
    int32_t sum = 0;
    for (int i = 0; i < n; i++) sum += step[i];
    return sum;
}

void kd_packed_round(kd_rounded_rows *out, const kd_real *A, int64_t lda, int64_t begin,
                     int64_t end) {
    enum { BLOCK = KD_STEPS_BLOCK, HALF = BLOCK / 2 };
    const int64_t blocks = out->columns / BLOCK;
    for (int64_t row = begin; row < end; row++)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t at = row * blocks + b;
            int8_t *step = out->step + at * BLOCK;
            out->scale[at] = round_block(step, A + row * lda + b * BLOCK);
            const int32_t first = sum_of(step, HALF), last = sum_of(step + HALF, HALF);
            out->minus[2 * at] = -first;
            out->minus[2 * at + 1] = -last;
            out->total[at] = out->scale[at] * (float)(first + last);
        }
}
