/* The graph of a blob and its tensors. The file is taken for hostile: every index, size and
 * multiplier is checked here, so that blob_run.c need not look again. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "quant/blob_internal.h"

enum {
    NODES_MAX = 1 << 12,
    EXTENT_MAX = 1 << 16,     /* of one axis                    */
    VALUES_MAX = 1 << 26,     /* of one activation              */
    WINDOW_MAX = 1 << 12,     /* kernels, strides, paddings     */
    MEAN_WINDOW_MAX = 1 << 22 /* 255 times it stays below 2^30  */
};
/* Of a sample at one moment, and of a convolution's padded input. */
static const int64_t ACTIVATIONS_MAX = (int64_t)1 << 28;

typedef struct {
    const char *name; /* of the file */
    const kd_gguf *file;
    kd_json *json;
    kd_blob *blob;
    uint64_t tensors_used;
} reader;

/* --- the graph's JSON ------------------------------------------------------------------------- */

static int fail_item(const reader *r, const cJSON *item, const char *key, const char *should) {
    char place[256];
    kd_json_place(place, sizeof place, r->json, item, false);
    return kd_fail(KD_EDATA, "%s: %s: \"%s\" %s", r->name, place, key, should);
}

static int read_integer(const reader *r, const cJSON *item, const cJSON *value, const char *key,
                        int64_t least, int64_t most, int64_t *out) {
    if (!value || !kd_json_is_integer(value) || value->valuedouble < (double)least ||
        value->valuedouble > (double)most) {
        char should[96];
        snprintf(should, sizeof should, "must be a whole number from %" PRId64 " to %" PRId64,
                 least, most);
        return fail_item(r, value ? value : item, key, should);
    }
    *out = (int64_t)value->valuedouble;
    return KD_OK;
}

static int get_integer(const reader *r, const cJSON *item, const char *key, int64_t least,
                       int64_t most, int64_t *out) {
    return read_integer(r, item, kd_json_get(item, key), key, least, most, out);
}

/* A list of exactly n whole numbers. */
static int get_integers(const reader *r, const cJSON *item, const char *key, int n, int64_t least,
                        int64_t most, int64_t *out) {
    const cJSON *list = kd_json_get(item, key);
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != n)
        return fail_item(r, list ? list : item, key, "must be a list of the right length");
    for (int i = 0; i < n; i++) {
        int status = read_integer(r, item, cJSON_GetArrayItem(list, i), key, least, most, &out[i]);
        if (status < 0) return status;
    }
    return KD_OK;
}

static int get_pair(const reader *r, const cJSON *item, const char *key, int least, int out[2]) {
    int64_t pair[2] = {0};
    int status = get_integers(r, item, key, 2, least, WINDOW_MAX, pair);
    out[0] = (int)pair[0];
    out[1] = (int)pair[1];
    return status;
}

static int get_grid(const reader *r, const cJSON *item, kd_blob_node *node) {
    const cJSON *object = kd_json_get(item, "grid");
    if (!cJSON_IsObject(object)) return fail_item(r, item, "grid", "is missing");
    const cJSON *scale = kd_json_get(object, "scale");
    float value = cJSON_IsNumber(scale) ? (float)scale->valuedouble : 0;
    if (!(value >= 0x1p-110f) || !isfinite(value))
        return fail_item(r, object, "scale", "must be a number above 0");
    int64_t zero = 0, qmin = 0, qmax = 0;
    int status = get_integer(r, object, "qmin", -255, 0, &qmin);
    if (status == KD_OK) status = get_integer(r, object, "qmax", qmin + 1, qmin + 255, &qmax);
    if (status == KD_OK) status = get_integer(r, object, "zero", qmin, qmax, &zero);
    if (status < 0) return status;
    node->grid.grid = (kd_grid){value, (int32_t)zero, (int32_t)qmin, (int32_t)qmax};
    return KD_OK;
}

/* --- tensors ---------------------------------------------------------------------------------- */

/* The tensor "<node>.<suffix>" with `n` elements of a type, copied into *out. */
static int take_tensor(reader *r, void **out, const kd_blob_node *node, const char *suffix,
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

static int check_multipliers(const reader *r, const kd_blob_node *node, int64_t n,
                             int32_t least_shift) {
    for (int64_t c = 0; c < n; c++) {
        const int32_t factor = node->factor[c], shift = node->shift[c];
        if ((factor != 0 && factor < 1 << 30) || shift < least_shift || shift > 31)
            return kd_fail(KD_EDATA,
                           "%s: %s: multiplier %lld is %d with shift %d: must be 0 or at "
                           "least 2^30 with a shift of %d to 31",
                           r->name, node->name, (long long)c, factor, shift, least_shift);
    }
    return KD_OK;
}

static int take_multipliers(reader *r, kd_blob_node *node, int64_t n, int32_t least_shift) {
    int status = take_tensor(r, (void **)&node->factor, node, "multiplier", KD_GGUF_TENSOR_I32, n);
    if (status == KD_OK)
        status = take_tensor(r, (void **)&node->shift, node, "shift", KD_GGUF_TENSOR_I32, n);
    return status == KD_OK ? check_multipliers(r, node, n, least_shift) : status;
}

/* int8 as it is, or nibbles spread out. */
static int take_weight(reader *r, kd_blob_node *node, int64_t n, int64_t bits) {
    void *bytes = NULL;
    int status =
        take_tensor(r, &bytes, node, "weight", KD_GGUF_TENSOR_I8, bits > 4 ? n : (n + 1) / 2);
    if (status < 0 || bits > 4) {
        node->weight = bytes;
        return status;
    }
    node->weight = malloc((size_t)n);
    if (!node->weight) status = kd_fail_memory((unsigned long long)n, node->name);
    for (int64_t i = 0; i < n && status == KD_OK; i++) {
        int nibble = ((const uint8_t *)bytes)[i / 2] >> (i % 2 * 4) & 15;
        node->weight[i] = (int8_t)(nibble < 8 ? nibble : nibble - 16);
    }
    free(bytes);
    return status;
}

/* Sums must fit an int32, whatever the activations: the promise the kernels rely on. */
static int check_layer(const reader *r, const kd_blob_node *node, int64_t bits) {
    const int qmax = (1 << (bits - 1)) - 1;
    for (int64_t c = 0; c < node->channels; c++) {
        int64_t sum = 0;
        for (int64_t k = 0; k < node->K; k++) {
            const int w = node->weight[c * node->K + k];
            if (w < -qmax || w > qmax)
                return kd_fail(KD_EDATA, "%s: %s: weight %d, channel %lld: must lie in %d … %d",
                               r->name, node->name, w, (long long)c, -qmax, qmax);
            sum += abs(w);
        }
        if (2 * 255 * sum + llabs((long long)node->bias[c]) > INT32_MAX)
            return kd_fail(KD_EDATA, "%s: %s: the sums of channel %lld can pass 2^31", r->name,
                           node->name, (long long)c);
        if (!isfinite(node->scale[c]) || node->scale[c] <= 0)
            return kd_fail(KD_EDATA, "%s: %s: scale %g of channel %lld: must be above 0", r->name,
                           node->name, (double)node->scale[c], (long long)c);
    }
    return KD_OK;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static int64_t window_count(int64_t size, int kernel, int stride, int padding) {
    const int64_t room = size + 2 * padding - kernel;
    return room < 0 ? 0 : room / stride + 1;
}

/* kernel, stride and padding, and what they make of the input's extent. */
static int read_window(const reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    int status = get_pair(r, item, "kernel", 1, node->kernel);
    if (status == KD_OK) status = get_pair(r, item, "stride", 1, node->stride);
    if (status == KD_OK) status = get_pair(r, item, "padding", 0, node->padding);
    if (status < 0) return status;
    made->h = window_count(node->from.h, node->kernel[0], node->stride[0], node->padding[0]);
    made->w = window_count(node->from.w, node->kernel[1], node->stride[1], node->padding[1]);
    return KD_OK;
}

/* A pool must see at least one real value at every place. */
static int read_pool(const reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    int status = read_window(r, item, node, made);
    if (status < 0) return status;
    if (node->padding[0] >= node->kernel[0] || node->padding[1] >= node->kernel[1])
        return fail_item(r, item, "padding", "must be less than the window");
    return KD_OK;
}

static int read_layer(reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    int64_t bits = 0, groups = 1;
    int status = get_integer(r, item, "weight_bits", 2, 8, &bits);
    if (status < 0) return status;
    node->channels = made->c = node->out.c;
    node->K = node->from.h * node->from.w * node->from.c;
    if (node->kind == KD_NODE_LINEAR) {
        made->h = made->w = 1;
    } else {
        status = read_window(r, item, node, made);
        if (status == KD_OK) status = get_integer(r, item, "groups", 1, node->from.c, &groups);
        if (status < 0) return status;
        if (node->from.c % groups || node->channels % groups)
            return fail_item(r, item, "groups", "must divide the channels");
        node->K = (int64_t)node->kernel[0] * node->kernel[1] * (node->from.c / groups);
    }
    node->groups = (int)groups;
    if (node->K > VALUES_MAX || node->channels * node->K > INT32_MAX)
        return fail_item(r, item, "out", "makes a layer that is too large");
    status = take_weight(r, node, node->channels * node->K, bits);
    if (status == KD_OK)
        status =
            take_tensor(r, (void **)&node->bias, node, "bias", KD_GGUF_TENSOR_I32, node->channels);
    if (status == KD_OK)
        status = take_tensor(r, (void **)&node->scale, node, "scale", KD_GGUF_TENSOR_F32,
                             node->channels);
    if (status == KD_OK && !node->last) status = take_multipliers(r, node, node->channels, -30);
    if (status == KD_OK) status = check_layer(r, node, bits);
    r->blob->parameters += node->channels * (node->K + 1);
    return status;
}

static int read_mean(reader *r, const cJSON *item, kd_blob_node *node) {
    if ((int64_t)node->kernel[0] * node->kernel[1] > MEAN_WINDOW_MAX)
        return fail_item(r, item, "kernel", "is too large");
    return take_multipliers(r, node, 1, -30);
}

static int read_global_mean(reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    node->kernel[0] = (int)node->from.h;
    node->kernel[1] = (int)node->from.w;
    node->stride[0] = node->stride[1] = 1;
    made->h = made->w = 1;
    return read_mean(r, item, node);
}

/* Both addends' multipliers are below 1, so that their sum cannot overflow. */
static int read_add(reader *r, const cJSON *item, kd_blob_node *node) {
    const kd_extent b = r->blob->node[node->in[1]].out;
    if (b.h != node->from.h || b.w != node->from.w || b.c != node->from.c)
        return fail_item(r, item, "in", "must name two nodes of the same shape");
    int status = take_multipliers(r, node, 3, -30);
    if (status < 0) return status;
    if (node->shift[0] < 0 || node->shift[1] < 0)
        return kd_fail(KD_EDATA, "%s: %s: an addend's shift must not be negative", r->name,
                       node->name);
    node->add = (kd_add_multipliers){{node->factor[0], node->shift[0]},
                                     {node->factor[1], node->shift[1]},
                                     {node->factor[2], node->shift[2]}};
    return KD_OK;
}

static int read_shortcut(const reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    int64_t step = 0, pad[2] = {0};
    int status = get_integer(r, item, "step", 1, WINDOW_MAX, &step);
    if (status == KD_OK) status = get_integers(r, item, "pad", 2, 0, EXTENT_MAX, pad);
    if (status < 0) return status;
    node->stride[0] = node->stride[1] = (int)step;
    node->pad_before = (int)pad[0];
    *made = (kd_extent){(node->from.h + step - 1) / step, (node->from.w + step - 1) / step,
                        node->from.c + pad[0] + pad[1]};
    return KD_OK;
}

/* What is particular to a kind; *made is the extent its numbers make. */
static int read_kind(reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    int status;
    *made = node->from;
    switch (node->kind) {
    case KD_NODE_INPUT:
        *made = node->out;
        return KD_OK;
    case KD_NODE_CONV:
    case KD_NODE_LINEAR:
        return read_layer(r, item, node, made);
    case KD_NODE_MAX_POOL:
        return read_pool(r, item, node, made);
    case KD_NODE_AVG_POOL:
        status = read_pool(r, item, node, made);
        return status == KD_OK ? read_mean(r, item, node) : status;
    case KD_NODE_GLOBAL_AVG_POOL:
        return read_global_mean(r, item, node, made);
    case KD_NODE_ADD:
        return read_add(r, item, node);
    case KD_NODE_SHORTCUT:
        return read_shortcut(r, item, node, made);
    case KD_NODE_DROPOUT:
    case KD_NODE_KIND_COUNT:
        break;
    }
    return fail_item(r, item, "kind", "is of no use in a blob");
}

static int read_kind_name(const reader *r, const cJSON *item, int index, kd_blob_node *node) {
    const cJSON *kind = kd_json_get(item, "kind"), *name = kd_json_get(item, "name");
    if (!cJSON_IsString(kind) || !cJSON_IsString(name) ||
        strlen(name->valuestring) >= sizeof node->name)
        return fail_item(r, item, "kind", "and \"name\" must be texts, the name a short one");
    strcpy(node->name, name->valuestring);
    node->kind = KD_NODE_KIND_COUNT;
    for (int k = 0; k < KD_NODE_KIND_COUNT; k++)
        if (strcmp(kind->valuestring, kd_node_kind_name((kd_node_kind)k)) == 0)
            node->kind = (kd_node_kind)k;
    if (node->kind == KD_NODE_KIND_COUNT || (node->kind == KD_NODE_INPUT) != (index == 0))
        return fail_item(r, kind, "kind", "must be a known one, \"input\" at the first place only");
    return KD_OK;
}

static int read_inputs(const reader *r, const cJSON *item, int index, kd_blob_node *node) {
    int64_t in[2] = {-1, -1}, out[3] = {0};
    int status = KD_OK;
    if (index > 0)
        status = get_integers(r, item, "in", node->kind == KD_NODE_ADD ? 2 : 1, 0, index - 1, in);
    if (status == KD_OK) status = get_integers(r, item, "out", 3, 1, EXTENT_MAX, out);
    if (status < 0) return status;
    if (out[0] * out[1] > VALUES_MAX / out[2]) return fail_item(r, item, "out", "is too large");
    node->in[0] = (int)in[0];
    node->in[1] = (int)in[1];
    node->out = (kd_extent){out[0], out[1], out[2]};
    if (index > 0) node->from = r->blob->node[in[0]].out;
    return KD_OK;
}

static int read_node(reader *r, const cJSON *item, int index, int count) {
    kd_blob_node *node = &r->blob->node[index];
    node->groups = 1;
    int status = read_kind_name(r, item, index, node);
    if (status == KD_OK) status = read_inputs(r, item, index, node);
    if (status < 0) return status;
    node->relu = cJSON_IsTrue(kd_json_get(item, "relu"));
    node->last = index == count - 1 && node->kind == KD_NODE_LINEAR;
    kd_extent made;
    status = read_kind(r, item, node, &made);
    if (status < 0) return status;
    if (made.h != node->out.h || made.w != node->out.w || made.c != node->out.c)
        return fail_item(r, item, "out", "is not what this node makes of its input");
    if (node->last) return KD_OK;
    if (node->kind == KD_NODE_MAX_POOL || node->kind == KD_NODE_SHORTCUT)
        node->grid = r->blob->node[node->in[0]].grid;
    else
        status = get_grid(r, item, node);
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int read_nodes(reader *r) {
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
                                          : fail_item(r, item, "graph", "must hold objects");
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
    reader r = {.name = name, .file = file, .blob = blob};
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
    const int64_t side = out.h > out.w ? out.h : out.w, longest = side > out.c ? side : out.c;
    if (longest > EXTENT_MAX) return too_large(node, "an axis of", longest, EXTENT_MAX);
    if (out.h * out.w > VALUES_MAX / out.c)
        return too_large(node, "activations:", out.h * out.w * out.c, VALUES_MAX);
    if (node->weight) {
        const int64_t size = node->weight->tensor.size, sum = size / node->weight->tensor.shape[0];
        const int64_t padded =
            (from.h + 2 * node->conv.padding[0]) * (from.w + 2 * node->conv.padding[1]) * from.c;
        if (sum > VALUES_MAX) return too_large(node, "inputs of one unit:", sum, VALUES_MAX);
        if (size > INT32_MAX) return too_large(node, "weights:", size, INT32_MAX);
        if (padded > ACTIVATIONS_MAX)
            return too_large(node, "padded inputs:", padded, ACTIVATIONS_MAX);
    }
    const int64_t window = node->kind == KD_NODE_GLOBAL_AVG_POOL ? from.h * from.w
                           : node->kind == KD_NODE_AVG_POOL
                               ? (int64_t)node->pool.kernel[0] * node->pool.kernel[1]
                               : 0;
    return window <= MEAN_WINDOW_MAX ? KD_OK
                                     : too_large(node, "a mean over", window, MEAN_WINDOW_MAX);
}

int kd_blob_check_net(const kd_net *net) {
    int status = KD_OK, count = 0;
    for (int i = 0; i < net->count && status == KD_OK; i++) {
        count += net->node[i].kind != KD_NODE_DROPOUT;
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
