#include "files/folder_weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "files/safetensors_header.h"
#include "files/safetensors_write.h"

static const size_t INDEX_LIMIT = (size_t)64 << 20;
enum { SHARDS_MAX = 256 };

struct kd_folder_weights {
    char folder[KD_PATH_MAX];
    kd_safetensors *file[SHARDS_MAX];
    char *name[SHARDS_MAX]; /* within the folder */
    int count;
};

/* --- opening -----------------------------------------------------------------------------------
 */

void kd_folder_weights_close(kd_folder_weights *shards) {
    if (!shards) return;
    for (int i = 0; i < shards->count; i++) {
        kd_safetensors_close(shards->file[i]);
        free(shards->name[i]);
    }
    free(shards);
}

static int open_shard(kd_folder_weights *s, const char *name, const char *named_by) {
    char path[KD_PATH_MAX];
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->name[i], name) == 0) return KD_OK;
    if (s->count == SHARDS_MAX)
        return kd_fail(KD_EDATA, "%s: more than %d files", named_by, (int)SHARDS_MAX);
    if (strchr(name, '/') || name[0] == '.')
        return kd_fail(KD_EDATA, "%s: '%s' is not the name of a file beside it", named_by, name);
    int status = kd_path_join(path, s->folder, name);
    if (status == KD_OK) status = kd_safetensors_open(&s->file[s->count], path);
    if (status < 0) return status;
    s->name[s->count] = strdup(name);
    return s->name[s->count++] ? KD_OK : kd_fail_memory(strlen(name), name);
}

/* One that was opened. */
static kd_safetensors *shard_named(const kd_folder_weights *s, const char *name) {
    int i = 0;
    while (i < s->count - 1 && strcmp(s->name[i], name) != 0) i++;
    return s->file[i];
}

/* All that the index names; each tensor is where it says. */
static int open_indexed(kd_folder_weights *s, const char *path) {
    kd_json *json;
    int status = kd_json_read(&json, path, INDEX_LIMIT);
    const cJSON *map = status == KD_OK ? kd_json_get(kd_json_root(json), "weight_map") : NULL;
    if (status == KD_OK && !cJSON_IsObject(map))
        status = kd_fail(KD_EDATA, "%s: has no \"weight_map\"", path);
    for (const cJSON *item = map ? map->child : NULL; item && status == KD_OK; item = item->next)
        status = cJSON_IsString(item)
                     ? open_shard(s, item->valuestring, path)
                     : kd_fail(KD_EDATA, "%s: weight_map: should name files", path);
    for (const cJSON *item = map ? map->child : NULL; item && status == KD_OK; item = item->next)
        if (!kd_safetensors_find(shard_named(s, item->valuestring), item->string))
            status = kd_fail(KD_EDATA, "%s: weight_map: there is no tensor %s in %s", path,
                             item->string, item->valuestring);
    kd_json_free(json);
    return status;
}

static int open_all(kd_folder_weights *s) {
    char path[KD_PATH_MAX];
    int status = kd_path_join(path, s->folder, "model.safetensors");
    if (status < 0) return status;
    if (kd_file_exists(path)) return open_shard(s, "model.safetensors", path);
    status = kd_path_join(path, s->folder, "model.safetensors.index.json");
    if (status < 0) return status;
    if (kd_file_exists(path)) return open_indexed(s, path);
    return kd_fail(KD_ENOINPUT,
                   "%s: has neither model.safetensors nor "
                   "model.safetensors.index.json",
                   s->folder);
}

int kd_folder_weights_open(kd_folder_weights **out, const char *folder) {
    *out = NULL;
    kd_folder_weights *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, folder);
    int status = KD_OK;
    if (snprintf(s->folder, sizeof s->folder, "%s", folder) >= KD_PATH_MAX)
        status = kd_fail(KD_EIO, "%s: path too long", folder);
    if (status == KD_OK) status = open_all(s);
    if (status < 0) {
        kd_folder_weights_close(s);
        return status;
    }
    *out = s;
    return KD_OK;
}

/* --- the tensors -------------------------------------------------------------------------------
 */

/* The tensor called `name`, with what is optional in front or not; *which is its file. */
static const kd_safetensors_entry *find(const kd_folder_weights *s, const char *name,
                                        const char *optional, int *which) {
    const size_t skip = optional ? strlen(optional) : 0;
    const bool twice = skip > 0 && strncmp(name, optional, skip) == 0;
    for (*which = 0; *which < s->count; ++*which)
        for (int without = 0; without <= twice; without++) {
            const kd_safetensors_entry *e =
                kd_safetensors_find(s->file[*which], without ? name + skip : name);
            if (e) return e;
        }
    return NULL;
}

bool kd_folder_weights_have(const kd_folder_weights *shards, const char *name) {
    int which;
    return find(shards, name, NULL, &which) != NULL;
}

static bool shape_fits(const kd_named *named, const kd_safetensors_entry *e) {
    return named->rank == e->rank &&
           memcmp(named->shape, e->shape, (size_t)e->rank * sizeof *e->shape) == 0;
}

/* A part of a matrix, beside its codes, whose file is `which`. */
typedef struct {
    const kd_folder_weights *weights;
    const kd_names *names;
    const char *layer; /* the matrix' name without ".weight" */
    int64_t *have;     /* tensors that were found            */
} packed_source;

static const kd_safetensors_entry *find_part(const packed_source *from, const char *name,
                                             int *which) {
    char path[KD_FILE_NAME_MAX + 32];
    snprintf(path, sizeof path, "%s.%s", from->layer, name);
    return find(from->weights, path, from->names->optional, which);
}

static int refuse_part(const packed_source *from, const kd_part *part, const char *wanted) {
    return kd_fail(KD_EDATA, "%s: tensor %s.%s should be %s", from->weights->folder, from->layer,
                   part->name, wanted);
}

/* Numbers of one scale each, in any float; of bytes in just that. */
static int read_scales(kd_stored *out, const packed_source *from, const kd_part *part,
                       const kd_safetensors_entry *e, int which) {
    const bool floats = part->dtype[0] == 'F' && part->dtype[1] != '8';
    const kd_number_format *format = kd_safetensors_format(e->dtype);
    char wanted[96];
    int64_t count = part->shape[0];
    for (int i = 1; i < part->rank; i++) count *= part->shape[i];
    snprintf(wanted, sizeof wanted, "%lld numbers of %s", (long long)count,
             floats ? "F32, F16 or BF16" : part->dtype);
    if (e->count != count || (floats ? !format || format->bytes < 2 || format->bytes > 4
                                     : strcmp(e->dtype, part->dtype) != 0))
        return refuse_part(from, part, wanted);
    if (floats) out->scale_format = format;
    out->scales = kd_safetensors_bytes(from->weights->file[which], e);
    return KD_OK;
}

static int read_single(float *out, const packed_source *from, const kd_part *part,
                       const kd_safetensors_entry *e, int which) {
    const kd_number_format *format = kd_safetensors_format(e->dtype);
    if (e->count != 1 || !format || format->bytes < 2) return refuse_part(from, part, "one number");
    format->decode(out, kd_safetensors_bytes(from->weights->file[which], e), 1);
    return *out > 0 && isfinite(*out) ? KD_OK : refuse_part(from, part, "a number above 0");
}

static int read_shape(const packed_source *from, const kd_part *part, const kd_safetensors_entry *e,
                      int which, kd_rows_of rows) {
    const int64_t want[2] = {rows.count, rows.length};
    if (strcmp(e->dtype, "I64") == 0 && e->count == 2 &&
        memcmp(kd_safetensors_bytes(from->weights->file[which], e), want, sizeof want) == 0)
        return KD_OK;
    return refuse_part(from, part, "the shape that config.json makes, in I64");
}

static int read_part(kd_stored *out, const packed_source *from, const kd_part *part,
                     kd_rows_of rows) {
    int which;
    float number;
    const kd_safetensors_entry *e = find_part(from, part->name, &which);
    const bool inputs = part->kind == KD_PART_INPUT_SCALE || part->kind == KD_PART_INPUT_DIVISOR;
    if (!e) return inputs ? KD_OK : refuse_part(from, part, "there");
    ++*from->have;
    if (part->kind == KD_PART_SCALES) return read_scales(out, from, part, e, which);
    if (part->kind == KD_PART_SHAPE) return read_shape(from, part, e, which, rows);
    const int status = read_single(&number, from, part, e, which);
    if (part->kind == KD_PART_TENSOR_SCALE) out->tensor_scale = number;
    if (part->kind == KD_PART_TENSOR_DIVISOR) out->tensor_scale = 1 / number;
    return status;
}

/* A matrix that is packed; *is tells whether it is. */
static int list_packed(kd_stored *out, bool *is, const packed_source *from, const kd_param *param,
                       const kd_packing *packing) {
    const kd_rows_of rows = kd_param_rows(param);
    kd_part part[KD_PARTS_MAX];
    int which, status = KD_OK;
    const int count = kd_packing_parts(part, packing, rows);
    const kd_safetensors_entry *e = find_part(from, part[0].name, &which);
    *is = e && strcmp(e->dtype, part[0].dtype) == 0;
    if (!*is) return KD_OK;
    if ((packing->group > 0 && rows.length % packing->group) || e->rank != 2 ||
        e->shape[0] != part[0].shape[0] || e->shape[1] != part[0].shape[1])
        return refuse_part(from, part, "packed rows of the shape that config.json makes");
    *out = (kd_stored){.bytes = kd_safetensors_bytes(from->weights->file[which], e),
                       .group = packing->group > 0 ? packing->group : rows.length};
    kd_packing_numbers(out, packing);
    ++*from->have;
    for (int i = 1; i < count && status == KD_OK; i++)
        status = read_part(out, from, &part[i], rows);
    return status;
}

/* *have: tensors that were found. */
static int list_tensors(kd_stored *list, int64_t *have, const kd_folder_weights *s,
                        const kd_params *params, const kd_names *names, const kd_packing *packing) {
    int status = KD_OK, which, count = 0;
    for (int i = 0; i < params->count && status == KD_OK; i++) {
        kd_named named;
        bool packed = false;
        kd_names_find(&named, names, params->list[i]);
        if (packing->layout != KD_LAYOUT_PLAIN && named.rank == 2 &&
            kd_ends_with(named.name, ".weight")) {
            named.name[strlen(named.name) - strlen(".weight")] = '\0';
            const packed_source from = {s, names, named.name, have};
            status = list_packed(&list[i], &packed, &from, params->list[i], packing);
            if (packed || status < 0) {
                count++;
                continue;
            }
            kd_names_find(&named, names, params->list[i]);
        }
        ++*have;
        const kd_safetensors_entry *e = find(s, named.name, names->optional, &which);
        if (!e) return kd_fail(KD_EDATA, "%s: tensor %s is missing", s->folder, named.name);
        if (!shape_fits(&named, e))
            return kd_fail(KD_EDATA, "%s/%s: tensor %s has another shape than config.json says",
                           s->folder, s->name[which], named.name);
        status = kd_safetensors_stored(&list[i], s->file[which], e);
        list[i].order = named.order;
    }
    if (status == KD_OK && packing->layout != KD_LAYOUT_PLAIN && count == 0)
        return kd_fail(KD_EDATA, "%s: its config says that matrices are packed, as %s; none is",
                       s->folder, packing->format->name);
    return status;
}

/* Whether two tensors of the same shape have the same numbers. */
static int compare(bool *same, const kd_stored *a, const kd_stored *b, kd_rows_of rows) {
    float *x = malloc(kd_array_bytes(2 * rows.length, sizeof *x));
    if (!x) return kd_fail_memory(2 * (size_t)rows.length * sizeof *x, "a row of weights");
    float *y = x + rows.length;
    *same = true;
    for (int64_t row = 0; row < rows.count && *same; row++) {
        kd_stored_row(x, a, row, rows.length);
        kd_stored_row(y, b, row, rows.length);
        for (int64_t i = 0; i < rows.length && *same; i++) *same = x[i] == y[i];
    }
    free(x);
    return KD_OK;
}

static int check_repeated(const kd_stored *list, const kd_folder_weights *s,
                          const kd_params *params, const kd_names *names,
                          const kd_repeated *repeated) {
    int which, i = 0;
    const kd_safetensors_entry *e = find(s, repeated->name, NULL, &which);
    if (!e) return KD_OK;
    kd_named named;
    kd_stored stored;
    bool same = false;
    while (params->list[i] != repeated->param) i++;
    kd_names_find(&named, names, repeated->param);
    int status = KD_OK;
    if (shape_fits(&named, e)) {
        status = kd_safetensors_stored(&stored, s->file[which], e);
        if (status == KD_OK)
            status = compare(&same, &stored, &list[i], kd_param_rows(repeated->param));
    }
    if (status < 0 || same) return status;
    return kd_fail(KD_EDATA, "%s: tensor %s is not %s, and another cannot be held here",
                   s->name[which], repeated->name, repeated->meaning);
}

/* Tensors that are no parameter, and of which is known why. */
static int64_t count_known(const kd_folder_weights *s, const kd_names *names,
                           const kd_repeated *repeated) {
    int64_t count = 0;
    int which;
    for (; repeated; repeated = repeated->next)
        count += find(s, repeated->name, NULL, &which) != NULL;
    for (const char *const *name = names->passed_over; name && *name; name++)
        count += find(s, *name, names->optional, &which) != NULL;
    return count;
}

int kd_folder_weights_list(kd_stored *list, const kd_folder_weights *shards,
                           const kd_params *params, const kd_names *names,
                           const kd_repeated *repeated, const kd_packing *packing) {
    int64_t have = -count_known(shards, names, repeated), wanted = 0;
    int status = list_tensors(list, &wanted, shards, params, names, packing);
    for (int i = 0; i < shards->count; i++) have += kd_safetensors_count(shards->file[i]);
    if (status == KD_OK && have != wanted)
        status = kd_fail(KD_EDATA, "%s: %lld tensors; a model of this config.json has %lld",
                         shards->folder, (long long)have, (long long)wanted);
    for (; repeated && status == KD_OK; repeated = repeated->next)
        status = check_repeated(list, shards, params, names, repeated);
    return status;
}

/* --- writing -----------------------------------------------------------------------------------
 */

typedef struct {
    const kd_params *params;
    const kd_named *named;
} written;

static int fetch(void *context, int64_t index, void *values) {
    const written *w = context;
    kd_param_get(values, w->params->list[index], w->named[index].order);
    return KD_OK;
}

int kd_folder_weights_unpack(const char *folder) {
    static const char *const stale[] = {"hf_quant_config.json", NULL};
    return kd_file_remove_matching(folder, stale);
}

int kd_folder_weights_write(const char *folder, const kd_params *params, const kd_names *names,
                            const kd_number_format *format) {
    const size_t n = (size_t)params->count;
    char path[KD_PATH_MAX];
    kd_named *named;
    KD_CONTRACT(format == &kd_format_f32 || format == &kd_format_f16, "%s", format->name);
    int status = kd_names_list(&named, names, params);
    if (status < 0) return status;
    written w = {params, named};
    kd_safetensors_entry *entry = calloc(n, sizeof *entry);
    status = entry ? kd_folder_weights_unpack(folder) : kd_fail_memory(n * sizeof *entry, folder);
    if (status == KD_OK) status = kd_path_join(path, folder, "model.safetensors");
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        entry[i] = (kd_safetensors_entry){.name = named[i].name,
                                          .dtype = format == &kd_format_f16 ? "F16" : "F32",
                                          .rank = named[i].rank,
                                          .count = params->list[i]->tensor.size};
        memcpy(entry[i].shape, named[i].shape, sizeof named[i].shape);
    }
    if (status == KD_OK) status = kd_safetensors_write(path, (int64_t)n, entry, fetch, &w);
    free(entry);
    free(named);
    return status;
}
