/* What the files of the losses share. */
#ifndef KD_DISTILL_LOSS_PARTS_H
#define KD_DISTILL_LOSS_PARTS_H

#include "distill/loss.h"

/* One row of logits: what is added to its gradient (NULL: none wanted) and where scratch is. */
typedef struct {
    const kd_real *z;
    kd_real *grad;    /* (V), or NULL                                    */
    kd_real *scratch; /* (KD_SOFT_SCRATCH·V) where kd_soft_scratch says so */
    int64_t V;
} kd_loss_row;

enum { KD_SOFT_SCRATCH = 3 };

/* Whether rows with these targets need scratch. */
bool kd_soft_scratch(const kd_soft_targets *soft, const kd_loss_spec *spec);

/* The soft loss of row i of dense or top-k targets, without τ². Adds weight·τ²·∂/∂z to the row's
 * gradient; `label` is read by the decoupled loss only. */
double kd_soft_row(const kd_loss_row *row, const kd_soft_targets *soft, const kd_loss_spec *spec,
                   int64_t i, int32_t label, kd_real weight);

/* Σ e^{(x − max)·rate}, in tiles: each a float's sum, together in double. */
double kd_sum_exp(const kd_real *x, int64_t n, kd_real max, kd_real rate);

/* log(Σ_kept e^{v·rate} + e^tail): the log-sum-exp of a teacher's row of k kept logits and a tail.
 */
double kd_topk_log_sum(const kd_real *kept, int k, kd_real tail, double rate);

/* A row of top-k targets: of the teacher k kept logits and the others' log-sum-exp at τ; of the
 * student Σ e^{(z − max_z)/τ} over the dropped classes and over all. */
typedef struct {
    const kd_real *kept; /* (k) */
    int k;
    double tail, dropped, total;
    kd_real max_z, rate; /* rate = 1/τ */
    /* Found by kd_topk_divergence: */
    double log_v, log_z; /* log-sum-exps of both rows, relative to max_z the student's */
    double mean;         /* Σ q·g */
    double drop_factor;  /* q·(g − mean) of a dropped class is this times e^{(z − max_z)/τ} */
} kd_topk_row;

/* The divergence over the kept classes, whose logits of the student are z (k), and one bucket of
 * all others. */
double kd_topk_divergence(kd_topk_row *row, const kd_divergence *d, const kd_real *z);

/* q·(g − mean) of kept class j, whose logit of the student is z. */
double kd_topk_slope(const kd_topk_row *row, const kd_divergence *d, int j, kd_real z);

/* ∂x ← ∂x + dloss · saved; `saved` is of x's size, from kd_tape_take, and is given away. */
void kd_loss_hand_over(kd_tape *tape, kd_tensor *x, kd_real *saved, kd_real dloss);

/* The loss out of the sums of its rows, which are added to `parts` when that is not NULL. */
kd_real kd_loss_total(const kd_loss_spec *spec, const kd_loss_parts *sum, kd_loss_parts *parts);

#endif
