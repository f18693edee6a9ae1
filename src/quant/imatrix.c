#include "quant/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"

static const char SUMS[] = "in_sum2", COUNTS[] = "counts";
static const char TYPE[] = "general.type", MODEL[] = "distill.imatrix.model";

enum { NAME_MAX = KD_FILE_NAME_MAX + 16 };

static void full_name(char out[NAME_MAX], const char *matrix, const char *part) {
    snprintf(out, NAME_MAX, "%s.%s", matrix, part);
}

/* --- writing ------------------------------------------------------------------------------------
 */

static int add_matrix(kd_gguf_writer *w, const char *name, const kd_squares_sum *seen,
                      const char *path) {
    char full[NAME_MAX];
    const size_t size = (size_t)(seen->groups * seen->length);
    const uint64_t groups = (uint64_t)seen->groups;
    full_name(full, name, SUMS);
    if (strlen(full) > KD_GGUF_NAME_MAX)
        return kd_fail(KD_EDATA, "%s: \"%s\" is too long a name for GGUF", path, full);
    float *values = malloc((size + (size_t)groups) * sizeof *values), *count = values + size;
    if (!values) return kd_fail_memory(size * sizeof *values, path);
    for (size_t i = 0; i < size; i++) values[i] = (float)seen->sum[i];
    for (int g = 0; g < seen->groups; g++) count[g] = (float)seen->rows;
    kd_gguf_add_tensor(w, full, KD_GGUF_TENSOR_F32, 2,
                       (const uint64_t[]){(uint64_t)seen->length, groups}, values);
    full_name(full, name, COUNTS);
    kd_gguf_add_tensor(w, full, KD_GGUF_TENSOR_F32, 2, (const uint64_t[]){1, groups}, count);
    free(values);
    return KD_OK;
}

int kd_imatrix_write(const char *path, const kd_input_squares *seen, const kd_params *params,
                     const kd_names *names, const kd_imatrix_info *info) {
    kd_gguf_writer *w = NULL;
    int status = kd_gguf_writer_create(&w, "imatrix");
    if (status < 0) return status;
    kd_gguf_add_string(w, TYPE, "imatrix");
    kd_gguf_add_strings(w, "imatrix.datasets", &info->dataset, 1);
    kd_gguf_add_u32(w, "imatrix.chunk_count", info->chunks);
    kd_gguf_add_u32(w, "imatrix.chunk_size", info->chunk_size);
    kd_gguf_add_string(w, MODEL, info->model.hex);
    kd_gguf_add_string(w, "distill.imatrix.data", info->data.hex);
    for (int i = 0; i < params->count && status == KD_OK; i++) {
        kd_squares_sum sum;
        kd_named named;
        if (!kd_input_squares_sum(&sum, seen, i)) continue;
        kd_names_find(&named, names, params->list[i]);
        if (named.order == KD_ORDER_CHANNELS_FIRST) continue; /* their rows are others there */
        status = add_matrix(w, named.name, &sum, path);
    }
    if (status == KD_OK) status = kd_gguf_write(path, w);
    kd_gguf_writer_free(w);
    return status;
}

/* --- reading ------------------------------------------------------------------------------------
 */

/* A matrix's two tensors. */
typedef struct {
    const char *path, *name;
    const kd_gguf_tensor *sums, *counts;
    int64_t length, groups;
} pair;

/* The numbers of a tensor, none of which may be negative or no number. */
static int take_numbers(float *out, const pair *p, const kd_gguf_tensor *tensor, const char *part) {
    memcpy(out, tensor->data, (size_t)tensor->bytes);
    for (uint64_t i = 0; i < tensor->count; i++)
        if (!isfinite(out[i]) || out[i] < 0)
            return kd_fail(KD_EDATA, "%s: %s.%s: value %llu is %g: must be at least 0", p->path,
                           p->name, part, (unsigned long long)i, (double)out[i]);
    return KD_OK;
}

static int check_pair(pair *p, const kd_param *param) {
    const kd_rows_of rows = kd_param_rows(param);
    const kd_gguf_tensor *s = p->sums, *c = p->counts;
    if (!s || !c) return kd_fail(KD_EDATA, "%s: %s has no %s", p->path, p->name, s ? COUNTS : SUMS);
    if (s->type != KD_GGUF_TENSOR_F32 || c->type != KD_GGUF_TENSOR_F32)
        return kd_fail(KD_EDATA, "%s: %s: sums and counts must be f32", p->path, p->name);
    p->length = rows.length;
    p->groups = (int64_t)c->count;
    if (s->ne[0] != (uint64_t)rows.length || s->count / s->ne[0] != c->count || c->count == 0 ||
        c->count > (uint64_t)rows.count || rows.count % p->groups)
        return kd_fail(KD_EDATA,
                       "%s: %s: %llu sums and %llu counts for a matrix of %lld rows of %lld: it is "
                       "another model's",
                       p->path, p->name, (unsigned long long)s->count, (unsigned long long)c->count,
                       (long long)rows.count, (long long)rows.length);
    return KD_OK;
}

static int read_pair(kd_input_squares *out, int param, pair *p, const kd_param *like) {
    int status = check_pair(p, like);
    if (status < 0) return status;
    const size_t size = (size_t)(p->length * p->groups);
    float *sums = malloc((size + (size_t)p->groups) * sizeof *sums), *counts = sums + size;
    if (!sums) return kd_fail_memory(size * sizeof *sums, p->path);
    status = take_numbers(sums, p, p->sums, SUMS);
    if (status == KD_OK) status = take_numbers(counts, p, p->counts, COUNTS);
    if (status == KD_OK) status = kd_input_squares_set(out, param, (int)p->groups, sums, counts);
    free(sums);
    return status;
}

static const kd_gguf_tensor *find_part(const kd_gguf *file, const char *name, const char *part) {
    char full[NAME_MAX];
    full_name(full, name, part);
    return kd_gguf_find_tensor(file, full);
}

static bool says(const kd_gguf_key *key, const char *text) {
    uint64_t length;
    if (key->kind != KD_GGUF_STRING) return false;
    memcpy(&length, key->value, sizeof length);
    return length == strlen(text) && memcmp(key->value + sizeof length, text, (size_t)length) == 0;
}

/* That it is one, and this model's, as far as it says. */
static int check_keys(const kd_gguf *file, const char *path, kd_hash own) {
    const kd_gguf_key *type = kd_gguf_find_key(file, TYPE), *model = kd_gguf_find_key(file, MODEL);
    if (!type || !says(type, "imatrix"))
        return kd_fail(KD_EDATA,
                       "%s: a GGUF, but no importance matrix: general.type is not "
                       "\"imatrix\"",
                       path);
    if (!model) {
        kd_log("%s: does not say which model it was made from; only names and sizes are compared",
               path);
        return KD_OK;
    }
    if (says(model, own.hex)) return KD_OK;
    return kd_fail(
        KD_EDATA,
        "%s: made from another model, or from this one with other numbers; make it again "
        "with distill imatrix",
        path);
}

int kd_imatrix_parse(kd_input_squares **out, const kd_gguf *file, const char *path,
                     const kd_params *params, const kd_names *names, kd_hash model) {
    uint64_t used = 0;
    *out = NULL;
    int status = check_keys(file, path, model);
    if (status == KD_OK) status = kd_input_squares_create(out, params);
    for (int i = 0; i < params->count && status == KD_OK; i++) {
        kd_named named;
        kd_names_find(&named, names, params->list[i]);
        pair p = {.path = path,
                  .name = named.name,
                  .sums = find_part(file, named.name, SUMS),
                  .counts = find_part(file, named.name, COUNTS)};
        if ((!p.sums && !p.counts) || named.order == KD_ORDER_CHANNELS_FIRST) continue;
        status = read_pair(*out, i, &p, params->list[i]);
        used += 2;
    }
    if (status == KD_OK && used == 0)
        status = kd_fail(KD_EDATA, "%s: has none of this model's matrices", path);
    if (status == KD_OK && used < file->tensor_count)
        kd_log("%s: %llu of its %llu matrices are none of this model's", path,
               (unsigned long long)(file->tensor_count - used) / 2,
               (unsigned long long)file->tensor_count / 2);
    if (status < 0) {
        kd_input_squares_free(*out);
        *out = NULL;
    }
    return status;
}

int kd_imatrix_read(kd_input_squares **out, const char *path, const kd_params *params,
                    const kd_names *names, kd_hash model) {
    kd_gguf *file;
    int status = kd_gguf_open(&file, path);
    if (status < 0) return status;
    if (kd_gguf_checksum_place(file)) status = kd_gguf_verify(file, path);
    if (status == KD_OK) status = kd_imatrix_parse(out, file, path, params, names, model);
    kd_gguf_free(file);
    return status;
}

void kd_imatrix_weigh(kd_encoding *how, const kd_input_squares *seen, const kd_params *params) {
    for (int i = 0; i < params->count; i++)
        how[i].importance = kd_input_squares_of(seen, i, &how[i].groups);
}
