#include "tasks/speech/metrics.h"

#include <math.h>

/* clang-format off */
const kd_metric kd_speech_terms[] = {
    [KD_SPEECH_KL]   = {.name = "kl", .title = "τ²·divergence: teacher", .unit = KD_UNIT_NUMBER},
    [KD_SPEECH_HARD] = {.name = "hard", .title = "hard: labels", .unit = KD_UNIT_NUMBER},
};

const kd_metric kd_speech_validation[] = {
    [KD_SPEECH_ACCURACY] = {.name = "accuracy", .title = "next token right", .unit = KD_UNIT_SHARE,
                            .higher_is_better = true, .least = 0, .most = 1},
    [KD_SPEECH_LOSS]     = {.name = "loss", .title = "cross-entropy", .unit = KD_UNIT_NUMBER},
};

/* Words that were not said count too: a rate has no upper end. */
#define RATE(key, words)                                                                           \
    {.name = key, .title = words, .unit = KD_UNIT_SHARE, .has_interval = true,                     \
     .least = 0, .most = INFINITY}
#define ONLY_IN_FILES(key, how) {.name = key, .unit = how}
#define TEST_METRICS(rate) {                                                                       \
    [KD_HEARD_WER]        = RATE("wer", rate),                                                     \
    [KD_HEARD_ERRORS]     = {.name = "errors", .unit = KD_UNIT_COUNT, .in_sweep = true,            \
                             .most = INFINITY},                                                    \
    [KD_HEARD_UTTERANCES] = ONLY_IN_FILES("utterances", KD_UNIT_COUNT),                            \
    [KD_HEARD_LOOPS]      = {.name = "loops", .title = "loops", .unit = KD_UNIT_COUNT},            \
    [KD_HEARD_AGAIN]      = ONLY_IN_FILES("decoded_again", KD_UNIT_COUNT),                         \
    [KD_HEARD_FALLBACK]   = RATE("wer_with_fallback", "with fallback"),                            \
    [KD_HEARD_GAP]        = {.name = "gap_closed", .title = "gap closed", .unit = KD_UNIT_SHARE,   \
                             .higher_is_better = true},                                            \
    [KD_HEARD_TEACHER]    = RATE("wer_to_teacher", "against the teacher"),                         \
    [KD_HEARD_PARAMETERS] = {.name = "parameters", .title = "parameters", .unit = KD_UNIT_COUNT},  \
    [KD_HEARD_BYTES]      = {.name = "bytes", .title = "size", .unit = KD_UNIT_BYTES},             \
    [KD_HEARD_AUDIO]      = ONLY_IN_FILES("audio_seconds", KD_UNIT_NUMBER),                        \
    [KD_HEARD_SECONDS]    = ONLY_IN_FILES("seconds", KD_UNIT_NUMBER),                              \
    [KD_HEARD_REAL_TIME]  = {.name = "real_time", .title = "real time", .unit = KD_UNIT_TIME},     \
    KD_FIDELITY_ROWS(KD_HEARD_FIDELITY),                                                           \
}
const kd_metric kd_speech_test[] = TEST_METRICS("WER");
const kd_metric kd_speech_test_letters[] = TEST_METRICS("CER");
/* clang-format on */
