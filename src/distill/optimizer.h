/* SGD with momentum and AdamW over the parameter slab, and the learning-rate schedules.
 *
 * Of several ranks each updates its blocks of the slab (deal.h) and keeps the moments of those
 * alone; then all get all weights. */
#ifndef KD_DISTILL_OPTIMIZER_H
#define KD_DISTILL_OPTIMIZER_H

#include "autograd/param.h"
#include "distill/deal.h"
#include "distill/train_spec.h"

enum { KD_OPTIMIZER_MOMENTS = 2 };

/* A piece of the slab small enough to share out, of one parameter. */
typedef struct {
    int64_t offset, size;
    int64_t moment; /* where its moments are; −1: another rank's */
    bool decayed;
} kd_segment;

typedef struct {
    kd_params *params;         /* borrowed */
    const kd_train_spec *spec; /* borrowed */
    int moment_count;          /* 1 for SGD, 2 for AdamW */
    kd_deal deal;
    int64_t kept; /* numbers of this rank's blocks; alone: the whole slab */
    kd_real *moment[KD_OPTIMIZER_MOMENTS]; /* (kept), block after block */
    int64_t step;                          /* updates done (Adam's t) */
    kd_segment *segment;
    int segment_count;
    double *partial; /* one sum per segment */
} kd_optimizer;

/* Call after kd_params_layout. The caller frees the inside with kd_optimizer_clear. */
int kd_optimizer_init(kd_optimizer *optimizer, kd_params *params, const kd_train_spec *spec);
void kd_optimizer_clear(kd_optimizer *optimizer);

/* The moments of all ranks to the first, `whole` (the slab) there, and back; NULL on the others. */
void kd_optimizer_collect(const kd_optimizer *optimizer, int m, kd_real *whole);
void kd_optimizer_spread(kd_optimizer *optimizer, int m, const kd_real *whole);

/* One update from params->grad, of which this rank's blocks count, with clipping to spec->clip,
 * then the max-norm bound.
 *
 *   SGD    d = g + λw;  v ← μv + d;  w ← w − η·(nesterov ? d + μv : v)
 *   AdamW  m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;
 *          w ← w − ηλw − η·(m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + ε)      (Loshchilov and Hutter 2019)
 *
 * λ applies to weights, not to biases and norms. → the gradient's norm before clipping. */
double kd_optimizer_update(kd_optimizer *optimizer, double learning_rate);

/* η of update `step`, counted from 0, of `total`:
 *
 *   step < warmup   η·(step+1)/warmup, so that the first update is not lost and the last has η
 *   after that      with d = (step−warmup)/(total−warmup) and f = final_fraction
 *                   constant η;  linear η·(f + (1−f)(1−d));  cosine η·(f + (1−f)(1+cos πd)/2)
 *
 * The last update, total−1, is one short of the end, as in PyTorch and transformers. */
double kd_schedule_rate(const kd_train_spec *spec, int64_t step, int64_t warmup, int64_t total);

#endif
