/* Columns scaled by their inputs, blocks without their largest values (awq.h). What has no grid of
 * blocks, or was not seen, is rounded to the nearest numbers. */
#include "quant/rounded_weights.h"

static int round_matrix(const kd_rounding *matrix) {
    if (matrix->products && matrix->format->block > 1)
        kd_awq_round(matrix, !matrix->scores);
    else
        kd_round_rows(matrix, NULL, 1);
    return 0;
}

const kd_quantizer kd_quantizer_awq = {.name = "awq",
                                       .sees = KD_SEES_PRODUCTS,
                                       .scales_columns = true,
                                       .round_matrix = round_matrix,
                                       KD_ROUNDED_WEIGHTS};
