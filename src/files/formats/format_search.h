/* The scale of a block that loses least where weights matter: weighted least squares over a few
 * candidates, as ggml searches it, operation by operation, so that the bytes are ggml's. With steps
 * q and weights w ≥ 0
 *
 *     scale     x ≈ s·q        minimises Σ w·(x − s·q)²:      s = Σwxq / Σwq²
 *     offset    x ≈ s·q + m    likewise, m ≤ 0: 2×2 normal equations
 *
 * where each candidate s' gives q = round(x/s'), and the best s of these q is kept. Eight blocks
 * are searched at a time (format_octet.h), n ≤ KD_OCTET_VALUES values in each.
 */
#ifndef KD_FILES_FORMAT_SEARCH_H
#define KD_FILES_FORMAT_SEARCH_H

#include "files/formats/format_octet.h"

/* The whole number next to x, ties to even, in −2²² … 2²²−1; defined for every x. */
int kd_format_nearest(float x);

/* *scale = s. q (n) becomes step + most, step in −most … most − 1; all 0 when x is. The candidates
 * put the value of largest magnitude on step −(most + 0.1·i), i = −9 … 9. */
void kd_format_search_scale(kd_octet *scale, kd_octet_int *q, const kd_octet *x,
                            const kd_octet *weight, int n, int most);

/* The same with w = x², from one candidate: then step by step, as long as a step changes. */
void kd_format_search_steps(kd_octet *scale, kd_octet_int *q, const kd_octet *x, int n, int most);

/* The same on the 16 numbers `level`, rising, the first the largest in magnitude; candidates put
 * the value of largest magnitude on level[0] + i, i = −7 … 7. No q: kd_format_levels has it. */
void kd_format_search_levels(kd_octet *scale, const kd_octet *x, const kd_octet *weight, int n,
                             const int8_t *level);

/* q (n) = the place of the level next to x·inverse. */
void kd_format_levels(kd_octet_int *q, const kd_octet *x, const kd_octet *inverse, int n,
                      const int8_t *level);

/* Candidates that put the values between the best offset so far and the largest on
 * most + first + i·step steps, i = 0 … count. */
typedef struct {
    float first, step;
    int count;
    int absolute; /* Σ w·|x − s·q − m| chooses among them, not the sum of squares */
} kd_format_candidates;

/* *scale = s, *offset = m. q (n) in 0 … most. */
void kd_format_search_offset(kd_octet *scale, kd_octet *offset, kd_octet_int *q, const kd_octet *x,
                             const kd_octet *weight, int n, int most,
                             const kd_format_candidates *candidates);

/* → s of one block of values that are not negative, on 0 … most: first the best of a few candidates
 * by its error, then step by step, as long as a step changes. */
float kd_format_search_positive(uint8_t *q, const float *x, const float *weight, int n, int most);

/* weight[i] = importance[i]·√(σ² + x[i]²): what a value costs of which inputs see `importance`, the
 * mean square of what is multiplied by it. */
void kd_format_weights(float *weight, const float *importance, const float *x, int n, float sigma2);

/* Σ x², in order, and that divided by n. */
float kd_format_sum_of_squares(const float *x, int64_t n);
float kd_format_mean_square(const float *x, int64_t n);

#endif
