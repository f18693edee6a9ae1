/* Writing matrices that are packed into a Hugging Face folder; packing.h has the layouts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "files/folder_weights.h"
#include "files/roles.h"
#include "files/safetensors_write.h"

enum { NAME_MAX_PACKED = KD_FILE_NAME_MAX + 32 };

/* A tensor of the file. */
typedef struct {
    int param;
    kd_part part; /* of one that is packed */
    bool packed;
    char name[NAME_MAX_PACKED];
} piece;

typedef struct {
    const kd_params *params;
    const kd_named *named;
    const kd_encoding *how;
    const kd_packing *packing;
    piece *piece;
    kd_safetensors_entry *entry;
    int64_t count;
    float *values;        /* of the largest parameter                    */
    unsigned char *bytes; /* of the largest, as its format encodes it    */
    int encoded;          /* the parameter that is there; −1: none       */
} content;

static void add_whole(content *c, int i) {
    const kd_number_format *format = c->how[i].format;
    piece *p = &c->piece[c->count];
    *p = (piece){.param = i};
    memcpy(p->name, c->named[i].name, sizeof c->named[i].name);
    kd_safetensors_entry *e = &c->entry[c->count++];
    *e = (kd_safetensors_entry){.name = p->name,
                                .dtype = format == &kd_format_f16       ? "F16"
                                         : format == &kd_format_f8_e5m2 ? "F8_E5M2"
                                                                        : "F32",
                                .rank = c->named[i].rank,
                                .count = c->params->list[i]->tensor.size};
    KD_CONTRACT(format == &kd_format_f32 || format == &kd_format_f16 ||
                    format == &kd_format_f8_e5m2,
                "%s in %s", p->name, format->name);
    memcpy(e->shape, c->named[i].shape, sizeof c->named[i].shape);
}

static void add_packed(content *c, int i) {
    kd_part part[KD_PARTS_MAX];
    const int count = kd_packing_parts(part, c->packing, kd_param_rows(c->params->list[i]));
    const int layer = (int)(strlen(c->named[i].name) - strlen(".weight"));
    for (int k = 0; k < count; k++) {
        const bool input =
            part[k].kind == KD_PART_INPUT_SCALE || part[k].kind == KD_PART_INPUT_DIVISOR;
        if (input && !c->packing->inputs) continue;
        piece *p = &c->piece[c->count];
        *p = (piece){.param = i, .part = part[k], .packed = true};
        snprintf(p->name, sizeof p->name, "%.*s.%s", layer, c->named[i].name, part[k].name);
        kd_safetensors_entry *e = &c->entry[c->count++];
        *e = (kd_safetensors_entry){
            .name = p->name, .dtype = part[k].dtype, .rank = part[k].rank, .count = 1};
        for (int d = 0; d < e->rank; d++) e->count *= e->shape[d] = part[k].shape[d];
    }
}

static int encode(content *c, int i) {
    const kd_param *param = c->params->list[i];
    if (c->encoded == i) return KD_OK;
    kd_param_get(c->values, param, KD_ORDER_OURS);
    c->encoded = i;
    return kd_encoding_put(c->bytes, &c->how[i], param, KD_ORDER_OURS, c->values);
}

static int fill_rows(content *c, const piece *p, unsigned char *out) {
    const kd_rows_of rows = kd_param_rows(c->params->list[p->param]);
    const kd_number_format *format = c->how[p->param].format;
    const size_t step = (size_t)kd_number_format_bytes(format, rows.length);
    const bool codes = p->part.kind == KD_PART_CODES;
    const bool floats = strcmp(p->part.dtype, "F32") == 0 || strcmp(p->part.dtype, "F16") == 0;
    const size_t width = codes    ? strcmp(p->part.dtype, "I32") == 0 ? 4 : 1
                         : floats ? sizeof(float)
                                  : 1;
    const size_t wide = (size_t)p->part.shape[1] * width;
    const int status = encode(c, p->param);
    for (size_t row = 0; row < (size_t)rows.count && status == KD_OK; row++)
        kd_packing_split(format, codes ? out + row * wide : NULL,
                         codes ? NULL : out + row * (p->part.rank == 1 ? sizeof(float) : wide),
                         c->bytes + row * step, rows.length);
    return status;
}

/* What the largest input is divided by, of E4M3 or, of nvfp4, of its scales times E2M1. */
static int fill_input(const content *c, const piece *p, float *out) {
    const bool nvfp4 = c->packing->format == &kd_format_nvfp4;
    const float most = c->packing->inputs[p->param], bound = nvfp4 ? 6 * 448 : 448;
    if (!(most > 0))
        return kd_fail(KD_EDATA, "%s: its inputs were 0 in every context of the calibration",
                       p->name);
    *out = p->part.kind == KD_PART_INPUT_DIVISOR ? bound / most : most / bound;
    return KD_OK;
}

static int fill(void *context, int64_t index, void *values) {
    content *c = context;
    const piece *p = &c->piece[index];
    const kd_param *param = c->params->list[p->param];
    const kd_encoding *how = &c->how[p->param];
    const kd_rows_of rows = kd_param_rows(param);
    const float scale =
        p->packed && p->part.kind == KD_PART_TENSOR_DIVISOR ? 1 / how->scale : how->scale;
    if (!p->packed && how->format == &kd_format_f8_e5m2) {
        kd_param_get(c->values, param, c->named[p->param].order);
        return kd_encoding_put(values, how, param, KD_ORDER_OURS, c->values);
    }
    if (!p->packed) {
        kd_param_get(values, param, c->named[p->param].order);
        return KD_OK;
    }
    switch (p->part.kind) {
    case KD_PART_CODES:
    case KD_PART_SCALES:
        return fill_rows(c, p, values);
    case KD_PART_SHAPE:
        memcpy(values, (int64_t[]){rows.count, rows.length}, 2 * sizeof(int64_t));
        return KD_OK;
    case KD_PART_INPUT_SCALE:
    case KD_PART_INPUT_DIVISOR:
        return fill_input(c, p, values);
    default:
        memcpy(values, &scale, sizeof scale);
        return KD_OK;
    }
}

static int content_create(content *c) {
    size_t most = 0, bytes = 1;
    const size_t room = (size_t)c->params->count * KD_PARTS_MAX;
    for (int i = 0; i < c->params->count; i++) {
        const kd_param *param = c->params->list[i];
        const size_t size = (size_t)param->tensor.size;
        const size_t own = (size_t)kd_encoding_bytes(&c->how[i], param);
        most = size > most ? size : most;
        if (c->how[i].format == c->packing->format) bytes = own > bytes ? own : bytes;
    }
    c->piece = calloc(room, sizeof *c->piece);
    c->entry = calloc(room, sizeof *c->entry);
    c->values = malloc(most * sizeof *c->values);
    c->bytes = malloc(bytes);
    if (!c->piece || !c->entry || !c->values || !c->bytes)
        return kd_fail_memory(most * sizeof *c->values, "a matrix that is packed");
    for (int i = 0; i < c->params->count; i++)
        if (c->packing->layout != KD_LAYOUT_PLAIN && c->how[i].format == c->packing->format)
            add_packed(c, i);
        else
            add_whole(c, i);
    return KD_OK;
}

static int write_weights(const kd_packed_folder *folder, const kd_encoding *how) {
    char path[KD_PATH_MAX];
    kd_named *named;
    int status = kd_names_list(&named, folder->names, folder->params);
    if (status < 0) return status;
    content c = {.params = folder->params,
                 .named = named,
                 .how = how,
                 .packing = folder->packing,
                 .encoded = -1};
    status = content_create(&c);
    if (status == KD_OK) status = kd_path_join(path, folder->path, "model.safetensors");
    if (status == KD_OK) status = kd_safetensors_write(path, c.count, c.entry, fill, &c);
    free(c.piece);
    free(c.entry);
    free(c.values);
    free(c.bytes);
    free(named);
    return status;
}

/* --- what stands beside them -------------------------------------------------------------------
 */

/* The names of the layers that are not packed, a JSON list. */
static int list_ignored(kd_text *out, const kd_packed_folder *folder, const kd_encoding *how) {
    char quoted[NAME_MAX_PACKED];
    int count = 0;
    kd_text_add(out, "[");
    if (folder->repeated) kd_text_add(out, "%s\"%s\"", count++ ? ", " : "", folder->repeated);
    for (int i = 0; i < folder->params->count; i++) {
        const kd_param *param = folder->params->list[i];
        kd_named named;
        if (how[i].format == folder->packing->format || param->tensor.rank != 2 ||
            !kd_ends_with(param->name, ".weight") || kd_param_role(param) == KD_ROLE_EMBEDDING)
            continue;
        kd_names_find(&named, folder->names, param);
        named.name[strlen(named.name) - strlen(".weight")] = '\0';
        kd_json_quote(quoted, sizeof quoted, named.name);
        kd_text_add(out, "%s%s", count++ ? ", " : "", quoted);
    }
    kd_text_add(out, "]");
    return kd_text_finish(out, folder->path);
}

int kd_packed_folder_begin(kd_encoding **own, const kd_encoding **how, kd_text *config,
                           const kd_packed_folder *folder) {
    kd_text ignored = {0};
    int status = KD_OK;
    if (!*how) {
        status =
            kd_encodings_nearest(own, folder->params, kd_packed_format_of, folder->packing->format);
        *how = *own;
    }
    if (status == KD_OK) status = list_ignored(&ignored, folder, *how);
    if (status == KD_OK && folder->packing->layout != KD_LAYOUT_PLAIN)
        kd_packing_add_config(config, folder->packing, ignored.text);
    kd_text_add(config, "%s", "");
    free(ignored.text);
    return status == KD_OK ? kd_text_finish(config, folder->path) : status;
}

int kd_packed_folder_end(const kd_packed_folder *folder, const kd_encoding *how) {
    kd_text ignored = {0}, beside = {0};
    int status = kd_folder_weights_unpack(folder->path);
    if (status == KD_OK && folder->packing->layout == KD_LAYOUT_MODELOPT) {
        status = list_ignored(&ignored, folder, how);
        if (status == KD_OK) kd_packing_add_modelopt(&beside, folder->packing, ignored.text);
        if (status == KD_OK) status = kd_text_save(&beside, folder->path, "hf_quant_config.json");
        free(ignored.text);
    }
    if (status == KD_OK) status = write_weights(folder, how);
    if (status == KD_OK)
        kd_encoding_tell(folder->path, folder->params, how, kd_packed_format_of,
                         folder->packing->format);
    return status;
}
