/* Columns scaled by their inputs (awq.h), then weights that make good for one another (gptq.h). */
#include "quant/rounded_weights.h"

const kd_quantizer kd_quantizer_awq_gptq = {.name = "awq_gptq",
                                            .sees = KD_SEES_PRODUCTS,
                                            .scales_columns = true,
                                            .by_gptq = true,
                                            .round_matrix = kd_gptq_round_seen,
                                            KD_ROUNDED_WEIGHTS};
