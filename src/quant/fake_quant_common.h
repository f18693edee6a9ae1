/* What the fake-quant ops share: tiles, and accumulators from the products that hold them. */
#ifndef KD_QUANT_FAKE_QUANT_COMMON_H
#define KD_QUANT_FAKE_QUANT_COMMON_H

#include "quant/fake_quant.h"

/* Sums go over at most this many tiles, in their order. Rows are worked on in chunks of channels
 * that fit a buffer on the stack. */
enum { KD_TILES_MAX = 64, KD_STEP_CHUNK = 256 };

/* rint(x · unit) as an integer; far outside of what the integers allow, and for NaN, a bound. */
static inline int32_t kd_whole_steps(kd_real x, kd_real unit) {
    const kd_real bound = (kd_real)(1 << 30);
    kd_real steps = kd_rint(x * unit);
    steps = steps < bound ? steps : bound;
    return (int32_t)(steps > -bound ? steps : -bound);
}

/* steps[c] = accumulator + bias for n elements from `at` on; wraps like the integers do. */
static inline void kd_accumulator_steps(int32_t *restrict steps, const kd_accumulator *acc,
                                        kd_real unit, int64_t at, const int32_t *restrict bias,
                                        int64_t n) {
    const kd_real *restrict first = acc->digit[0]->value + at;
#pragma omp simd
    for (int64_t c = 0; c < n; c++)
        steps[c] = (int32_t)((uint32_t)kd_whole_steps(first[c], unit) + (uint32_t)bias[c]);
    for (int j = 1; j < acc->count; j++) {
        const kd_real *restrict digit = acc->digit[j]->value + at;
        for (int64_t c = 0; c < n; c++)
            steps[c] = (int32_t)((uint32_t)steps[c] +
                                 ((uint32_t)kd_whole_steps(digit[c], 1) << (j * acc->bits)));
    }
}

#endif
