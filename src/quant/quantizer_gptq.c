/* Weights that make good for one another (gptq.h). */
#include "quant/rounded_weights.h"

int kd_gptq_round_seen(const kd_rounding *matrix) {
    if (matrix->products && matrix->format->grid)
        return kd_gptq_round(matrix, matrix->products, matrix->groups, &matrix->model->spec.gptq);
    kd_round_rows(matrix, NULL, 1);
    return 0;
}

const kd_quantizer kd_quantizer_gptq = {.name = "gptq",
                                        .sees = KD_SEES_PRODUCTS,
                                        .by_gptq = true,
                                        .round_matrix = kd_gptq_round_seen,
                                        KD_ROUNDED_WEIGHTS};
