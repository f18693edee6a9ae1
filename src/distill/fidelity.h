/* How close a model's answers stay to those it is compared with: of each answer the divergence
 *
 *   KL(p ‖ q) = Σ_v p_v·(log p_v − log q_v)      p, q: softmax of the two logits
 *
 * and whether the most likely class is the same. A mean hides the few answers that change most, so
 * the quantiles are kept. */
#ifndef KD_DISTILL_FIDELITY_H
#define KD_DISTILL_FIDELITY_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/real.h"
#include "report/compression.h"

typedef struct {
    int64_t rows, capacity;
    double *divergence; /* (rows) */
    int64_t same;       /* rows whose most likely class is the same */
} kd_fidelity;

typedef struct {
    double mean, median, p90, p99, p999, most; /* nats */
    double same;                               /* share */
    int64_t rows;
} kd_fidelity_summary;

/* out (V) of one row of logits: log softmax. */
void kd_fidelity_log_softmax(float *out, const kd_real *logits, int64_t V);

/* Adds rows: p (rows,V) are log softmaxes, z (rows,V) logits. Start with {0}; the caller clears. */
int kd_fidelity_add(kd_fidelity *f, const float *p, const kd_real *z, int64_t rows, int64_t V);
/* The same of two rows of logits each. */
int kd_fidelity_add_logits(kd_fidelity *f, const float *reference, const float *logits,
                           int64_t rows, int64_t V);
/* All NAN without rows. Sorts them. */
kd_fidelity_summary kd_fidelity_summarise(kd_fidelity *f);
void kd_fidelity_clear(kd_fidelity *f);

/* Into the values of KD_FIDELITY_ROWS, the first of which is out[0]; nothing without rows. */
void kd_fidelity_fill(kd_estimate *out, const kd_fidelity_summary *summary);

#endif
