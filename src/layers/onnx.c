#include "layers/onnx.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/protobuf.h"
#include "layers/node.h"

enum { CHUNK = 1 << 14, OPSET = 13, RANK_MAX = 4 };
static const size_t FILE_MAX = (size_t)1 << 31;

struct kd_onnx {
    kd_extent input;
    kd_proto model, graph;
    kd_proto message, within, part; /* at work */
    kd_arena *names;
    const char *node, *result; /* the node of ours that is added, and what it gives */
    int opset;
    bool failed;
};

int kd_onnx_create(kd_onnx **out, kd_extent input) {
    *out = NULL;
    kd_onnx *onnx = calloc(1, sizeof *onnx);
    if (!onnx) return kd_fail_memory(sizeof *onnx, "an ONNX graph");
    onnx->input = input;
    onnx->opset = OPSET;
    const int status = kd_arena_create(&onnx->names, CHUNK);
    if (status < 0)
        kd_onnx_free(onnx);
    else
        *out = onnx;
    return status;
}

void kd_onnx_free(kd_onnx *onnx) {
    if (!onnx) return;
    kd_arena_free(onnx->names);
    free(onnx->graph.bytes);
    free(onnx->model.bytes);
    free(onnx->message.bytes);
    free(onnx->within.bytes);
    free(onnx->part.bytes);
    free(onnx);
}

const char *kd_onnx_name(kd_onnx *onnx, const char *node, const char *suffix) {
    const size_t a = strlen(node), b = strlen(suffix);
    char *name = kd_arena_alloc(onnx->names, a + b + 2);
    if (!name) {
        onnx->failed = true;
        return "";
    }
    memcpy(name, node, a);
    name[a] = '.';
    memcpy(name + a + 1, suffix, b + 1);
    return name;
}

void kd_onnx_need(kd_onnx *onnx, int opset) {
    if (opset > onnx->opset) onnx->opset = opset;
}

/* --- operators and tensors (onnx.proto: NodeProto, AttributeProto, TensorProto) -----------------
 */

enum {
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_KIND = 4,
    NODE_SETTING = 5,

    SETTING_NAME = 1,
    SETTING_REAL = 2,
    SETTING_WHOLE = 3,
    SETTING_TEXT = 4,
    SETTING_LIST = 8,
    SETTING_TYPE = 20,
    TYPE_REAL = 1,
    TYPE_WHOLE = 2,
    TYPE_TEXT = 3,
    TYPE_LIST = 7,

    TENSOR_SHAPE = 1,
    TENSOR_TYPE = 2,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,

    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_TENSOR = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12
};

static void add_setting(kd_onnx *onnx, const kd_onnx_setting *setting) {
    kd_proto *out = &onnx->within;
    int type = TYPE_WHOLE;
    kd_proto_add_text(out, SETTING_NAME, setting->name);
    if (setting->text) {
        type = TYPE_TEXT;
        kd_proto_add_text(out, SETTING_TEXT, setting->text);
    } else if (setting->real != 0) {
        type = TYPE_REAL;
        kd_proto_add_float(out, SETTING_REAL, setting->real);
    } else if (setting->count > 0) {
        type = TYPE_LIST;
        for (int i = 0; i < setting->count; i++)
            kd_proto_add_number(out, SETTING_LIST, (uint64_t)setting->value[i]);
    } else {
        kd_proto_add_number(out, SETTING_WHOLE, (uint64_t)setting->value[0]);
    }
    kd_proto_add_number(out, SETTING_TYPE, (uint64_t)type);
    kd_proto_add_message(&onnx->message, NODE_SETTING, out);
}

void kd_onnx_add(kd_onnx *onnx, const char *kind, const char *out, int n, const char *const *in,
                 int m, const kd_onnx_setting *settings) {
    kd_proto *node = &onnx->message;
    for (int i = 0; i < n; i++) kd_proto_add_text(node, NODE_INPUT, in[i]);
    kd_proto_add_text(node, NODE_OUTPUT, out);
    kd_proto_add_text(node, NODE_NAME, out == onnx->result ? onnx->node : out);
    kd_proto_add_text(node, NODE_KIND, kind);
    for (int i = 0; i < m; i++) add_setting(onnx, &settings[i]);
    kd_proto_add_message(&onnx->graph, GRAPH_NODE, node);
}

static size_t width_of(kd_onnx_type type) {
    switch (type) {
    case KD_ONNX_INT64:
        return 8;
    case KD_ONNX_FLOAT:
    case KD_ONNX_INT32:
        return 4;
    case KD_ONNX_UINT8:
    case KD_ONNX_INT8:
    case KD_ONNX_INT4:
        break;
    }
    return 1;
}

/* The first of two in the low half. */
static void add_nibbles(kd_onnx *onnx, const int8_t *values, int64_t count) {
    const size_t bytes = (size_t)(count + 1) / 2;
    unsigned char *packed = malloc(bytes + 1);
    if (!packed) {
        onnx->failed = true;
        return;
    }
    for (int64_t i = 0; i < count; i += 2) {
        const int high = i + 1 < count ? values[i + 1] : 0;
        packed[i / 2] = (unsigned char)((values[i] & 15) | (high & 15) << 4);
    }
    kd_proto_add_bytes(&onnx->message, TENSOR_RAW, packed, bytes);
    free(packed);
}

/* Bytes of the file are little-endian, as those of every machine this program runs on. */
const char *kd_onnx_constant(kd_onnx *onnx, const char *name, kd_onnx_type type, int rank,
                             const int64_t *shape, const void *values) {
    kd_proto *tensor = &onnx->message;
    int64_t count = 1;
    for (int i = 0; i < rank; i++) {
        kd_proto_add_number(tensor, TENSOR_SHAPE, (uint64_t)shape[i]);
        count *= shape[i];
    }
    kd_proto_add_number(tensor, TENSOR_TYPE, type);
    kd_proto_add_text(tensor, TENSOR_NAME, name);
    if (type == KD_ONNX_INT4)
        add_nibbles(onnx, values, count);
    else
        kd_proto_add_bytes(tensor, TENSOR_RAW, values, (size_t)count * width_of(type));
    kd_proto_add_message(&onnx->graph, GRAPH_TENSOR, tensor);
    return name;
}

/* --- nodes of ours ------------------------------------------------------------------------------
 */

const char *kd_onnx_image(kd_onnx *onnx, const kd_onnx_node *node, int which) {
    if (!node->rows[which]) return node->in[which];
    const int64_t four = 4, shape[4] = {0, node->from.c, 1, 1}; /* 0: as it is */
    const char *out = kd_onnx_name(onnx, node->name, which ? "image1" : "image");
    const char *const in[] = {
        node->in[which],
        kd_onnx_constant(onnx, kd_onnx_name(onnx, node->name, which ? "shape1" : "shape"),
                         KD_ONNX_INT64, 1, &four, shape)};
    kd_onnx_add(onnx, "Reshape", out, 2, in, 0, NULL);
    return out;
}

void kd_onnx_turn(void *out, const void *in, int64_t o, int64_t positions, int64_t channels,
                  size_t bytes) {
    unsigned char *to = out;
    for (int64_t i = 0; i < o; i++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t p = 0; p < positions; p++, to += bytes)
                memcpy(to,
                       (const unsigned char *)in +
                           (size_t)((i * positions + p) * channels + c) * bytes,
                       bytes);
}

int kd_onnx_add_node(kd_onnx *onnx, const kd_onnx_node *node, const char **out, bool *rows) {
    const kd_node_class *class = kd_node_class_of(node->spec->kind);
    if (!class->onnx)
        return kd_fail(KD_ECONFIG, "%s: a node of the kind \"%s\" has no form in ONNX", node->name,
                       class->name);
    if (node->spec->activation >= KD_ACTIVATION_COUNT)
        return kd_fail(KD_ECONFIG, "%s: its table is no function's that is known here", node->name);
    *out = onnx->result = kd_onnx_name(onnx, node->name, "sum");
    onnx->node = node->name;
    *rows = class->onnx(onnx, node, *out);
    if (!node->spec->relu) return KD_OK;
    const char *cut = kd_onnx_name(onnx, node->name, "relu");
    kd_onnx_add(onnx, "Relu", cut, 1, out, 0, NULL);
    *out = cut;
    return KD_OK;
}

/* --- the whole (onnx.proto: ModelProto, GraphProto, ValueInfoProto) -----------------------------
 */

enum {
    MODEL_IR_VERSION = 1,
    MODEL_PRODUCER = 2,
    MODEL_GRAPH = 7,
    MODEL_OPSET = 8,
    MODEL_FACT = 14,

    OPSET_VERSION = 2,
    FACT_KEY = 1,
    FACT_VALUE = 2,

    VALUE_NAME = 1,
    VALUE_TYPE = 2,
    TYPE_TENSOR = 1,
    TENSOR_ELEMENT = 1,
    TENSOR_EXTENT = 2,
    EXTENT_AXIS = 1,
    AXIS_SIZE = 1,
    AXIS_NAME = 2
};

void kd_onnx_describe(kd_onnx *onnx, const char *key, const char *value) {
    kd_proto *fact = &onnx->message;
    kd_proto_add_text(fact, FACT_KEY, key);
    kd_proto_add_text(fact, FACT_VALUE, value);
    kd_proto_add_message(&onnx->model, MODEL_FACT, fact);
}

/* float (batch, size…) */
static void add_value(kd_onnx *onnx, int field, const char *name, int n, const int64_t *size) {
    kd_proto *axis = &onnx->message, *shape = &onnx->within, *part = &onnx->part;
    kd_proto_add_text(axis, AXIS_NAME, "batch");
    kd_proto_add_message(shape, EXTENT_AXIS, axis);
    for (int i = 0; i < n; i++) {
        kd_proto_add_number(axis, AXIS_SIZE, (uint64_t)size[i]);
        kd_proto_add_message(shape, EXTENT_AXIS, axis);
    }
    kd_proto_add_number(part, TENSOR_ELEMENT, KD_ONNX_FLOAT);
    kd_proto_add_message(part, TENSOR_EXTENT, shape);
    kd_proto_add_message(axis, TYPE_TENSOR, part);
    kd_proto_add_text(part, VALUE_NAME, name);
    kd_proto_add_message(part, VALUE_TYPE, axis);
    kd_proto_add_message(&onnx->graph, field, part);
}

/* Rows in the order of our own flattening, channels last. */
static void add_logits(kd_onnx *onnx, const char *value, bool rows, kd_extent out) {
    const char *last = kd_onnx_name(onnx, "logits", "turned");
    if (!rows && out.h * out.w > 1) {
        const kd_onnx_setting order = KD_ONNX_LIST("perm", 4, 0, 2, 3, 1);
        kd_onnx_add(onnx, "Transpose", last, 1, &value, 1, &order);
        value = last;
    }
    const kd_onnx_setting axis = KD_ONNX_WHOLE("axis", 1);
    kd_onnx_add(onnx, "Flatten", "logits", 1, &value, 1, &axis);
}

/* The oldest format of files that knows the opset. */
static uint64_t ir_version(int opset) {
    return opset >= 21 ? 10 : opset >= 20 ? 9 : 7;
}

int kd_onnx_finish(kd_onnx *onnx, const char *path, const char *value, bool rows, kd_extent out) {
    const kd_extent in = onnx->input;
    const int64_t classes = out.h * out.w * out.c;
    add_logits(onnx, value, rows, out);
    kd_proto_add_text(&onnx->graph, GRAPH_NAME, "distill");
    add_value(onnx, GRAPH_INPUT, "input", 3, (const int64_t[]){in.c, in.h, in.w});
    add_value(onnx, GRAPH_OUTPUT, "logits", 1, &classes);
    if (onnx->graph.length + onnx->model.length > FILE_MAX - CHUNK)
        return kd_fail(KD_EDATA, "%s: would have more than the 2 GB of an ONNX file", path);
    kd_proto *model = &onnx->model, *opset = &onnx->within;
    kd_proto_add_number(model, MODEL_IR_VERSION, ir_version(onnx->opset));
    kd_proto_add_text(model, MODEL_PRODUCER, "distill");
    kd_proto_add_number(opset, OPSET_VERSION, (uint64_t)onnx->opset);
    kd_proto_add_message(model, MODEL_OPSET, opset);
    kd_proto_add_message(model, MODEL_GRAPH, &onnx->graph);
    if (onnx->failed || model->failed) return kd_fail_memory(model->capacity, path);
    return kd_file_replace(path, model->bytes, model->length);
}
