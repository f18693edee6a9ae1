/* Tape ops that put numbers on integer grids and pass gradients straight through.
 *
 * Between these ops the tape carries steps (grid.h: q − zero) as whole numbers in kd_real, not
 * their real values. So a convolution of steps with integer weights gives the integer accumulator
 * itself, exactly as long as its sums stay below 2^24 (2^53 in double), in float32 and also in
 * bfloat16, which holds every integer up to 256. The ops below then round it as the integer kernels
 * do, with the functions of grid.h. The real value of a tensor of steps is scale · steps.
 *
 * Gradients are by design not derivatives of the rounding but of the identity inside the range:
 *     y = clamp(round(x/s)):   ∂y/∂x ← 1/s where x was not clipped, else 0
 * and for a learned scale (LSQ, Esser et al. 2020, arXiv 1902.08153, equation 3), where v = x/s:
 *     ∂(s·y)/∂s ← round(v) − v where not clipped, the bound (in steps) where clipped,
 * times gradient_scale = 1/√(N·Qp). NaN passes through, so that a diverged training shows.
 */
#ifndef KD_QUANT_FAKE_QUANT_H
#define KD_QUANT_FAKE_QUANT_H

#include "autograd/tape.h"
#include "quant/grid.h"

/* A learned scale, or {0} when the scale is given. */
typedef struct {
    kd_tensor *scale;      /* the tensor the scale was read from; gets the gradient */
    double gradient_scale; /* 1/√(N·Qp)                                             */
} kd_learned;

/* y = steps of x on `slices` grids: each slice of the first axis (x->size/slices elements) has its
 * own scale; zero, qmin and qmax are those of `grid`. slices = 1 is one grid for the tensor. scale
 * (slices) is borrowed until the backward. learned.scale (slices) when given. */
kd_tensor *kd_quantize(kd_tape *tape, kd_tensor *x, int64_t slices, const float *scale,
                       const kd_grid *grid, kd_learned learned);

/* How accumulators of C channels become steps of `grid`. Pointers are borrowed until the backward.
 */
typedef struct {
    int64_t channels;
    const int32_t *bias;           /* (C) in accumulator steps                              */
    const int32_t *factor, *shift; /* (C) kd_multiplier of ratio[c]                         */
    const double *ratio;           /* (C) M = (real value of one accumulator step)/s_y      */
    double unit;                   /* accumulator = rint(x·unit): 1; window size for a mean */
    kd_grid grid;                  /* of the output                                         */
    bool relu;
    kd_tensor *bias_tensor; /* (C) real bias, gets its gradient; or NULL             */
    kd_learned learned;     /* the output's scale                                    */
} kd_rescale;

/* An accumulator too long for the scalar comes in digits: acc = Σ_j digit[j] · 2^(bits·j). With
 * more than one digit the op is for evaluation only and is not recorded. */
enum { KD_DIGITS_MAX = 7 };
typedef struct {
    int count, bits;
    kd_tensor *digit[KD_DIGITS_MAX]; /* (…,C) */
} kd_accumulator;

/* y = clamp(requantize(acc + bias)) in steps, after relu when asked → (…,C) */
kd_tensor *kd_requantize_steps(kd_tape *tape, const kd_accumulator *acc, const kd_rescale *how);

/* y = clamp(kd_add_steps(a, b)), after relu when asked; same shapes. */
kd_tensor *kd_add_quantized(kd_tape *tape, kd_tensor *a, const kd_grid *grid_a, kd_tensor *b,
                            const kd_grid *grid_b, const kd_grid *out, bool relu,
                            kd_learned learned);

/* y = real value of acc + bias: kd_accumulator_value(acc[c] + bias[c], scale_in, scale_weight[c]),
 * then relu when asked. bias_tensor as in kd_rescale. → (…,C) */
kd_tensor *kd_dequantize(kd_tape *tape, const kd_accumulator *acc, const int32_t *bias,
                         float scale_in, const float *scale_weight, kd_tensor *bias_tensor,
                         bool relu);

/* --- what observers need ---------------------------------------------------------------------- */

/* Smallest and largest of each channel of x (…,C): min, max (C). */
void kd_channel_extrema(kd_tape *tape, const kd_tensor *x, kd_real *min, kd_real *max);

/* Smallest and largest of scale_a·a + scale_b·b. */
void kd_sum_extrema(const kd_tensor *a, float scale_a, const kd_tensor *b, float scale_b,
                    double *min, double *max);

#endif
