/* Weights that make good for one another (gptq.h). Matrices of which nothing was seen, and numbers
 * without a scale (f16), are rounded to the nearest. */
#include "quant/rounded_weights.h"

static int round_matrix(const kd_rounding *matrix) {
    if (matrix->products && matrix->format->grid)
        return kd_gptq_round(matrix, matrix->products, matrix->groups, &matrix->model->spec.gptq);
    kd_round_rows(matrix, NULL, 1);
    return 0;
}

const kd_quantizer kd_quantizer_gptq = {
    .name = "gptq", .sees = KD_SEES_PRODUCTS, .round_matrix = round_matrix, KD_ROUNDED_WEIGHTS};
