/* What is known of an encoder in numbers: the terms of its loss, what chooses its best weights,
 * what is measured on the test samples. A sample is a masked token, or a sentence. */
#ifndef KD_TASKS_ENCODER_METRICS_H
#define KD_TASKS_ENCODER_METRICS_H

#include "report/metric.h"

enum { KD_ENCODER_KL, KD_ENCODER_HARD, KD_ENCODER_COSINE, KD_ENCODER_TERMS };
extern const kd_metric kd_encoder_terms[KD_ENCODER_TERMS];

/* On the validation samples; the first chooses. */
enum { KD_ENCODER_ACCURACY, KD_ENCODER_NATS, KD_ENCODER_VALIDATION };
extern const kd_metric kd_encoder_validation[KD_ENCODER_VALIDATION];

/* On the test samples. */
enum {
    KD_SEEN_ACCURACY,
    KD_SEEN_NATS,
    KD_SEEN_PERPLEXITY,
    KD_SEEN_PARAMETERS,
    KD_SEEN_BYTES,
    KD_SEEN_SAMPLES,
    KD_SEEN_METRICS
};
extern const kd_metric kd_encoder_test[KD_SEEN_METRICS];

#endif
