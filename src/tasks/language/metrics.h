/* What is known of a language model in numbers: the terms of its loss, what chooses its best
 * weights, what is measured on the test texts. */
#ifndef KD_TASKS_LANGUAGE_METRICS_H
#define KD_TASKS_LANGUAGE_METRICS_H

#include "report/compression.h"

/* The last only with hints. */
enum { KD_LANGUAGE_KL, KD_LANGUAGE_HARD, KD_LANGUAGE_HINT, KD_LANGUAGE_TERMS };
extern const kd_metric kd_language_terms[KD_LANGUAGE_TERMS];

/* On the validation contexts; the first chooses. */
enum { KD_LANGUAGE_LOSS, KD_LANGUAGE_VALIDATION };
extern const kd_metric kd_language_validation[KD_LANGUAGE_VALIDATION];

/* On the test contexts. */
enum {
    KD_TOLD_PERPLEXITY,
    KD_TOLD_BITS,
    KD_TOLD_RIGHT,
    KD_TOLD_DIVERGENCE,
    KD_TOLD_AGREEMENT,
    KD_TOLD_GAP,
    KD_TOLD_PARAMETERS,
    KD_TOLD_BYTES,
    KD_TOLD_TOKENS,
    KD_TOLD_SPEED,
    KD_TOLD_FIDELITY,
    KD_TOLD_METRICS = KD_TOLD_FIDELITY + KD_FIDELITY_METRICS
};
extern const kd_metric kd_language_test[KD_TOLD_METRICS];

#endif
