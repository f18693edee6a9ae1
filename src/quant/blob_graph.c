/* The graph of a blob and its tensors. The file is taken for hostile: every index, size and
 * multiplier is checked here, so that what runs need not look again. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "quant/node.h"

enum { NODES_MAX = 1 << 12 };
/* Of a sample at one moment, and of a convolution's padded input. */
static const int64_t ACTIVATIONS_MAX = (int64_t)1 << 28;

/* --- the graph's JSON ------------------------------------------------------------------------- */

int kd_blob_fail(const kd_blob_reader *r, const cJSON *item, const char *key, const char *should) {
    char place[256];
    kd_json_place(place, sizeof place, r->json, item, false);
    return kd_fail(KD_EDATA, "%s: %s: \"%s\" %s", r->name, place, key, should);
}

static int read_integer(const kd_blob_reader *r, const cJSON *item, const cJSON *value,
                        const char *key, int64_t least, int64_t most, int64_t *out) {
    if (!value || !kd_json_is_integer(value) || value->valuedouble < (double)least ||
        value->valuedouble > (double)most) {
        char should[96];
        snprintf(should, sizeof should, "must be a whole number from %" PRId64 " to %" PRId64,
                 least, most);
        return kd_blob_fail(r, value ? value : item, key, should);
    }
    *out = (int64_t)value->valuedouble;
    return KD_OK;
}

int kd_blob_get_integer(const kd_blob_reader *r, const cJSON *item, const char *key, int64_t least,
                        int64_t most, int64_t *out) {
    return read_integer(r, item, kd_json_get(item, key), key, least, most, out);
}

int kd_blob_get_integers(const kd_blob_reader *r, const cJSON *item, const char *key, int n,
                         int64_t least, int64_t most, int64_t *out) {
    const cJSON *list = kd_json_get(item, key);
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != n)
        return kd_blob_fail(r, list ? list : item, key, "must be a list of the right length");
    for (int i = 0; i < n; i++) {
        int status = read_integer(r, item, cJSON_GetArrayItem(list, i), key, least, most, &out[i]);
        if (status < 0) return status;
    }
    return KD_OK;
}

static int get_pair(const kd_blob_reader *r, const cJSON *item, const char *key, int least,
                    int out[2]) {
    int64_t pair[2] = {0};
    int status = kd_blob_get_integers(r, item, key, 2, least, KD_BLOB_WINDOW_MAX, pair);
    out[0] = (int)pair[0];
    out[1] = (int)pair[1];
    return status;
}

static int get_grid(const kd_blob_reader *r, const cJSON *item, kd_blob_node *node) {
    const cJSON *object = kd_json_get(item, "grid");
    if (!cJSON_IsObject(object)) return kd_blob_fail(r, item, "grid", "is missing");
    const cJSON *scale = kd_json_get(object, "scale");
    float value = cJSON_IsNumber(scale) ? (float)scale->valuedouble : 0;
    if (!(value >= 0x1p-110f) || !isfinite(value))
        return kd_blob_fail(r, object, "scale", "must be a number above 0");
    int64_t zero = 0, qmin = 0, qmax = 0;
    int status = kd_blob_get_integer(r, object, "qmin", -255, 0, &qmin);
    if (status == KD_OK)
        status = kd_blob_get_integer(r, object, "qmax", qmin + 1, qmin + 255, &qmax);
    if (status == KD_OK) status = kd_blob_get_integer(r, object, "zero", qmin, qmax, &zero);
    if (status < 0) return status;
    node->grid.grid = (kd_grid){value, (int32_t)zero, (int32_t)qmin, (int32_t)qmax};
    return KD_OK;
}

/* --- tensors ---------------------------------------------------------------------------------- */

int kd_blob_take_tensor(kd_blob_reader *r, void **out, const kd_blob_node *node, const char *suffix,
                        kd_gguf_tensor_type type, int64_t n) {
    char name[2 * KD_GGUF_NAME_MAX];
    snprintf(name, sizeof name, "%s.%s", node->name, suffix);
    const kd_gguf_tensor *t = kd_gguf_find_tensor(r->file, name);
    if (!t) return kd_fail(KD_EDATA, "%s: tensor \"%s\" is missing", r->name, name);
    if (t->type != (uint32_t)type || t->count != (uint64_t)n)
        return kd_fail(KD_EDATA,
                       "%s: tensor \"%s\" has %llu elements of type %u: must be %lld of "
                       "type %d",
                       r->name, name, (unsigned long long)t->count, t->type, (long long)n,
                       (int)type);
    *out = malloc((size_t)t->bytes);
    if (!*out) return kd_fail_memory(t->bytes, name);
    memcpy(*out, t->data, (size_t)t->bytes);
    r->tensors_used++;
    return KD_OK;
}

/* 0, or 31 bits and a shift that kd_requantize takes. */
static int check_multipliers(const kd_blob_reader *r, const kd_blob_node *node, int64_t n) {
    for (int64_t c = 0; c < n; c++) {
        const int32_t factor = node->factor[c], shift = node->shift[c];
        if ((factor != 0 && factor < 1 << 30) || shift < -30 || shift > 31)
            return kd_fail(KD_EDATA,
                           "%s: %s: multiplier %lld is %d with shift %d: must be 0 or at "
                           "least 2^30 with a shift of -30 to 31",
                           r->name, node->name, (long long)c, factor, shift);
    }
    return KD_OK;
}

int kd_blob_take_multipliers(kd_blob_reader *r, kd_blob_node *node, int64_t n) {
    int status =
        kd_blob_take_tensor(r, (void **)&node->factor, node, "multiplier", KD_GGUF_TENSOR_I32, n);
    if (status == KD_OK)
        status =
            kd_blob_take_tensor(r, (void **)&node->shift, node, "shift", KD_GGUF_TENSOR_I32, n);
    return status == KD_OK ? check_multipliers(r, node, n) : status;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static int64_t window_count(int64_t size, int kernel, int stride, int padding) {
    const int64_t room = size + 2 * padding - kernel;
    return room < 0 ? 0 : room / stride + 1;
}

int kd_blob_read_window(const kd_blob_reader *r, const cJSON *item, kd_blob_node *node,
                        kd_extent *made) {
    kd_node_spec *s = &node->spec;
    int status = get_pair(r, item, "kernel", 1, s->kernel);
    if (status == KD_OK) status = get_pair(r, item, "stride", 1, s->stride);
    if (status == KD_OK) status = get_pair(r, item, "padding", 0, s->padding);
    if (status < 0) return status;
    made->h = window_count(node->from.h, s->kernel[0], s->stride[0], s->padding[0]);
    made->w = window_count(node->from.w, s->kernel[1], s->stride[1], s->padding[1]);
    return KD_OK;
}

static int read_kind_name(const kd_blob_reader *r, const cJSON *item, int index,
                          kd_blob_node *node) {
    const cJSON *kind = kd_json_get(item, "kind"), *name = kd_json_get(item, "name");
    if (!cJSON_IsString(kind) || !cJSON_IsString(name) ||
        strlen(name->valuestring) >= sizeof node->name)
        return kd_blob_fail(r, item, "kind", "and \"name\" must be texts, the name a short one");
    strcpy(node->name, name->valuestring);
    int k = 0;
    while (k < KD_NODE_KIND_COUNT &&
           strcmp(kind->valuestring, kd_node_kind_name((kd_node_kind)k)) != 0)
        k++;
    if (k == KD_NODE_KIND_COUNT || (k == KD_NODE_INPUT) != (index == 0))
        return kd_blob_fail(r, kind, "kind",
                            "must be a known one, \"input\" at the first place only");
    if (!kd_qnode_class_of((kd_node_kind)k)->run)
        return kd_blob_fail(r, item, "kind", "is of no use in a blob");
    node->spec.kind = (kd_node_kind)k;
    return KD_OK;
}

static int read_inputs(const kd_blob_reader *r, const cJSON *item, int index, kd_blob_node *node) {
    int64_t in[2] = {-1, -1}, out[3] = {0};
    int status = KD_OK;
    if (index > 0)
        status = kd_blob_get_integers(r, item, "in", kd_node_class_of(node->spec.kind)->inputs, 0,
                                      index - 1, in);
    if (status == KD_OK)
        status = kd_blob_get_integers(r, item, "out", 3, 1, KD_BLOB_EXTENT_MAX, out);
    if (status < 0) return status;
    if (out[0] * out[1] > KD_BLOB_VALUES_MAX / out[2])
        return kd_blob_fail(r, item, "out", "is too large");
    node->in[0] = (int)in[0];
    node->in[1] = (int)in[1];
    node->out = (kd_extent){out[0], out[1], out[2]};
    if (index > 0) node->from = r->blob->node[in[0]].out;
    return KD_OK;
}

static int read_node(kd_blob_reader *r, const cJSON *item, int index, int count) {
    kd_blob_node *node = &r->blob->node[index];
    node->spec.groups = 1;
    int status = read_kind_name(r, item, index, node);
    if (status == KD_OK) status = read_inputs(r, item, index, node);
    if (status < 0) return status;
    const kd_qnode_class *class = kd_qnode_class_of(node->spec.kind);
    node->spec.relu = cJSON_IsTrue(kd_json_get(item, "relu"));
    node->last = index == count - 1 && class->gives_logits;
    if (class->steps && !node->last) status = get_grid(r, item, node);
    if (!class->steps) node->grid = r->blob->node[node->in[0]].grid;
    kd_extent made = index > 0 ? node->from : node->out;
    if (class->read && status == KD_OK) status = class->read(r, item, node, &made);
    if (status < 0) return status;
    if (made.h != node->out.h || made.w != node->out.w || made.c != node->out.c)
        return kd_blob_fail(r, item, "out", "is not what this node makes of its input");
    return KD_OK;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int read_nodes(kd_blob_reader *r) {
    const cJSON *list = kd_json_root(r->json), *item;
    const int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (count < 2 || count > NODES_MAX)
        return kd_fail(KD_EDATA, "%s: distill.graph must be a list of 2 … %d nodes", r->name,
                       NODES_MAX);
    const size_t bytes = (size_t)count * sizeof *r->blob->node;
    r->blob->node = calloc(1, bytes);
    if (!r->blob->node) return kd_fail_memory(bytes, r->name);
    r->blob->count = count;
    int index = 0;
    cJSON_ArrayForEach(item, list) {
        int status = cJSON_IsObject(item) ? read_node(r, item, index, count)
                                          : kd_blob_fail(r, item, "graph", "must hold objects");
        if (status < 0) return status;
        index++;
    }
    if (r->tensors_used != r->file->tensor_count)
        return kd_fail(KD_EDATA, "%s: has %llu tensors, its graph uses %llu", r->name,
                       (unsigned long long)r->file->tensor_count,
                       (unsigned long long)r->tensors_used);
    return KD_OK;
}

int kd_blob_read_graph(kd_blob *blob, const kd_gguf *file, const char *text, size_t length,
                       const char *name) {
    kd_blob_reader r = {.name = name, .file = file, .blob = blob};
    int status = kd_json_parse(&r.json, text, length, "distill.graph");
    if (status < 0) return kd_fail_in(status, "%s", name);
    status = read_nodes(&r);
    kd_json_free(r.json);
    return status;
}

/* --- before there is a file --------------------------------------------------------------------
 */

static int too_large(const kd_net_node *node, const char *what, int64_t found, int64_t most) {
    return kd_fail(KD_ECONFIG,
                   "%s: %s %lld, an exported network can have %lld: make it smaller, or leave "
                   "\"quantize\" out",
                   node->name, what, (long long)found, (long long)most);
}

static int check_net_node(const kd_net *net, const kd_net_node *node) {
    const kd_extent out = node->out, from = node->in[0] >= 0 ? net->node[node->in[0]].out : out;
    const int *padding = node->spec.padding;
    const int64_t side = out.h > out.w ? out.h : out.w, longest = side > out.c ? side : out.c;
    const int64_t padded = (from.h + 2 * padding[0]) * (from.w + 2 * padding[1]) * from.c;
    if (longest > KD_BLOB_EXTENT_MAX)
        return too_large(node, "an axis of", longest, KD_BLOB_EXTENT_MAX);
    if (out.h * out.w > KD_BLOB_VALUES_MAX / out.c)
        return too_large(node, "activations:", out.h * out.w * out.c, KD_BLOB_VALUES_MAX);
    if (!node->weight) return KD_OK;
    if (node->weight->tensor.size > INT32_MAX)
        return too_large(node, "weights:", node->weight->tensor.size, INT32_MAX);
    return padded <= ACTIVATIONS_MAX ? KD_OK
                                     : too_large(node, "padded inputs:", padded, ACTIVATIONS_MAX);
}

int kd_blob_check_net(const kd_net *net) {
    int status = KD_OK, count = 0;
    for (int i = 0; i < net->count && status == KD_OK; i++) {
        count += !kd_node_class_of(net->node[i].spec.kind)->training_only;
        status = check_net_node(net, &net->node[i]);
    }
    const kd_net_node *last = &net->node[net->count - 1];
    if (status == KD_OK && count > NODES_MAX) status = too_large(last, "nodes:", count, NODES_MAX);
    if (status < 0) return status;
    const int64_t peak = kd_net_peak_activations(net);
    if (peak > ACTIVATIONS_MAX)
        status = too_large(last, "activations at one moment:", peak, ACTIVATIONS_MAX);
    return status;
}
