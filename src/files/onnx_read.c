#include "files/onnx_read.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { OPERATORS_MAX = 1 << 12, TENSORS_MAX = 1 << 13 };
static const int64_t COUNT_MAX = (int64_t)1 << 31;

/* Fields of onnx.proto, by message. */
enum {
    MODEL_GRAPH = 7,
    MODEL_FACT = 14,
    FACT_KEY = 1,
    FACT_VALUE = 2,
    GRAPH_NODE = 1,
    GRAPH_TENSOR = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_KIND = 4,
    NODE_SETTING = 5,
    NODE_DOMAIN = 7,
    SETTING_NAME = 1,
    SETTING_REAL = 2,
    SETTING_WHOLE = 3,
    SETTING_TEXT = 4,
    SETTING_TENSOR = 5,
    SETTING_LIST = 8,
    TENSOR_SHAPE = 1,
    TENSOR_TYPE = 2,
    TENSOR_FLOATS = 4,
    TENSOR_WHOLES = 7,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    TENSOR_PLACE = 14,
    VALUE_NAME = 1,
    VALUE_TYPE = 2,
    TYPE_TENSOR = 1,
    TYPE_SHAPE = 2,
    SHAPE_AXIS = 1,
    AXIS_SIZE = 1,
    FLOAT = 1,
    INT64 = 7
};

bool kd_onnx_is(kd_onnx_text text, const char *word) {
    return text.length == strlen(word) && memcmp(text.at, word, text.length) == 0;
}

bool kd_onnx_same(kd_onnx_text a, kd_onnx_text b) {
    return a.length == b.length && (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

static kd_onnx_text text_of(const kd_proto_entry *e) {
    return (kd_onnx_text){(const char *)e->rest.at, kd_proto_length(&e->rest)};
}

static int torn(const kd_onnx_tables *t, const char *what) {
    return kd_fail(KD_EDATA, "%s: no ONNX file, or damaged: %s cannot be read", t->path, what);
}

/* --- tensors ------------------------------------------------------------------------------------
 */

/* A number, or a packed list of them: each is handed on in order. */
static int take_numbers(const kd_proto_entry *e, int64_t *out, int most, int64_t *count) {
    kd_proto_rest rest = e->rest;
    uint64_t number = e->number;
    int found = 1;
    if (e->kind == KD_PROTO_NUMBER) {
        if (*count < most) out[*count] = (int64_t)number;
        ++*count;
        return 0;
    }
    if (e->kind != KD_PROTO_BYTES) return -1;
    while ((found = kd_proto_next_number(&number, &rest)) == 1) {
        if (*count < most) out[*count] = (int64_t)number;
        ++*count;
    }
    return found;
}

/* What was collected of a tensor while its message was read. */
typedef struct {
    int64_t rank, type, place, wholes;
    kd_proto_rest raw, floats;
} parts;

/* The numbers, once all is known: exactly as many as the shape says. */
static int finish_tensor(kd_onnx_tables *t, kd_onnx_tensor *out, const parts *p) {
    out->rank = (int)p->rank;
    out->count = 1;
    for (int i = 0; i < out->rank; i++) {
        if (out->shape[i] < 0 || out->shape[i] > COUNT_MAX / (out->count ? out->count : 1))
            return torn(t, "a tensor's shape");
        out->count *= out->shape[i];
    }
    const uint64_t count = (uint64_t)out->count;
    const size_t raw = kd_proto_length(&p->raw);
    out->whole = p->type == INT64;
    if (p->place != 0)
        out->fault = "is kept in another file";
    else if (p->type != FLOAT && p->type != INT64)
        out->fault = "is neither float32 nor int64";
    if (out->fault) return KD_OK;
    if (p->type == FLOAT) {
        const kd_proto_rest *from = p->raw.at ? &p->raw : &p->floats;
        if (kd_proto_length(from) != count * sizeof(float)) return torn(t, "a tensor's numbers");
        out->floats = from->at;
        return KD_OK;
    }
    if (!p->raw.at) return p->wholes == out->count ? KD_OK : torn(t, "a tensor's numbers");
    if (raw != count * sizeof(int64_t)) return torn(t, "a tensor's numbers");
    const size_t most = sizeof out->number;
    memcpy(out->number, p->raw.at, raw < most ? raw : most);
    return KD_OK;
}

static int read_tensor(kd_onnx_tables *t, kd_onnx_tensor *out, kd_proto_rest rest) {
    kd_proto_entry e;
    parts p = {0};
    int found, bad = 0;
    while ((found = kd_proto_next(&e, &rest)) == 1 && bad == 0) {
        const bool bytes = e.kind == KD_PROTO_BYTES;
        if (e.field == TENSOR_SHAPE)
            bad = take_numbers(&e, out->shape, KD_ONNX_RANK_MAX, &p.rank);
        else if (e.field == TENSOR_WHOLES)
            bad = take_numbers(&e, out->number, 8, &p.wholes);
        else if (e.field == TENSOR_NAME && bytes)
            out->name = text_of(&e);
        else if (e.field == TENSOR_RAW && bytes)
            p.raw = e.rest;
        else if (e.field == TENSOR_FLOATS && bytes)
            p.floats = e.rest;
        else if (e.field == TENSOR_TYPE)
            p.type = (int64_t)e.number;
        else if (e.field == TENSOR_PLACE)
            p.place = (int64_t)e.number;
    }
    if (found < 0 || bad != 0) return torn(t, "a tensor");
    if (p.rank <= KD_ONNX_RANK_MAX) return finish_tensor(t, out, &p);
    out->fault = "has more than four axes";
    return KD_OK;
}

static const kd_onnx_tensor *find_stored(const kd_onnx_tables *tables, kd_onnx_text name) {
    for (int i = 0; i < tables->tensors; i++)
        if (kd_onnx_same(tables->tensor[i].name, name)) return &tables->tensor[i];
    return NULL;
}

static int add_tensor(kd_onnx_tables *t, kd_proto_rest rest, const kd_onnx_text *name) {
    kd_onnx_tensor *tensor = &t->tensor[t->tensors];
    int status = read_tensor(t, tensor, rest);
    if (name) tensor->name = *name;
    if (status == KD_OK && find_stored(t, tensor->name))
        status =
            kd_fail(KD_EDATA, "%s: two tensors are called \"%.*s\"", t->path,
                    (int)(tensor->name.length < 64 ? tensor->name.length : 64), tensor->name.at);
    t->tensors += status == KD_OK;
    return status;
}

/* PyTorch stores equal tensors once, with an Identity for each other name. */
const kd_onnx_tensor *kd_onnx_find(const kd_onnx_tables *tables, kd_onnx_text name) {
    const kd_onnx_tensor *found = find_stored(tables, name);
    for (int i = 0; i < tables->operators && !found; i++) {
        const kd_onnx_operator *op = &tables->operator[i];
        if (op->inputs == 1 && kd_onnx_same(op->out, name) && kd_onnx_is(op->kind, "Identity"))
            return find_stored(tables, op->in[0]);
    }
    return found;
}

/* --- operators ----------------------------------------------------------------------------------
 */

/* The message of the setting `name`. Operators were walked once when they were read: no field of
 * theirs is torn; a setting's may be. */
static bool find_setting(const kd_onnx_operator *op, const char *name, kd_proto_rest *out) {
    kd_proto_rest rest = op->rest, within;
    kd_proto_entry e, inner;
    while (kd_proto_next(&e, &rest) == 1) {
        if (e.field != NODE_SETTING || e.kind != KD_PROTO_BYTES) continue;
        within = e.rest;
        while (kd_proto_next(&inner, &within) == 1)
            if (inner.field == SETTING_NAME && inner.kind == KD_PROTO_BYTES &&
                kd_onnx_is(text_of(&inner), name)) {
                *out = e.rest;
                return true;
            }
    }
    return false;
}

int kd_onnx_numbers(const kd_onnx_operator *op, const char *name, int n, int64_t *out) {
    kd_proto_rest rest;
    kd_proto_entry e;
    int64_t count = 0;
    int found;
    if (!find_setting(op, name, &rest)) return 0;
    while ((found = kd_proto_next(&e, &rest)) == 1)
        if ((e.field == SETTING_WHOLE || e.field == SETTING_LIST) &&
            take_numbers(&e, out, n, &count) < 0)
            return -1;
    return found < 0 || count == 0 || count > n ? -1 : (int)count;
}

bool kd_onnx_real(const kd_onnx_operator *op, const char *name, float *out) {
    kd_proto_rest rest;
    kd_proto_entry e;
    bool is = false;
    if (!find_setting(op, name, &rest)) return false;
    while (kd_proto_next(&e, &rest) == 1)
        if (e.field == SETTING_REAL && e.kind == KD_PROTO_FOUR) {
            const uint32_t bits = (uint32_t)e.number;
            memcpy(out, &bits, sizeof *out);
            is = true;
        }
    return is;
}

bool kd_onnx_word(const kd_onnx_operator *op, const char *name, kd_onnx_text *out) {
    kd_proto_rest rest;
    kd_proto_entry e;
    bool is = false;
    if (!find_setting(op, name, &rest)) return false;
    while (kd_proto_next(&e, &rest) == 1)
        if (e.field == SETTING_TEXT && e.kind == KD_PROTO_BYTES) {
            *out = text_of(&e);
            is = true;
        }
    return is;
}

/* A Constant's tensor joins the others under the name of the result. */
static int add_constant(kd_onnx_tables *t, const kd_onnx_operator *op) {
    kd_proto_rest rest;
    kd_proto_entry e;
    if (!find_setting(op, "value", &rest)) return KD_OK; /* refused when it is used */
    while (kd_proto_next(&e, &rest) == 1)
        if (e.field == SETTING_TENSOR && e.kind == KD_PROTO_BYTES)
            return add_tensor(t, e.rest, &op->out);
    return torn(t, "a Constant");
}

static int add_operator(kd_onnx_tables *t, kd_proto_rest rest) {
    kd_onnx_operator op = {.rest = rest};
    kd_proto_entry e;
    int found;
    while ((found = kd_proto_next(&e, &rest)) == 1) {
        if (e.kind != KD_PROTO_BYTES) continue;
        if (e.field == NODE_INPUT && op.inputs == KD_ONNX_INPUTS_MAX)
            return kd_fail(KD_EDATA, "%s: an operator of more than %d inputs", t->path,
                           KD_ONNX_INPUTS_MAX);
        if (e.field == NODE_INPUT) op.in[op.inputs++] = text_of(&e);
        if (e.field == NODE_OUTPUT && !op.out.at) op.out = text_of(&e);
        if (e.field == NODE_NAME) op.name = text_of(&e);
        if (e.field == NODE_KIND) op.kind = text_of(&e);
        if (e.field == NODE_DOMAIN && kd_proto_length(&e.rest) > 0 &&
            !kd_onnx_is(text_of(&e), "ai.onnx"))
            return kd_fail(KD_EDATA, "%s: an operator of the domain \"%.*s\": only ONNX's own",
                           t->path, (int)(e.number < 64 ? e.number : 64), (const char *)e.rest.at);
    }
    if (found < 0) return torn(t, "an operator");
    if (kd_onnx_is(op.kind, "Constant")) return add_constant(t, &op);
    t->operator[t->operators++] = op;
    return KD_OK;
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static int read_shape(kd_onnx_tables *t, kd_proto_rest rest) {
    kd_proto_entry e, size;
    int found;
    while ((found = kd_proto_next(&e, &rest)) == 1) {
        if (e.field != SHAPE_AXIS || e.kind != KD_PROTO_BYTES) continue;
        if (t->input_rank == KD_ONNX_RANK_MAX)
            return kd_fail(KD_EDATA, "%s: its input has more than %d axes", t->path,
                           KD_ONNX_RANK_MAX);
        int64_t *axis = &t->input_size[t->input_rank++];
        while ((found = kd_proto_next(&size, &e.rest)) == 1)
            if (size.field == AXIS_SIZE && size.kind == KD_PROTO_NUMBER)
                *axis = (int64_t)size.number;
        if (found < 0) break;
    }
    return found < 0 ? torn(t, "the input's shape") : KD_OK;
}

/* The field `field` of a message, which is one itself; false when it is not there. */
static bool within(kd_proto_rest *out, kd_proto_rest rest, uint32_t field) {
    kd_proto_entry e;
    while (kd_proto_next(&e, &rest) == 1)
        if (e.field == field && e.kind == KD_PROTO_BYTES) {
            *out = e.rest;
            return true;
        }
    return false;
}

/* An input that is not a tensor of the file is the network's; there is one. */
static int read_input(kd_onnx_tables *t, kd_proto_rest value) {
    kd_proto_rest name = {0}, at;
    if (!within(&name, value, VALUE_NAME)) return torn(t, "an input");
    const kd_onnx_text text = {(const char *)name.at, kd_proto_length(&name)};
    if (kd_onnx_find(t, text)) return KD_OK;
    if (t->input.at)
        return kd_fail(KD_EDATA, "%s: has more than one input: a classifier has one", t->path);
    t->input = text;
    if (!within(&at, value, VALUE_TYPE) || !within(&at, at, TYPE_TENSOR) ||
        !within(&at, at, TYPE_SHAPE))
        return kd_fail(KD_EDATA, "%s: does not say its input's shape", t->path);
    return read_shape(t, at);
}

/* In three passes: how many, tensors and operators, then what goes in. */
static int read_graph(kd_onnx_tables *t, kd_proto_rest graph) {
    kd_proto_rest rest = graph, name;
    kd_proto_entry e;
    int found, operators = 0, tensors = 0, outputs = 0, status = KD_OK;
    while ((found = kd_proto_next(&e, &rest)) == 1) {
        operators += e.field == GRAPH_NODE && operators <= OPERATORS_MAX;
        tensors += e.field == GRAPH_TENSOR && tensors <= TENSORS_MAX;
    }
    if (found < 0) return torn(t, "the graph");
    if (operators > OPERATORS_MAX || tensors > TENSORS_MAX)
        return kd_fail(KD_EDATA, "%s: more than %d operators or %d tensors", t->path, OPERATORS_MAX,
                       TENSORS_MAX);
    t->operator= calloc((size_t)operators + 1, sizeof *t->operator);
    t->tensor = calloc((size_t)(operators + tensors) + 1, sizeof *t->tensor);
    if (!t->operator|| !t->tensor) return kd_fail_memory(sizeof *t->tensor, t->path);
    for (rest = graph; kd_proto_next(&e, &rest) == 1 && status == KD_OK;) {
        if (e.kind != KD_PROTO_BYTES) continue;
        if (e.field == GRAPH_NODE) status = add_operator(t, e.rest);
        if (e.field == GRAPH_TENSOR) status = add_tensor(t, e.rest, NULL);
    }
    for (rest = graph; status == KD_OK && kd_proto_next(&e, &rest) == 1;) {
        if (e.kind != KD_PROTO_BYTES) continue;
        if (e.field == GRAPH_INPUT) status = read_input(t, e.rest);
        if (e.field == GRAPH_OUTPUT && outputs++ == 0 && within(&name, e.rest, VALUE_NAME))
            t->output = (kd_onnx_text){(const char *)name.at, kd_proto_length(&name)};
    }
    if (status < 0) return status;
    if (outputs != 1 || !t->output.at || !t->input.at)
        return kd_fail(KD_EDATA, "%s: a classifier has one input and one output", t->path);
    return KD_OK;
}

kd_onnx_text kd_onnx_fact(const kd_onnx_tables *tables, const char *key) {
    kd_proto_rest rest = tables->model, name, value;
    kd_proto_entry e;
    while (kd_proto_next(&e, &rest) == 1) {
        if (e.field != MODEL_FACT || e.kind != KD_PROTO_BYTES || !within(&name, e.rest, FACT_KEY) ||
            !within(&value, e.rest, FACT_VALUE))
            continue;
        if (kd_onnx_is((kd_onnx_text){(const char *)name.at, kd_proto_length(&name)}, key))
            return (kd_onnx_text){(const char *)value.at, kd_proto_length(&value)};
    }
    return (kd_onnx_text){"", 0};
}

int kd_onnx_parse(kd_onnx_tables **out, const void *bytes, size_t length, const char *path) {
    *out = NULL;
    kd_onnx_tables *t = calloc(1, sizeof *t);
    if (!t) return kd_fail_memory(sizeof *t, path);
    t->path = path;
    t->model = (kd_proto_rest){bytes, (const unsigned char *)bytes + length};
    kd_proto_rest rest = t->model, graph;
    int status = within(&graph, rest, MODEL_GRAPH) ? read_graph(t, graph) : torn(t, "the graph");
    if (status < 0)
        kd_onnx_tables_free(t);
    else
        *out = t;
    return status;
}

int kd_onnx_open(kd_onnx_tables **out, const char *path) {
    kd_file_map map;
    int status = kd_file_map_open(&map, path);
    if (status < 0) return status;
    status = kd_onnx_parse(out, map.bytes, map.length, path);
    if (status < 0)
        kd_file_map_close(&map);
    else
        (*out)->map = map;
    return status;
}

void kd_onnx_tables_free(kd_onnx_tables *tables) {
    if (!tables) return;
    kd_file_map_close(&tables->map);
    free(tables->operator);
    free(tables->tensor);
    free(tables);
}
