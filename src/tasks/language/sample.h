/* Which token comes next, by the logits of a decoder. */
#ifndef KD_TASKS_LANGUAGE_SAMPLE_H
#define KD_TASKS_LANGUAGE_SAMPLE_H

#include "autograd/real.h"
#include "base/rng.h"

/* As transformers does it: logits are divided by the temperature; the top_k largest stay; of those
 * the fewest whose probabilities come to top_p; one is drawn. */
typedef struct {
    double temperature; /* 0: always the largest, the first of equal ones */
    int top_k;          /* 0: all                                          */
    double top_p;       /* 1: all                                          */
} kd_sampling;

/* A candidate, for the scratch of the caller. */
typedef struct {
    kd_real logit;
    int32_t id;
} kd_candidate;

/* logits (V) → how likely each token is drawn: p (V), which comes to 1; scratch (V). */
void kd_sampling_shares(double *p, const kd_real *logits, int32_t V, const kd_sampling *how,
                        kd_candidate *scratch);

/* Draws by p (V), which comes to `sum` > 0; takes one number of `rng`. */
int32_t kd_sample_share(const double *p, int32_t V, double sum, kd_rng *rng);

#endif
