/* What is known of a classifier in numbers: the terms of its loss, what chooses its best weights,
 * what is measured on the test set. */
#ifndef KD_TASKS_CLASSIFY_METRICS_H
#define KD_TASKS_CLASSIFY_METRICS_H

#include "report/compression.h"

/* Terms of the loss; the last only with hints. */
enum { KD_CLASSIFY_KL, KD_CLASSIFY_HARD, KD_CLASSIFY_HINT, KD_CLASSIFY_TERMS };
extern const kd_metric kd_classify_terms[KD_CLASSIFY_TERMS];

/* On the validation split; the first chooses. */
enum { KD_CLASSIFY_ACCURACY, KD_CLASSIFY_LOSS, KD_CLASSIFY_VALIDATION };
extern const kd_metric kd_classify_validation[KD_CLASSIFY_VALIDATION];

/* On the test split. */
enum {
    KD_TEST_ACCURACY,
    KD_TEST_ERRORS,
    KD_TEST_SAMPLES,
    KD_TEST_CORRECT,
    KD_TEST_LOSS,
    KD_TEST_PARAMETERS,
    KD_TEST_BYTES,
    KD_TEST_MEMORY,
    KD_TEST_TIME,
    KD_TEST_BIAS_SHIFT,
    KD_TEST_DIFFERENCE,
    KD_TEST_DISAGREEMENTS,
    KD_TEST_FIDELITY,
    KD_TEST_METRICS = KD_TEST_FIDELITY + KD_FIDELITY_METRICS
};
extern const kd_metric kd_classify_test[KD_TEST_METRICS];

#endif
