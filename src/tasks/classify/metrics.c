#include "tasks/classify/metrics.h"

#include <math.h>

/* clang-format off */
const kd_metric kd_classify_terms[] = {
    [KD_CLASSIFY_KL]   = {.name = "kl", .title = "τ²·divergence: teacher", .unit = KD_UNIT_NUMBER},
    [KD_CLASSIFY_HARD] = {.name = "hard", .title = "hard: labels", .unit = KD_UNIT_NUMBER},
    [KD_CLASSIFY_HINT] = {.name = "hint", .title = "hints", .unit = KD_UNIT_NUMBER},
};

const kd_metric kd_classify_validation[] = {
    [KD_CLASSIFY_ACCURACY] = {.name = "accuracy", .title = "accuracy", .unit = KD_UNIT_SHARE, .higher_is_better = true,
                              .has_interval = true, .least = 0, .most = 1},
    [KD_CLASSIFY_LOSS]     = {.name = "loss", .title = "cross-entropy", .unit = KD_UNIT_NUMBER},
};

const kd_metric kd_classify_test[] = {
    [KD_TEST_ACCURACY]      = {.name = "accuracy", .title = "accuracy", .unit = KD_UNIT_SHARE, .higher_is_better = true,
                               .has_interval = true, .least = 0, .most = 1},
    [KD_TEST_ERRORS]        = {.name = "errors", .unit = KD_UNIT_COUNT, .in_sweep = true,
                               .most = INFINITY},
    [KD_TEST_SAMPLES]       = {.name = "samples", .unit = KD_UNIT_COUNT},
    [KD_TEST_CORRECT]       = {.name = "correct", .unit = KD_UNIT_COUNT, .higher_is_better = true},
    [KD_TEST_LOSS]          = {.name = "loss", .unit = KD_UNIT_NUMBER},
    [KD_TEST_PARAMETERS]    = {.name = "parameters", .title = "parameters", .unit = KD_UNIT_COUNT},
    [KD_TEST_BYTES]         = {.name = "bytes", .title = "size", .unit = KD_UNIT_BYTES},
    [KD_TEST_MEMORY]        = {.name = "memory", .title = "memory", .unit = KD_UNIT_BYTES},
    [KD_TEST_TIME]          = {.name = "ms_per_sample", .title = "ms/sample", .unit = KD_UNIT_TIME},
    [KD_TEST_BIAS_SHIFT]    = {.name = "bias_shift", .unit = KD_UNIT_NUMBER},
    [KD_TEST_DIFFERENCE]    = {.name = "largest_difference", .unit = KD_UNIT_NUMBER},
    [KD_TEST_DISAGREEMENTS] = {.name = "disagreements", .unit = KD_UNIT_COUNT},
    KD_FIDELITY_ROWS(KD_TEST_FIDELITY),
};
/* clang-format on */
