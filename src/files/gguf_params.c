#include "files/gguf_params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "base/text.h"
#include "files/formats/format_parts.h"

/* The tensor of a matrix's scales, "<name>.scale"; of one scale for all of it, as llama.cpp has it,
 * "<layer>.scale" beside "<layer>.weight". */
enum { SCALE_NAME_MAX = KD_FILE_NAME_MAX + sizeof ".scale" };

static void name_scale(char out[SCALE_NAME_MAX], const kd_named *named, bool of_all) {
    const size_t length = strlen(named->name), end = strlen(".weight");
    const bool layer = of_all && kd_ends_with(named->name, ".weight");
    snprintf(out, SCALE_NAME_MAX, "%.*s.scale", (int)(layer ? length - end : length), named->name);
}

/* --- reading -----------------------------------------------------------------------------------
 */

static int find_scale(kd_stored *out, const kd_gguf *g, const kd_named *named, const char *source) {
    char name[SCALE_NAME_MAX];
    name_scale(name, named, false);
    const kd_gguf_tensor *scale = kd_gguf_find_tensor(g, name);
    if (!scale || named->rank < 2 || scale->type != KD_GGUF_TENSOR_F32 ||
        scale->count != (uint64_t)named->shape[0])
        return kd_fail(KD_EDATA, "%s: tensor %s of i8 should have %lld scales of f32, %s", source,
                       named->name, (long long)named->shape[0], name);
    out->format = &kd_part_i8;
    out->scale_format = &kd_format_f32;
    out->scales = scale->data;
    return KD_OK;
}

/* Without one it is 1. */
static int find_tensor_scale(kd_stored *out, const kd_gguf *g, const kd_named *named,
                             const char *source) {
    char name[SCALE_NAME_MAX];
    name_scale(name, named, true);
    const kd_gguf_tensor *scale = kd_gguf_find_tensor(g, name);
    if (!scale) return KD_OK;
    if (scale->type != KD_GGUF_TENSOR_F32 || scale->count != 1)
        return kd_fail(KD_EDATA, "%s: tensor %s should be one number of f32", source, name);
    memcpy(&out->tensor_scale, scale->data, sizeof out->tensor_scale);
    if (isfinite(out->tensor_scale) && out->tensor_scale != 0) return KD_OK;
    return kd_fail(KD_EDATA, "%s: tensor %s is %g; should be a number, not 0", source, name,
                   (double)out->tensor_scale);
}

static int find_stored(kd_stored *out, const kd_gguf *g, const kd_param *p, const kd_named *named,
                       const char *source) {
    int64_t ne[KD_GGUF_RANK_MAX];
    const kd_gguf_tensor *t = kd_gguf_find_tensor(g, named->name);
    if (!t) return kd_fail(KD_EDATA, "%s: tensor %s is missing", source, named->name);
    for (int i = 0; i < KD_GGUF_RANK_MAX; i++)
        ne[i] = t->ne[i] > INT64_MAX ? -1 : (int64_t)t->ne[i];
    const bool steps = t->type == KD_GGUF_TENSOR_I8;
    *out = (kd_stored){.format = steps ? &kd_format_int8 : kd_number_format_typed(t->type),
                       .bytes = t->data,
                       .group = kd_param_rows(p).length,
                       .order = named->order};
    char list[KD_FORMAT_LIST_MAX];
    if (!out->format)
        return kd_fail(KD_EDATA,
                       "%s: tensor %s has ggml type %u (%s); %s, and i8 with scales, can be read",
                       source, named->name, t->type, kd_ggml_type_name(t->type),
                       kd_number_format_list_ggml(list));
    if (!kd_ggml_sizes_fit(named, out->format, t->rank, ne))
        return kd_fail(KD_EDATA, "%s: tensor %s has the wrong shape for this model's sizes", source,
                       named->name);
    if (steps) return find_scale(out, g, named, source);
    const int status = kd_ggml_check_rows(p, named, out->format, source);
    return status == KD_OK && out->format->largest > 0 ? find_tensor_scale(out, g, named, source)
                                                       : status;
}

int kd_gguf_list_params(kd_stored *list, const kd_gguf *gguf, const kd_params *params,
                        const kd_names *names, uint64_t others, const char *source) {
    uint64_t known = others;
    int status = KD_OK;
    for (int i = 0; i < params->count && status == KD_OK; i++) {
        kd_named named;
        kd_names_find(&named, names, params->list[i]);
        status = find_stored(&list[i], gguf, params->list[i], &named, source);
        known += list[i].scale_format || list[i].tensor_scale != 0 ? 2 : 1;
    }
    if (status == KD_OK && known != gguf->tensor_count)
        status = kd_fail(KD_EDATA, "%s: %llu tensors; a model of these sizes has %llu", source,
                         (unsigned long long)gguf->tensor_count, (unsigned long long)known);
    return status;
}

/* --- writing -----------------------------------------------------------------------------------
 */

/* What a tensor of the file is made of. */
typedef struct {
    const kd_param *param; /* NULL: the first array */
    const kd_encoding *how;
    kd_order order;
    bool scales; /* the scales, not the steps: of rows that are one block, or the tensor's own */
} piece;

typedef struct {
    kd_gguf_writer *writer;
    const kd_gguf_array *first;
    piece *piece; /* (count) */
    uint64_t count;
    float *values;        /* of the largest parameter                              */
    unsigned char *bytes; /* of the largest whose rows are one block each          */
} content;

static void add(content *c, const char *name, uint32_t type, int rank, const int64_t *ne,
                piece made_of) {
    uint64_t sizes[KD_GGUF_RANK_MAX];
    for (int i = 0; i < rank; i++) sizes[i] = (uint64_t)ne[i];
    kd_gguf_add_tensor(c->writer, name, type, rank, sizes, NULL);
    c->piece[c->count++] = made_of;
}

static void add_param(content *c, const kd_param *p, const kd_names *names,
                      const kd_encoding *how) {
    const kd_number_format *format = how->format;
    kd_named named;
    int64_t ne[KD_GGUF_RANK_MAX];
    char name[SCALE_NAME_MAX];
    kd_names_find(&named, names, p);
    KD_CONTRACT(kd_number_format_in_gguf(format), "%s in %s", p->name, format->name);
    const int rank = kd_ggml_sizes(ne, &named, format);
    piece made_of = {.param = p, .how = how, .order = named.order};
    if (format->block > 0) {
        add(c, named.name, format->ggml_type, rank, ne, made_of);
        if (!(format->largest > 0)) return;
        name_scale(name, &named, true);
        made_of.scales = true;
        add(c, name, KD_GGUF_TENSOR_F32, 1, (int64_t[]){1}, made_of);
        return;
    }
    name_scale(name, &named, false);
    add(c, named.name, KD_GGUF_TENSOR_I8, rank, ne, made_of);
    made_of.scales = true;
    add(c, name, KD_GGUF_TENSOR_F32, 1, ne + 1, made_of);
}

/* A row that is one block is a float and its bytes (number_format.h): either of them, of all rows.
 */
static int fill_part(const content *c, const piece *made, unsigned char *out) {
    const kd_rows_of rows = kd_param_rows(made->param);
    const size_t C = (size_t)rows.length, begin = made->scales ? 0 : sizeof(float);
    const size_t n = made->scales ? sizeof(float) : C;
    const int status = kd_encoding_put(c->bytes, made->how, made->param, made->order, c->values);
    for (size_t row = 0; row < (size_t)rows.count && status == KD_OK; row++)
        memcpy(out + row * n, c->bytes + row * (sizeof(float) + C) + begin, n);
    return status;
}

static int fill(void *context, uint64_t index, void *out) {
    const content *c = context;
    const piece *made = &c->piece[index];
    if (!made->param) {
        size_t count = 1;
        for (int i = 0; i < c->first->rank; i++) count *= (size_t)c->first->ne[i];
        memcpy(out, c->first->values, count * sizeof *c->first->values);
        return KD_OK;
    }
    kd_param_get(c->values, made->param, made->order);
    if (made->scales && made->how->format->largest > 0) {
        memcpy(out, &made->how->scale, sizeof made->how->scale);
        return KD_OK;
    }
    return made->how->format->block == 0
               ? fill_part(c, made, out)
               : kd_encoding_put(out, made->how, made->param, made->order, c->values);
}

/* Room for all tensors, and for making one. */
static int content_create(content *c, const kd_params *params) {
    int64_t most = 0, rows = 0;
    for (int i = 0; i < params->count; i++) {
        const int64_t size = params->list[i]->tensor.size;
        const int64_t count = kd_param_rows(params->list[i]).count;
        most = size > most ? size : most;
        rows = count > rows ? count : rows;
    }
    c->piece = calloc(2 * (size_t)params->count + 1, sizeof *c->piece);
    c->values = malloc(kd_array_bytes(most, sizeof *c->values));
    c->bytes = malloc(kd_array_bytes(most + 4 * rows, 1));
    return c->piece && c->values && c->bytes
               ? KD_OK
               : kd_fail_memory(kd_array_bytes(most, sizeof *c->values), "GGUF");
}

int kd_gguf_write_params(const char *path, kd_gguf_writer *writer, const kd_gguf_array *first,
                         const kd_params *params, const kd_names *names, const kd_encoding *how) {
    content c = {.writer = writer, .first = first};
    int status = content_create(&c, params);
    if (status == KD_OK && first) {
        kd_gguf_add_tensor(writer, first->name, KD_GGUF_TENSOR_F32, first->rank, first->ne, NULL);
        c.piece[c.count++] = (piece){0};
    }
    for (int i = 0; i < params->count && status == KD_OK; i++)
        if (how[i].format) add_param(&c, params->list[i], names, &how[i]);
    if (status == KD_OK) status = kd_gguf_write_filled(path, writer, fill, &c);
    free(c.piece);
    free(c.values);
    free(c.bytes);
    return status;
}
