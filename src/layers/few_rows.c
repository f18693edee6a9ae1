#include "layers/few_rows.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/gemm_few.h"
#include "base/error.h"

int kd_few_rows_create(kd_few_rows *out, const kd_params *params, const char *prefix) {
    const size_t bytes = (size_t)params->count * sizeof *out->compact;
    *out = (kd_few_rows){.compact = calloc(1, bytes)};
    if (!out->compact) return kd_fail_memory(bytes, "decoding");
    for (int i = 0; i < params->count; i++) {
        if (strncmp(params->list[i]->name, prefix, strlen(prefix)) != 0) continue;
        int status = kd_compact_create(&out->compact[out->count], params->list[i]);
        if (status < 0) return status;
        if (out->compact[out->count]) out->count++;
    }
    return KD_OK;
}

void kd_few_rows_clear(kd_few_rows *few) {
    for (int i = 0; i < few->count; i++) free(few->compact[i]);
    free(few->compact);
    *few = (kd_few_rows){0};
}

void kd_few_rows_product(const kd_few_rows *few, kd_tape *tape, const kd_param *W, int64_t rows,
                         const kd_real *A, int64_t lda, kd_real *C) {
    const int64_t N = W->tensor.shape[0], K = W->tensor.shape[1];
    const kd_matrix_product p =
        kd_product_of(rows, N, K, kd_plain(A, lda), kd_factor_of(&W->tensor, KD_TRANSPOSED), C, N);
    const kd_compact *compact = NULL;
    for (int i = 0; i < few->count && rows <= KD_FEW_ROWS && !compact; i++)
        if (few->compact[i]->param == W) compact = few->compact[i];
    if (compact && compact->version == *W->version)
        kd_gemm_few_compact(&p, compact);
    else
        kd_gemm_constant(tape, &p);
}

kd_tensor *kd_few_rows_linear(const kd_few_rows *few, kd_tape *tape, const kd_linear_layer *layer,
                              kd_tensor *x) {
    const int64_t shape[3] = {x->shape[0], x->shape[1], layer->weight->tensor.shape[0]};
    kd_tensor *y = kd_tape_output(tape, 3, shape);
    kd_few_rows_product(few, tape, layer->weight, kd_rows(x), x->value, kd_channels(x), y->value);
    return layer->bias ? kd_bias(tape, y, &layer->bias->tensor) : y;
}
