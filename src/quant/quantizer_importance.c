/* A block's scale is the one that loses least where inputs are large, as llama.cpp does it with an
 * importance matrix. Matrices of which nothing was seen are rounded to the nearest numbers. */
#include "quant/rounded_weights.h"

static int round_matrix(const kd_rounding *matrix) {
    int groups = 1;
    const float *importance = kd_input_squares_of(matrix->seen, matrix->param, &groups);
    kd_round_rows(matrix, importance, importance ? groups : 1);
    return 0;
}

const kd_quantizer kd_quantizer_importance = {
    .name = "importance", .sees = KD_SEES_INPUTS, .round_matrix = round_matrix, KD_ROUNDED_WEIGHTS};
