/* What is known of a speech recogniser in numbers: the terms of its loss, what chooses its best
 * weights, what is measured on the test recordings. */
#ifndef KD_TASKS_SPEECH_METRICS_H
#define KD_TASKS_SPEECH_METRICS_H

#include "report/compression.h"

enum { KD_SPEECH_KL, KD_SPEECH_HARD, KD_SPEECH_TERMS };
extern const kd_metric kd_speech_terms[KD_SPEECH_TERMS];

/* On the validation windows, token by token behind the true ones; the first chooses. */
enum { KD_SPEECH_ACCURACY, KD_SPEECH_LOSS, KD_SPEECH_VALIDATION };
extern const kd_metric kd_speech_validation[KD_SPEECH_VALIDATION];

/* On the test recordings. */
enum {
    KD_HEARD_WER,
    KD_HEARD_ERRORS,
    KD_HEARD_UTTERANCES,
    KD_HEARD_LOOPS,
    KD_HEARD_AGAIN,
    KD_HEARD_FALLBACK,
    KD_HEARD_GAP,
    KD_HEARD_TEACHER,
    KD_HEARD_PARAMETERS,
    KD_HEARD_BYTES,
    KD_HEARD_AUDIO,
    KD_HEARD_SECONDS,
    KD_HEARD_REAL_TIME,
    KD_HEARD_FIDELITY,
    KD_HEARD_METRICS = KD_HEARD_FIDELITY + KD_FIDELITY_METRICS
};
/* Of words or, where the language has no spaces, of letters: they differ in what people read. */
extern const kd_metric kd_speech_test[KD_HEARD_METRICS];
extern const kd_metric kd_speech_test_letters[KD_HEARD_METRICS];

#endif
