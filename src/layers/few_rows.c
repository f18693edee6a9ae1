#include "layers/few_rows.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/gemm_few.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/size.h"

/* --- matrices ----------------------------------------------------------------------------------
 */

static int compare(const void *a, const void *b) {
    const uintptr_t x = (uintptr_t)((const kd_few_rows_matrix *)a)->param;
    const uintptr_t y = (uintptr_t)((const kd_few_rows_matrix *)b)->param;
    return x < y ? -1 : x > y;
}

static const kd_few_rows_matrix *find(const kd_few_rows *few, const kd_param *param) {
    const kd_few_rows_matrix wanted = {.param = param};
    return bsearch(&wanted, few->matrix, (size_t)few->count, sizeof wanted, compare);
}

/* Bytes of a matrix that is to be packed, or 0. */
static int64_t packed_bytes(const kd_param *p, kd_products products) {
    const kd_constant *c = p->tensor.constant;
    return products == KD_PRODUCTS_STEPS && c && c->steps && p->tensor.rank == 2
               ? kd_packed_bytes(&c->steps->kind, p->tensor.shape[0], p->tensor.shape[1])
               : 0;
}

/* All in one piece of memory, so that large pages hold them. */
static int pack(kd_few_rows *few, kd_products products) {
    int64_t bytes = 0;
    for (int i = 0; i < few->count; i++) bytes += packed_bytes(few->matrix[i].param, products);
    if (bytes == 0) return KD_OK;
    unsigned char *at = few->memory = kd_large_alloc(kd_array_bytes(bytes, 1));
    if (!at) return kd_fail_memory((size_t)bytes, "the matrices");
    for (int i = 0; i < few->count; i++) {
        const kd_tensor *W = &few->matrix[i].param->tensor;
        const int64_t own = packed_bytes(few->matrix[i].param, products);
        const int status =
            own ? kd_packed_fill(&few->matrix[i].packed, at, W->constant, W->shape[0], W->shape[1])
                : KD_OK;
        if (status < 0) return status;
        at += own;
    }
    return KD_OK;
}

int kd_few_rows_create(kd_few_rows *out, const kd_params *params, const char *prefix,
                       kd_products products) {
    const size_t bytes = (size_t)params->count * sizeof *out->matrix;
    *out = (kd_few_rows){.matrix = calloc(1, bytes)};
    if (!out->matrix) return kd_fail_memory(bytes, "decoding");
    for (int i = 0; i < params->count; i++) {
        kd_few_rows_matrix *m = &out->matrix[out->count];
        if (strncmp(params->list[i]->name, prefix, strlen(prefix)) != 0) continue;
        m->param = params->list[i];
        const int status =
            packed_bytes(m->param, products) ? KD_OK : kd_compact_create(&m->compact, m->param);
        if (status < 0) return status;
        if (m->compact || packed_bytes(m->param, products)) out->count++;
    }
    qsort(out->matrix, (size_t)out->count, sizeof *out->matrix, compare);
    return pack(out, products);
}

void kd_few_rows_clear(kd_few_rows *few) {
    for (int i = 0; i < few->count; i++) free(few->matrix[i].compact);
    free(few->matrix);
    free(few->memory);
    *few = (kd_few_rows){0};
}

/* --- products -----------------------------------------------------------------------------------
 */

void kd_few_rows_product(const kd_few_rows *few, kd_tape *tape, const kd_param *W, int64_t rows,
                         const kd_real *A, int64_t lda, kd_real *C) {
    const int64_t N = W->tensor.shape[0], K = W->tensor.shape[1];
    const kd_matrix_product p =
        kd_product_of(rows, N, K, kd_plain(A, lda), kd_factor_of(&W->tensor, KD_TRANSPOSED), C, N);
    const kd_few_rows_matrix *m = find(few, W);
    if (m && m->packed.kernel)
        kd_packed_multiply(tape, A, lda, rows, &(kd_packed_product){&m->packed, C}, 1);
    else if (m && rows <= KD_FEW_ROWS && m->compact->version == *W->version)
        kd_gemm_few_compact(&p, m->compact);
    else
        kd_gemm_constant(tape, &p);
}

/* y of a layer before its product. */
static kd_tensor *output_of(kd_tape *tape, const kd_linear_layer *layer, const kd_tensor *x) {
    const int64_t shape[3] = {x->shape[0], x->shape[1], layer->weight->tensor.shape[0]};
    return kd_tape_output(tape, 3, shape);
}

static kd_tensor *add_bias(kd_tape *tape, const kd_linear_layer *layer, kd_tensor *y) {
    return layer->bias ? kd_bias(tape, y, &layer->bias->tensor) : y;
}

kd_tensor *kd_few_rows_linear(const kd_few_rows *few, kd_tape *tape, const kd_linear_layer *layer,
                              kd_tensor *x) {
    kd_tensor *y = output_of(tape, layer, x);
    kd_few_rows_product(few, tape, layer->weight, kd_rows(x), x->value, kd_channels(x), y->value);
    return add_bias(tape, layer, y);
}

void kd_few_rows_linears(const kd_few_rows *few, kd_tape *tape, const kd_linear_layer *const *layer,
                         int count, kd_tensor *x, kd_tensor **y) {
    kd_packed_product product[KD_FEW_ROWS_LAYERS] = {{0}};
    int packed = 0;
    KD_CONTRACT(count <= KD_FEW_ROWS_LAYERS, "%d layers", count);
    for (int i = 0; i < count; i++) {
        const kd_few_rows_matrix *m = find(few, layer[i]->weight);
        if (!m || !m->packed.kernel) continue;
        y[i] = output_of(tape, layer[i], x);
        product[packed++] = (kd_packed_product){&m->packed, y[i]->value};
    }
    if (packed < count) { /* whichever are not */
        for (int i = 0; i < count; i++) y[i] = kd_few_rows_linear(few, tape, layer[i], x);
        return;
    }
    kd_packed_multiply(tape, x->value, kd_channels(x), kd_rows(x), product, count);
    for (int i = 0; i < count; i++) y[i] = add_bias(tape, layer[i], y[i]);
}
