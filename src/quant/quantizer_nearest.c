/* Every weight goes to the nearest number of its format, as its encoder has it. */
#include "quant/rounded_weights.h"

static int round_matrix(const kd_rounding *matrix) {
    kd_round_rows(matrix, NULL, 1);
    return 0;
}

const kd_quantizer kd_quantizer_nearest = {
    .name = "nearest", .sees = KD_SEES_NOTHING, .round_matrix = round_matrix, KD_ROUNDED_WEIGHTS};
