/* The scale of a block that loses least where weights matter: weighted least squares over a few
 * candidates, as ggml searches it, operation by operation, so that the bytes are ggml's. With steps
 * q and weights w ≥ 0
 *
 *     scale     x ≈ s·q        minimises Σ w·(x − s·q)²:      s = Σwxq / Σwq²
 *     offset    x ≈ s·q + m    likewise, m ≤ 0: 2×2 normal equations
 *
 * where each candidate s' gives q = round(x/s'), and the best s of these q is kept.
 */
#ifndef KD_FILES_FORMAT_SEARCH_H
#define KD_FILES_FORMAT_SEARCH_H

#include <stdint.h>

/* The whole number next to x, ties to even, in −2²² … 2²²−1; defined for every x. */
int kd_format_nearest(float x);

/* → s. q (n) becomes step + most, step in −most … most − 1; all 0 when x is. The candidates put the
 * value of largest magnitude on step −(most + 0.1·i), i = −9 … 9. */
float kd_format_search_scale(uint8_t *q, const float *x, const float *weight, int n, int most);

/* Candidates that put the values between the best offset so far and the largest on
 * most + first + i·step steps, i = 0 … count. */
typedef struct {
    float first, step;
    int count;
} kd_format_candidates;

/* → s, and *offset = m. q (n) in 0 … most. n ≤ 32. */
float kd_format_search_offset(uint8_t *q, float *offset, const float *x, const float *weight, int n,
                              int most, kd_format_candidates candidates);

/* The same as kd_format_search_scale for values that are not negative, on 0 … most: first the best
 * of a few candidates by its error, then step by step, as long as a step changes. */
float kd_format_search_positive(uint8_t *q, const float *x, const float *weight, int n, int most);

/* weight[j] = importance[j]·√(σ² + x[j]²): what a value costs of which inputs see `importance`, the
 * mean square of what is multiplied by it. */
void kd_format_weights(float *weight, const float *importance, const float *x, int n, float sigma2);

/* Σ x² / n, in order. */
float kd_format_mean_square(const float *x, int64_t n);

#endif
