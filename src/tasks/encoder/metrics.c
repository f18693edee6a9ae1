#include "tasks/encoder/metrics.h"

/* clang-format off */
const kd_metric kd_encoder_terms[] = {
    [KD_ENCODER_KL]     = {.name = "kl", .title = "τ²·KL: teacher", .unit = KD_UNIT_NUMBER},
    [KD_ENCODER_HARD]   = {.name = "hard", .title = "hard: labels", .unit = KD_UNIT_NUMBER},
    [KD_ENCODER_COSINE] = {.name = "cosine", .title = "1 − cos: hidden states", .unit = KD_UNIT_NUMBER},
};

const kd_metric kd_encoder_validation[] = {
    [KD_ENCODER_ACCURACY] = {.name = "accuracy", .title = "accuracy", .unit = KD_UNIT_SHARE, .higher_is_better = true,
                             .has_interval = true, .least = 0, .most = 1},
    [KD_ENCODER_NATS]     = {.name = "loss", .title = "cross-entropy", .unit = KD_UNIT_NUMBER},
};

const kd_metric kd_encoder_test[] = {
    [KD_SEEN_ACCURACY]   = {.name = "accuracy", .title = "accuracy", .unit = KD_UNIT_SHARE, .higher_is_better = true,
                            .has_interval = true, .least = 0, .most = 1},
    [KD_SEEN_NATS]       = {.name = "loss", .title = "cross-entropy", .unit = KD_UNIT_NUMBER},
    [KD_SEEN_PERPLEXITY] = {.name = "perplexity", .unit = KD_UNIT_NUMBER},
    [KD_SEEN_PARAMETERS] = {.name = "parameters", .title = "parameters", .unit = KD_UNIT_COUNT},
    [KD_SEEN_BYTES]      = {.name = "bytes", .title = "size", .unit = KD_UNIT_BYTES},
    [KD_SEEN_SAMPLES]    = {.name = "samples", .unit = KD_UNIT_COUNT},
};
/* clang-format on */
