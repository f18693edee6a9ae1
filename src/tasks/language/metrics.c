#include "tasks/language/metrics.h"

#include <math.h>

/* clang-format off */
const kd_metric kd_language_terms[] = {
    [KD_LANGUAGE_KL]   = {.name = "kl", .title = "τ²·divergence: teacher", .unit = KD_UNIT_NUMBER},
    [KD_LANGUAGE_HARD] = {.name = "hard", .title = "hard: text", .unit = KD_UNIT_NUMBER},
    [KD_LANGUAGE_HINT] = {.name = "hint", .title = "hints", .unit = KD_UNIT_NUMBER},
};

const kd_metric kd_language_validation[] = {
    [KD_LANGUAGE_LOSS] = {.name = "loss", .title = "nats a token", .unit = KD_UNIT_NUMBER},
};

const kd_metric kd_language_test[] = {
    [KD_TOLD_PERPLEXITY] = {.name = "perplexity", .title = "perplexity", .unit = KD_UNIT_NUMBER,
                            .has_interval = true, .least = 1, .most = INFINITY},
    [KD_TOLD_BITS]       = {.name = "bits_per_byte", .title = "bits a byte", .unit = KD_UNIT_NUMBER},
    [KD_TOLD_RIGHT]      = {.name = "accuracy", .title = "next token", .unit = KD_UNIT_SHARE,
                            .higher_is_better = true, .most = 1},
    [KD_TOLD_DIVERGENCE] = {.name = "kl_to_teacher", .title = "KL to the teacher", .unit = KD_UNIT_NUMBER,
                            .in_sweep = true},
    [KD_TOLD_AGREEMENT]  = {.name = "agreement", .title = "top-1 agreement", .unit = KD_UNIT_SHARE,
                            .higher_is_better = true, .in_sweep = true, .most = 1},
    [KD_TOLD_GAP]        = {.name = "gap_closed", .title = "gap closed", .unit = KD_UNIT_SHARE,
                            .higher_is_better = true, .in_sweep = true},
    [KD_TOLD_PARAMETERS] = {.name = "parameters", .title = "parameters", .unit = KD_UNIT_COUNT},
    [KD_TOLD_BYTES]      = {.name = "bytes", .title = "size", .unit = KD_UNIT_BYTES},
    [KD_TOLD_TOKENS]     = {.name = "tokens", .unit = KD_UNIT_COUNT},
    [KD_TOLD_SPEED]      = {.name = "tokens_per_second", .title = "tokens/s", .unit = KD_UNIT_COUNT,
                            .higher_is_better = true},
    KD_FIDELITY_ROWS(KD_TOLD_FIDELITY),
};
/* clang-format on */
