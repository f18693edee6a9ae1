/* Grids of integers and arithmetic on them (Jacob et al. 2018, arXiv 1712.05877).
 *
 *     real = scale · (q − zero),   qmin ≤ q ≤ qmax
 *
 * "Steps" are q − zero: real zero is step 0. This header is the one place where rounding is
 * decided; fake-quant training and integer inference both call it, and so cannot disagree. Every
 * function here is plain arithmetic without branches, so that loops over it become vector code.
 */
#ifndef KD_QUANT_GRID_H
#define KD_QUANT_GRID_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    float scale; /* > 0 */
    int32_t zero, qmin, qmax;
} kd_grid;

/* The grid of 2^bits values over [min, max], which is widened to hold 0. bits in 2 … 8.
 *   affine:     q in 0 … 2^bits − 1, scale = (max − min)/(2^bits − 1), zero = round(−min/scale)
 *   symmetric:  q in −Q … Q, Q = 2^(bits−1) − 1, scale = max(|min|, |max|)/Q, zero = 0
 * A range of width 0 gets scale 1/(2^bits − 1) or 1/Q. */
kd_grid kd_grid_from_range(double min, double max, int bits, bool symmetric);

/* The largest |q − zero|. */
int32_t kd_grid_reach(const kd_grid *grid);

/* A real number in steps: clamp(rint(x · (1/scale)) + zero, qmin, qmax) − zero, ties to even. */
static inline int32_t kd_grid_steps(const kd_grid *grid, float x) {
    const float low = (float)(grid->qmin - grid->zero), high = (float)(grid->qmax - grid->zero);
    float steps = rintf(x * (1.0f / grid->scale));
    steps = steps < high ? steps : high; /* NaN becomes `high` */
    return (int32_t)(steps > low ? steps : low);
}

/* --- fixed-point multipliers ------------------------------------------------------------------ */

/* M = factor · 2^−31 · 2^−shift with factor in [2^30, 2^31), or 0 when M is below 2^−32; a negative
 * shift multiplies. The rounding is that of gemmlowp, bit for bit. */
typedef struct {
    int32_t factor, shift; /* shift in −30 … 31 */
} kd_multiplier;

/* The multiplier nearest to M, which is clamped to 0 … 2^30; 0 when M is not a number. */
kd_multiplier kd_multiplier_from(double M);

/* gemmlowp's SaturatingRoundingDoublingHighMul(a, b) for b ≥ 0, where its one saturating case
 * (both INT32_MIN) does not arise: round(ab/2^31), ties up. Bits 31 … 62 of the sum are the same
 * under a logical shift, which vector units have. */
static inline int32_t kd_rounding_high_mul(int32_t a, int32_t b) {
    return (int32_t)(uint32_t)(((uint64_t)((int64_t)a * b) + (1u << 30)) >> 31);
}

/* x/2^n, ties away from zero; n in 0 … 31. gemmlowp's RoundingDivideByPOT. */
static inline int32_t kd_rounding_shift(int32_t x, int32_t n) {
    const int32_t mask = (int32_t)((1u << n) - 1u);
    const int32_t threshold = (mask >> 1) + (x < 0);
    return (x >> n) + ((x & mask) > threshold);
}

/* x · 2^n, saturating; n in 0 … 30. */
static inline int32_t kd_saturating_left_shift(int32_t x, int32_t n) {
    const int32_t most = INT32_MAX >> n, least = INT32_MIN >> n;
    const int32_t shifted = (int32_t)((uint32_t)x << n);
    return x > most ? INT32_MAX : x < least ? INT32_MIN : shifted;
}

/* x · M, rounded. Monotone in x. */
static inline int32_t kd_requantize(int32_t x, int32_t factor, int32_t shift) {
    const int32_t left = shift < 0 ? -shift : 0, right = shift > 0 ? shift : 0;
    return kd_rounding_shift(kd_rounding_high_mul(kd_saturating_left_shift(x, left), factor),
                             right);
}

/* x[i] ← kd_requantize(x[i], factor[i], shift[i]) */
void kd_requantize_run(int32_t *x, const int32_t *factor, const int32_t *shift, int64_t n);

/* --- the sum of two grids --------------------------------------------------------------------- */

/* Both addends go to a common scale with this many bits to spare, are added and brought to the
 * output's scale. */
enum { KD_ADD_HEADROOM = 20 };

typedef struct {
    kd_multiplier a, b, out;
} kd_add_multipliers;

/* With t = 2·max(s_a, s_b): s_a/t, s_b/t and t/(2^20·s_out). */
kd_add_multipliers kd_add_multipliers_from(float scale_a, float scale_b, float scale_out);

/* Steps a and b (|a|, |b| ≤ 255) → steps of the output, not yet clamped. */
static inline int32_t kd_add_steps(int32_t a, int32_t b, const kd_add_multipliers *m) {
    const int32_t unit = 1 << KD_ADD_HEADROOM;
    return kd_requantize(kd_requantize(a * unit, m->a.factor, m->a.shift) +
                             kd_requantize(b * unit, m->b.factor, m->b.shift),
                         m->out.factor, m->out.shift);
}

/* out[i] = kd_add_steps(a[i], b[i]); out may be a or b */
void kd_add_steps_run(int32_t *out, const int32_t *a, const int32_t *b, const kd_add_multipliers *m,
                      int64_t n);

/* --- the last layer --------------------------------------------------------------------------- */

/* An accumulator as a real number: the product is exact in double, then rounded once more. */
static inline float kd_accumulator_value(int32_t steps, float scale_in, float scale_weight) {
    return (float)((double)steps * ((double)scale_in * (double)scale_weight));
}

#endif
