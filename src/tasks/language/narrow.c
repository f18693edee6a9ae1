#include "tasks/language/narrow.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "tasks/language/calibrate.h"

/* Something that is kept or not. */
typedef struct {
    int64_t place;
    double importance;
} candidate;

static int by_importance(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->importance > y->importance) return -1;
    if (x->importance < y->importance) return 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static int by_place(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    return x->place < y->place ? -1 : x->place > y->place;
}

/* The `kept` most important of n, in order of their places. */
static void choose(candidate *list, int64_t n, int64_t kept) {
    qsort(list, (size_t)n, sizeof *list, by_importance);
    qsort(list, (size_t)kept, sizeof *list, by_place);
}

/* out (columns) ← mean(x_j²) · Σ_i W[i,j]² */
static void column_importance(double *out, const kd_llama *model, const kd_input_squares *seen,
                              const kd_param *matrix) {
    const int64_t rows = matrix->tensor.shape[0], columns = matrix->tensor.shape[1];
    const kd_real *W = matrix->tensor.value;
    int param = 0, groups;
    memset(out, 0, (size_t)columns * sizeof *out);
    if (!seen) return;
    while (model->params->list[param] != matrix) param++;
    const float *squares = kd_input_squares_of(seen, param, &groups);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            out[j] += (double)W[i * columns + j] * (double)W[i * columns + j];
    for (int64_t j = 0; j < columns; j++) out[j] *= (double)squares[j];
}

/* Layer `layer` of `out`; scratch: the wider of hidden and queries of the teacher. */
static void keep_layer(kd_language_kept *out, const kd_llama *teacher, const kd_input_squares *seen,
                       int layer, double *importance, candidate *list) {
    const kd_llama_spec *s = &teacher->spec;
    const int64_t D = s->head_width, group = s->heads / s->key_heads * D, keys = out->keys / D;
    int64_t *unit = out->unit + layer * out->hidden, *query = out->query + layer * out->queries;
    int64_t *key = out->key + layer * out->keys;
    column_importance(importance, teacher, seen, teacher->block[layer].down.weight);
    for (int64_t j = 0; j < s->hidden; j++) list[j] = (candidate){j, importance[j]};
    choose(list, s->hidden, out->hidden);
    for (int64_t j = 0; j < out->hidden; j++) unit[j] = list[j].place;
    column_importance(importance, teacher, seen, teacher->block[layer].out.weight);
    for (int64_t k = 0; k < s->key_heads; k++) {
        list[k] = (candidate){k, 0};
        for (int64_t j = 0; j < group; j++) list[k].importance += importance[k * group + j];
    }
    choose(list, s->key_heads, keys);
    for (int64_t j = 0; j < out->queries; j++) query[j] = list[j / group].place * group + j % group;
    for (int64_t j = 0; j < out->keys; j++) key[j] = list[j / D].place * D + j % D;
}

/* What the products of the teacher see. */
static int see(kd_input_squares **out, const kd_llama *teacher, kd_contexts *contexts,
               int64_t samples) {
    int status = kd_input_squares_create(out, teacher->params);
    return status < 0 ? status : kd_language_watch(*out, teacher, contexts, samples);
}

static int allocate(kd_language_kept *out, int64_t layers) {
    const size_t size = sizeof(int64_t) * (size_t)layers;
    out->query = malloc(kd_array_bytes(out->queries, size));
    out->key = malloc(kd_array_bytes(out->keys, size));
    out->unit = malloc(kd_array_bytes(out->hidden, size));
    return out->query && out->key && out->unit
               ? KD_OK
               : kd_fail_memory((size_t)out->hidden * size, "the units of a student");
}

int kd_language_keep(kd_language_kept *out, const kd_llama *teacher, const kd_llama_spec *student,
                     kd_contexts *contexts, int64_t samples) {
    const kd_llama_spec *s = &teacher->spec;
    const int64_t D = s->head_width, queries = s->heads * D;
    const size_t most = (size_t)(s->hidden > queries ? s->hidden : queries);
    const bool narrower = student->hidden < s->hidden || student->key_heads < s->key_heads;
    KD_CONTRACT(student->hidden <= s->hidden && student->key_heads <= s->key_heads &&
                    student->heads * s->key_heads == s->heads * student->key_heads,
                "%d of %d units, %d of %d keys", student->hidden, s->hidden, student->key_heads,
                s->key_heads);
    *out = (kd_language_kept){
        .queries = student->heads * D, .keys = student->key_heads * D, .hidden = student->hidden};
    kd_input_squares *seen = NULL;
    double *importance = malloc(most * sizeof *importance);
    candidate *list = malloc(most * sizeof *list);
    int status = importance && list ? allocate(out, s->layers)
                                    : kd_fail_memory(most * sizeof *list, "importances");
    if (status == KD_OK && narrower && contexts) status = see(&seen, teacher, contexts, samples);
    for (int i = 0; i < s->layers && status == KD_OK; i++)
        keep_layer(out, teacher, seen, i, importance, list);
    kd_input_squares_free(seen);
    free(importance);
    free(list);
    return status;
}

void kd_language_kept_clear(kd_language_kept *kept) {
    free(kept->query);
    free(kept->key);
    free(kept->unit);
    *kept = (kd_language_kept){0};
}
