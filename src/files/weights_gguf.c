#include "files/weights_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "layers/weights.h"

enum { VERSION = 1, SCALE_NAME_MAX = KD_NAME_MAX + sizeof ".scale" };

static const size_t FILE_MAX_BYTES = (size_t)1 << 36;

/* --- writing ----------------------------------------------------------------------------------
 */

/* Formats of single values keep the parameter's shape, fastest first; blocks need whole rows. */
static int sizes_of(uint64_t ne[KD_GGUF_RANK_MAX], const kd_param *p,
                    const kd_number_format *format) {
    const kd_tensor *t = &p->tensor;
    if (format->block == 1) {
        for (int i = 0; i < t->rank; i++) ne[i] = (uint64_t)t->shape[t->rank - 1 - i];
        return t->rank;
    }
    ne[0] = (uint64_t)kd_encoding_row(p);
    ne[1] = (uint64_t)t->shape[0];
    return 2;
}

/* Scales and bytes of rows that are one block each, apart. */
static void add_parts(kd_gguf_writer *w, const kd_param *p, unsigned char *bytes) {
    const size_t rows = (size_t)p->tensor.shape[0], n = (size_t)kd_encoding_row(p);
    const uint64_t ne[2] = {n, rows};
    char name[SCALE_NAME_MAX];
    unsigned char *scale = bytes + rows * (sizeof(float) + n); /* room behind them */
    for (size_t row = 0; row < rows; row++) {
        memcpy(scale + row * sizeof(float), bytes + row * (sizeof(float) + n), sizeof(float));
        memmove(bytes + row * n, bytes + row * (sizeof(float) + n) + sizeof(float), n);
    }
    snprintf(name, sizeof name, "%s.scale", p->name);
    kd_gguf_add_tensor(w, p->name, KD_GGUF_TENSOR_I8, 2, ne, bytes);
    kd_gguf_add_tensor(w, name, KD_GGUF_TENSOR_F32, 1, ne + 1, scale);
}

static int add_param(kd_gguf_writer *w, const kd_param *p, const kd_encoding *how) {
    const size_t bytes = (size_t)kd_encoding_bytes(how, p), rows = (size_t)p->tensor.shape[0];
    float *values = malloc((size_t)p->tensor.size * sizeof *values);
    unsigned char *encoded = malloc(bytes + rows * sizeof(float));
    int status = values && encoded ? KD_OK : kd_fail_memory(bytes, p->name);
    for (int64_t i = 0; status == KD_OK && i < p->tensor.size; i++)
        values[i] = (float)p->tensor.value[i];
    if (status == KD_OK) status = kd_encoding_put(encoded, how, p, values);
    if (status == KD_OK && how->format->block == 0) {
        add_parts(w, p, encoded);
    } else if (status == KD_OK) {
        uint64_t ne[KD_GGUF_RANK_MAX];
        const int rank = sizes_of(ne, p, how->format);
        kd_gguf_add_tensor(w, p->name, how->format->ggml_type, rank, ne, encoded);
    }
    free(values);
    free(encoded);
    return status;
}

int kd_weights_gguf_write(const char *path, const kd_params *params, const kd_encoding *how,
                          bool (*beside)(const char *name), const kd_weights_info *info) {
    kd_gguf_writer *w;
    int status = kd_gguf_writer_create(&w, "distill");
    if (status < 0) return status;
    if (info->name) kd_gguf_add_string(w, "general.name", info->name);
    if (info->teacher) kd_gguf_add_string(w, "distill.teacher", info->teacher);
    if (info->origin) kd_gguf_add_string(w, "distill.origin", info->origin);
    kd_gguf_add_u32(w, "distill.version", VERSION);
    kd_gguf_add_string(w, "distill.config", info->config);
    for (int i = 0; i < params->count && status == KD_OK; i++) {
        KD_CONTRACT(kd_number_format_in_gguf(how[i].format), "%s in %s", params->list[i]->name,
                    how[i].format->name);
        if (beside && beside(params->list[i]->name)) continue;
        status = add_param(w, params->list[i], &how[i]);
    }
    if (status < 0)
        kd_fail_in(status, "%s", path);
    else
        status = kd_gguf_write(path, w);
    kd_gguf_writer_free(w);
    return status;
}

/* --- reading ----------------------------------------------------------------------------------
 */

bool kd_gguf_is_weights(const kd_gguf *gguf) {
    return kd_gguf_find_key(gguf, "distill.config") && !kd_gguf_find_key(gguf, "distill.graph");
}

/* Where a parameter lies: blocks of `format`, or bytes with scales apart. */
typedef struct {
    const kd_gguf_tensor *tensor, *scale;
    const kd_number_format *format;
} place;

static int find_place(place *out, const kd_gguf *g, const kd_param *p, const char *path) {
    char name[SCALE_NAME_MAX], list[KD_FORMAT_LIST_MAX];
    const uint64_t rows = (uint64_t)p->tensor.shape[0], n = (uint64_t)kd_encoding_row(p);
    const kd_gguf_tensor *t = kd_gguf_find_tensor(g, p->name);
    snprintf(name, sizeof name, "%s.scale", p->name);
    *out = (place){.tensor = t, .scale = kd_gguf_find_tensor(g, name)};
    if (!t) return kd_fail(KD_EDATA, "%s: tensor %s is missing", path, p->name);
    out->format = t->type == KD_GGUF_TENSOR_I8 ? &kd_format_int8 : kd_number_format_typed(t->type);
    if (!out->format)
        return kd_fail(KD_EDATA, "%s: tensor %s has ggml type %u (%s); %s, and i8, can be read",
                       path, p->name, t->type, kd_ggml_type_name(t->type),
                       kd_number_format_list(list, true));
    const bool blocks = out->format->block != 1;
    if (t->count != (uint64_t)p->tensor.size || (blocks && t->ne[0] != n))
        return kd_fail(KD_EDATA,
                       "%s: tensor %s has %llu values in rows of %llu; should be %llu × %llu", path,
                       p->name, (unsigned long long)t->count, (unsigned long long)t->ne[0],
                       (unsigned long long)rows, (unsigned long long)n);
    const bool apart = out->format->block == 0;
    if (apart != (out->scale != NULL) ||
        (apart && (out->scale->type != KD_GGUF_TENSOR_F32 || out->scale->count != rows)))
        return kd_fail(KD_EDATA, "%s: tensor %s should have %llu scales of f32, %s", path, p->name,
                       (unsigned long long)(apart ? rows : 0), name);
    return KD_OK;
}

/* Row by row; `bytes` has room for one as its format has it. */
static void decode_rows(kd_param *p, const place *from, float *values, unsigned char *bytes) {
    const int64_t n = kd_encoding_row(p);
    const size_t length = (size_t)kd_number_format_bytes(from->format, n);
    for (int64_t row = 0; row < p->tensor.shape[0]; row++) {
        if (from->scale) {
            memcpy(bytes, from->scale->data + (size_t)row * sizeof(float), sizeof(float));
            memcpy(bytes + sizeof(float), from->tensor->data + row * n, (size_t)n);
        } else {
            memcpy(bytes, from->tensor->data + (size_t)row * length, length);
        }
        from->format->decode(values, bytes, n);
        for (int64_t i = 0; i < n; i++) p->tensor.value[row * n + i] = (kd_real)values[i];
    }
}

static int read_param(kd_param *p, const kd_gguf *g, const char *path, uint64_t *used) {
    place from;
    int status = find_place(&from, g, p, path);
    if (status < 0) return status;
    const size_t n = (size_t)kd_encoding_row(p);
    *used += from.scale ? 2 : 1;
    float *values = malloc(n * sizeof *values);
    unsigned char *bytes = malloc((size_t)kd_number_format_bytes(from.format, (int64_t)n));
    if (values && bytes)
        decode_rows(p, &from, values, bytes);
    else
        status = kd_fail_memory(n * sizeof *values, p->name);
    free(values);
    free(bytes);
    return status < 0 ? status : kd_param_check(p, p->tensor.value, path);
}

static int check_version(const kd_gguf *g, const char *path) {
    const kd_gguf_key *key = kd_gguf_find_key(g, "distill.version");
    uint32_t version = 0;
    if (key && key->kind == KD_GGUF_U32) memcpy(&version, key->value, sizeof version);
    return version == VERSION
               ? KD_OK
               : kd_fail(KD_EDATA, "%s: distill.version is %u: must be %d", path, version, VERSION);
}

static int read_all(kd_params *params, const kd_gguf *g, const char *path,
                    bool (*beside)(const char *name)) {
    uint64_t used = 0;
    int status = kd_gguf_verify(g, path);
    if (status == KD_OK && !kd_gguf_is_weights(g))
        status = kd_fail(KD_EDATA,
                         "%s: a GGUF, but not one of weights with the config they belong to", path);
    if (status == KD_OK) status = check_version(g, path);
    for (int i = 0; i < params->count && status == KD_OK; i++)
        if (!beside || !beside(params->list[i]->name))
            status = read_param(params->list[i], g, path, &used);
    if (status == KD_OK && used != g->tensor_count)
        status = kd_fail(KD_EDATA, "%s: %llu tensors; this network has %llu", path,
                         (unsigned long long)g->tensor_count, (unsigned long long)used);
    return status;
}

/* The parsed file; *bytes is freed with it. */
static int open_file(kd_gguf **out, char **bytes, const char *path) {
    size_t length;
    *out = NULL;
    int status = kd_file_read(bytes, &length, path, FILE_MAX_BYTES);
    if (status < 0) return status;
    status = kd_gguf_parse(out, *bytes, length, path);
    if (status < 0) free(*bytes);
    return status;
}

int kd_weights_gguf_is_at(bool *out, const char *path) {
    kd_gguf *g;
    char *bytes;
    int status = open_file(&g, &bytes, path);
    if (status < 0) return status;
    *out = kd_gguf_is_weights(g);
    kd_gguf_free(g);
    free(bytes);
    return KD_OK;
}

int kd_weights_gguf_read(kd_params *params, const char *path, bool (*beside)(const char *name)) {
    kd_gguf *g;
    char *bytes;
    int status = open_file(&g, &bytes, path);
    if (status < 0) return status;
    status = read_all(params, g, path, beside);
    kd_gguf_free(g);
    free(bytes);
    kd_params_touch(params);
    return status;
}
