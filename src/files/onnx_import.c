#include "files/onnx_import.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "layers/weights.h"

enum { EXTENT_MAX = 1 << 16, WINDOW_MAX = 1 << 12 };

/* Where the numbers of a node's parameters stand. */
typedef struct {
    const kd_onnx_tensor *weight, *bias, *norm[4]; /* norm: gamma, beta, mean, var; NULL: none */
    bool columns;                                  /* of LINEAR: (K,O)                         */
    float epsilon;
} source;

/* A value of the file: what a node makes, flattened or not. */
typedef struct {
    kd_onnx_text name;
    int node;
} value;

struct kd_onnx_import {
    const kd_onnx_tables *tables;
    kd_net *net;
    source *source; /* of each node                    */
    value *value;   /* in the order they are made      */
    int values;
    bool *taken; /* of each operator: part of a node */
};

typedef kd_onnx_import import;

static int refuse(const import *m, const kd_onnx_operator *op, const char *why) {
    const kd_onnx_text name = op->name.length ? op->name : op->out;
    return kd_fail(KD_EDATA, "%s: operator %.*s \"%.*s\" %s", m->tables->path,
                   (int)(op->kind.length < 32 ? op->kind.length : 32),
                   op->kind.at ? op->kind.at : "", (int)(name.length < 64 ? name.length : 64),
                   name.at ? name.at : "", why);
}

/* --- looking around
 * -------------------------------------------------------------------------------
 */

static int node_of(const import *m, kd_onnx_text name) {
    for (int i = m->values - 1; i >= 0; i--)
        if (kd_onnx_same(m->value[i].name, name)) return m->value[i].node;
    return -1;
}

static void name_value(import *m, kd_onnx_text name, int node) {
    m->value[m->values++] = (value){name, node};
}

/* The one operator that reads a value; NULL when there are more, or it is the file's output. */
static const kd_onnx_operator *only_reader(const import *m, kd_onnx_text name) {
    const kd_onnx_operator *found = NULL;
    if (kd_onnx_same(name, m->tables->output)) return NULL;
    for (int i = 0; i < m->tables->operators; i++)
        for (int k = 0; k < m->tables->operator[i].inputs; k++) {
            if (!kd_onnx_same(m->tables->operator[i].in[k], name)) continue;
            if (found) return NULL;
            found = &m->tables->operator[i];
        }
    return found;
}

/* The reader behind `at`, if it is of this kind: then it is part of the same node. */
static const kd_onnx_operator *absorb(import *m, kd_onnx_text *at, const char *kind) {
    const kd_onnx_operator *op = only_reader(m, *at);
    if (!op || !kd_onnx_is(op->kind, kind)) return NULL;
    m->taken[op - m->tables->operator] = true;
    *at = op->out;
    return op;
}

/* Input `which` as a tensor of the file with `rank` axes (−1: any) that can be used. */
static int take_tensor(const import *m, const kd_onnx_operator *op, int which, bool whole, int rank,
                       const kd_onnx_tensor **out) {
    const kd_onnx_tensor *t = which < op->inputs ? kd_onnx_find(m->tables, op->in[which]) : NULL;
    if (!t) return refuse(m, op, "has weights that are computed, not stored");
    if (t->fault) {
        char why[96];
        snprintf(why, sizeof why, "has weights whose tensor %s", t->fault);
        return refuse(m, op, why);
    }
    if (t->whole != whole || (rank >= 0 && t->rank != rank))
        return refuse(m, op, "has a tensor of another type or number of axes than it should");
    *out = t;
    return KD_OK;
}

static int take_vector(const import *m, const kd_onnx_operator *op, int which, int64_t n,
                       const kd_onnx_tensor **out) {
    int status = take_tensor(m, op, which, false, 1, out);
    if (status == KD_OK && (*out)->count != n)
        status = refuse(m, op, "has a vector that is not as long as its channels");
    return status;
}

/* Two whole numbers, or those given when it has none. */
static int take_pair(const import *m, const kd_onnx_operator *op, const char *name, int64_t least,
                     int out[2], const int otherwise[2]) {
    int64_t pair[2] = {otherwise[0], otherwise[1]};
    const int found = kd_onnx_numbers(op, name, 2, pair);
    if ((found != 0 && found != 2) || pair[0] < least || pair[1] < least || pair[0] > WINDOW_MAX ||
        pair[1] > WINDOW_MAX) {
        char why[64];
        snprintf(why, sizeof why, "has no two fitting numbers in \"%s\"", name);
        return refuse(m, op, why);
    }
    out[0] = (int)pair[0];
    out[1] = (int)pair[1];
    return KD_OK;
}

/* kernel_shape, or the kernel that spec has, strides, pads, dilations and auto_pad. */
static int take_window(const import *m, const kd_onnx_operator *op, kd_node_spec *spec) {
    static const int ONES[2] = {1, 1};
    int64_t pad[4] = {0}, up = 0;
    int dilation[2] = {1, 1};
    kd_onnx_text word;
    const int pads = kd_onnx_numbers(op, "pads", 4, pad);
    int status = take_pair(m, op, "kernel_shape", 1, spec->kernel, spec->kernel);
    if (status == KD_OK) status = take_pair(m, op, "strides", 1, spec->stride, ONES);
    if (status == KD_OK) status = take_pair(m, op, "dilations", 1, dilation, ONES);
    if (status < 0) return status;
    if (dilation[0] != 1 || dilation[1] != 1) return refuse(m, op, "is dilated");
    if (kd_onnx_word(op, "auto_pad", &word) && !kd_onnx_is(word, "NOTSET"))
        return refuse(m, op, "pads by \"auto_pad\": only stated pads are known");
    if (kd_onnx_numbers(op, "ceil_mode", 1, &up) != 0 && up != 0)
        return refuse(m, op, "rounds the number of windows up");
    if ((pads != 0 && pads != 4) || pad[0] != pad[2] || pad[1] != pad[3] || pad[0] < 0 ||
        pad[1] < 0 || pad[0] > WINDOW_MAX || pad[1] > WINDOW_MAX)
        return refuse(m, op, "is not padded alike on both sides");
    spec->padding[0] = (int)pad[0];
    spec->padding[1] = (int)pad[1];
    return KD_OK;
}

/* --- nodes ---------------------------------------------------------------------------------------
 */

static void plain_name(char *out, size_t capacity, kd_onnx_text from) {
    size_t n = 0;
    for (size_t i = 0; i < from.length && n + 1 < capacity; i++) {
        const char c = from.at[i];
        const bool fits = isalnum((unsigned char)c) || c == '_' || c == '-';
        if (fits || n > 0) out[n++] = fits ? c : '.';
    }
    while (n > 0 && out[n - 1] == '.') n--;
    out[n] = 0;
}

/* "layer1.0.conv1" of the tensor "layer1.0.conv1.weight", or the operator's name; where that cannot
 * be, its kind and number. */
static void choose_name(const import *m, char *out, size_t capacity, const kd_onnx_operator *op,
                        const kd_onnx_tensor *weight) {
    static const char END[] = ".weight";
    const size_t end = sizeof END - 1;
    kd_onnx_text from = op->name.length ? op->name : op->out;
    if (weight && weight->name.length > end &&
        memcmp(weight->name.at + weight->name.length - end, END, end) == 0)
        from = (kd_onnx_text){weight->name.at, weight->name.length - end};
    plain_name(out, capacity, from);
    if (from.length >= capacity || !out[0] || kd_net_find(m->net, out) >= 0)
        snprintf(out, capacity, "%.*s.%d", (int)(op->kind.length < 24 ? op->kind.length : 24),
                 op->kind.at, m->net->count);
}

/* Appends the node that `op` begins; its value is called `out`. */
static int append(import *m, const kd_onnx_operator *op, const kd_node_spec *spec, int a, int b,
                  const source *from, kd_onnx_text out) {
    char name[sizeof m->net->node->name];
    choose_name(m, name, sizeof name, op, from ? from->weight : NULL);
    const int index = kd_net_append(m->net, name, spec, a, b);
    if (m->net->failed < 0)
        return m->net->failed == KD_ECONFIG ? kd_fail_in(KD_EDATA, "%s", m->tables->path)
                                            : m->net->failed;
    if (from) m->source[index] = *from;
    name_value(m, out, index);
    return KD_OK;
}

static int input_of(const import *m, const kd_onnx_operator *op, int which, int *out) {
    *out = which < op->inputs ? node_of(m, op->in[which]) : -1;
    return *out >= 0 ? KD_OK : refuse(m, op, "reads what no operator before it makes");
}

static int take_norm(import *m, const kd_onnx_operator *op, int64_t channels, source *from) {
    int64_t training = 0;
    int status = KD_OK;
    from->epsilon = 1e-5F;
    kd_onnx_real(op, "epsilon", &from->epsilon);
    if (kd_onnx_numbers(op, "training_mode", 1, &training) != 0 && training != 0)
        return refuse(m, op, "is in training");
    if (!(from->epsilon >= 0 && from->epsilon < 1)) return refuse(m, op, "has no fitting epsilon");
    for (int i = 0; i < 4 && status == KD_OK; i++)
        status = take_vector(m, op, 1 + i, channels, &from->norm[i]);
    return status;
}

static int add_conv(import *m, const kd_onnx_operator *op) {
    kd_node_spec spec = {.kind = KD_NODE_CONV};
    source from = {0};
    kd_onnx_text at = op->out;
    int64_t groups = 1;
    int in = 0;
    int status = input_of(m, op, 0, &in);
    if (status == KD_OK) status = take_tensor(m, op, 1, false, 4, &from.weight);
    if (status < 0) return status;
    const int64_t *shape = from.weight->shape, c = m->net->node[in].out.c;
    if (kd_onnx_numbers(op, "group", 1, &groups) < 0 || groups < 1 || groups > c || c % groups ||
        shape[0] < 1 || shape[0] > EXTENT_MAX || shape[0] % groups || shape[1] != c / groups ||
        shape[2] > WINDOW_MAX || shape[3] > WINDOW_MAX)
        return refuse(m, op, "has weights that do not fit its input");
    spec.groups = (int)groups;
    spec.channels = shape[0];
    spec.kernel[0] = (int)shape[2];
    spec.kernel[1] = (int)shape[3];
    status = take_window(m, op, &spec);
    if (status == KD_OK && (spec.kernel[0] != shape[2] || spec.kernel[1] != shape[3]))
        return refuse(m, op, "has a \"kernel_shape\" that is not its weights'");
    if (status == KD_OK && op->inputs > 2) status = take_vector(m, op, 2, shape[0], &from.bias);
    const kd_onnx_operator *norm = absorb(m, &at, "BatchNormalization");
    if (status == KD_OK && norm) status = take_norm(m, norm, shape[0], &from);
    spec.batch_norm = norm != NULL;
    spec.relu = absorb(m, &at, "Relu") != NULL;
    return status == KD_OK ? append(m, op, &spec, in, -1, &from, at) : status;
}

/* What multiplies rows by a matrix: Gemm, or MatMul with the Add of a vector behind it. */
static int add_linear(import *m, const kd_onnx_operator *op) {
    kd_node_spec spec = {.kind = KD_NODE_LINEAR};
    source from = {.columns = true};
    kd_onnx_text at = op->out;
    int64_t turned = 0, first = 0;
    float alpha = 1, beta = 1;
    int in = 0;
    const bool gemm = kd_onnx_is(op->kind, "Gemm");
    int status = input_of(m, op, 0, &in);
    if (status == KD_OK) status = take_tensor(m, op, 1, false, 2, &from.weight);
    if (status < 0) return status;
    if (gemm) {
        kd_onnx_real(op, "alpha", &alpha);
        kd_onnx_real(op, "beta", &beta);
        if (kd_onnx_numbers(op, "transB", 1, &turned) < 0 ||
            kd_onnx_numbers(op, "transA", 1, &first) < 0 || first != 0 || alpha != 1 || beta != 1)
            return refuse(m, op, "has factors, or turns its input");
        from.columns = turned == 0;
    }
    const kd_extent e = m->net->node[in].out;
    const int64_t *shape = from.weight->shape, inputs = shape[from.columns ? 0 : 1];
    spec.channels = shape[from.columns ? 1 : 0];
    if (inputs != e.h * e.w * e.c || spec.channels < 1)
        return refuse(m, op, "has weights that do not fit its input");
    const kd_onnx_operator *bias = gemm ? op : only_reader(m, at);
    if (gemm && op->inputs > 2) {
        status = take_vector(m, op, 2, spec.channels, &from.bias);
    } else if (!gemm && bias && kd_onnx_is(bias->kind, "Add") && bias->inputs == 2) {
        const int other = kd_onnx_same(bias->in[0], at);
        if (kd_onnx_find(m->tables, bias->in[other])) {
            status = take_vector(m, bias, other, spec.channels, &from.bias);
            absorb(m, &at, "Add");
        }
    }
    spec.relu = absorb(m, &at, "Relu") != NULL;
    return status == KD_OK ? append(m, op, &spec, in, -1, &from, at) : status;
}

static int add_sum(import *m, const kd_onnx_operator *op) {
    kd_node_spec spec = {.kind = KD_NODE_ADD};
    kd_onnx_text at = op->out;
    int a = 0, b = 0;
    int status = input_of(m, op, 0, &a);
    if (status == KD_OK) status = input_of(m, op, 1, &b);
    if (status < 0) return status;
    const kd_extent x = m->net->node[a].out, y = m->net->node[b].out;
    if (x.h != y.h || x.w != y.w || x.c != y.c)
        return refuse(m, op, "adds values of different shapes");
    spec.relu = absorb(m, &at, "Relu") != NULL;
    return append(m, op, &spec, a, b, NULL, at);
}

static int add_pool(import *m, const kd_onnx_operator *op) {
    const bool mean = kd_onnx_is(op->kind, "AveragePool");
    kd_node_spec spec = {.kind = mean ? KD_NODE_AVG_POOL : KD_NODE_MAX_POOL};
    int64_t counts = 0;
    int in = 0;
    int status = input_of(m, op, 0, &in);
    if (status == KD_OK) status = take_window(m, op, &spec);
    if (status < 0) return status;
    if (2 * spec.padding[0] > spec.kernel[0] || 2 * spec.padding[1] > spec.kernel[1])
        return refuse(m, op, "is padded by more than half of its window");
    if (mean && (spec.padding[0] || spec.padding[1]) &&
        (kd_onnx_numbers(op, "count_include_pad", 1, &counts) < 0 || counts != 1))
        return refuse(m, op, "leaves padding out of its means");
    return append(m, op, &spec, in, -1, NULL, op->out);
}

/* GlobalAveragePool, or ReduceMean over rows and columns, named from the front or the back. */
static int add_mean(import *m, const kd_onnx_operator *op) {
    const kd_onnx_tensor *list = NULL;
    int64_t axis[2] = {2, 3};
    int in = 0, status = input_of(m, op, 0, &in);
    if (status == KD_OK && kd_onnx_is(op->kind, "ReduceMean")) {
        int found = kd_onnx_numbers(op, "axes", 2, axis);
        if (op->inputs > 1) status = take_tensor(m, op, 1, true, 1, &list);
        if (list) memcpy(axis, list->number, sizeof axis);
        if (list) found = (int)(list->count <= 2 ? list->count : 0);
        const bool front = axis[0] == 2 && axis[1] == 3, back = axis[0] == -2 && axis[1] == -1,
                   turned = axis[0] == -1 && axis[1] == -2;
        if (status == KD_OK && (found != 2 || !(front || back || turned)))
            return refuse(m, op, "is no mean over rows and columns");
    }
    const kd_node_spec spec = {.kind = KD_NODE_GLOBAL_AVG_POOL};
    return status == KD_OK ? append(m, op, &spec, in, -1, NULL, op->out) : status;
}

/* x·Sigmoid(x) is one function. */
static int add_activation(import *m, const kd_onnx_operator *op) {
    kd_node_spec spec = {.kind = KD_NODE_ACTIVATION, .activation = KD_ACTIVATION_SIGMOID};
    kd_onnx_text at = op->out, word;
    int in = 0, status = input_of(m, op, 0, &in);
    if (status < 0) return status;
    const kd_onnx_operator *next = only_reader(m, at);
    if (kd_onnx_is(op->kind, "Tanh")) {
        spec.activation = KD_ACTIVATION_TANH;
    } else if (kd_onnx_is(op->kind, "Gelu")) {
        const bool rough = kd_onnx_word(op, "approximate", &word) && kd_onnx_is(word, "tanh");
        spec.activation = rough ? KD_ACTIVATION_GELU_TANH : KD_ACTIVATION_GELU;
    } else if (next && kd_onnx_is(next->kind, "Mul") && next->inputs == 2 &&
               kd_onnx_same(next->in[kd_onnx_same(next->in[0], at)], op->in[0])) {
        spec.activation = KD_ACTIVATION_SILU;
        op = absorb(m, &at, "Mul");
    }
    return append(m, op, &spec, in, -1, NULL, at);
}

/* Option A of residual networks: every step-th place, zero channels in front and behind. */
static int add_shortcut(import *m, const kd_onnx_operator *op) {
    const kd_onnx_tensor *part[4] = {NULL}, *pad = NULL; /* starts, ends, axes, steps */
    kd_onnx_text at = op->out;
    int in = 0, status = input_of(m, op, 0, &in);
    for (int i = 0; i < 4 && status == KD_OK; i++) {
        status = take_tensor(m, op, 1 + i, true, 1, &part[i]);
        if (status == KD_OK && part[i]->count != 2) status = refuse(m, op, "is of another kind");
    }
    if (status < 0) return status;
    const kd_extent e = m->net->node[in].out;
    const int64_t *step = part[3]->number;
    if (part[0]->number[0] != 0 || part[0]->number[1] != 0 || part[1]->number[0] < e.h ||
        part[1]->number[1] < e.w || part[2]->number[0] != 2 || part[2]->number[1] != 3 ||
        step[0] < 1 || step[1] < 1 || step[0] > WINDOW_MAX || step[1] > WINDOW_MAX)
        return refuse(m, op, "is no step through rows and columns");
    kd_node_spec spec = {
        .kind = KD_NODE_SHORTCUT, .channels = e.c, .stride = {(int)step[0], (int)step[1]}};
    const kd_onnx_operator *padded = absorb(m, &at, "Pad");
    if (padded) {
        status = take_tensor(m, padded, 1, true, 1, &pad);
        if (status < 0) return status;
        const int64_t *n = pad->number, missing = n[1] + n[5];
        const bool channels = pad->count == 8 && n[1] >= 0 && n[5] >= 0 && n[1] <= EXTENT_MAX &&
                              n[5] <= EXTENT_MAX && n[1] == missing / 2 &&
                              !(n[0] || n[2] || n[3] || n[4] || n[6] || n[7]);
        if (!channels || padded->inputs > 2)
            return refuse(m, padded, "is no zeros around the channels");
        spec.channels += missing;
    }
    return append(m, padded ? padded : op, &spec, in, -1, NULL, at);
}

/* The same numbers under another name. A linear layer flattens by itself; whoever wants images of
 * flattened ones is refused. */
static int add_alias(import *m, const kd_onnx_operator *op) {
    const kd_onnx_tensor *shape = NULL;
    int64_t axis = 1;
    if (kd_onnx_find(m->tables, op->out)) return KD_OK; /* another name of a tensor */
    int in = 0, status = input_of(m, op, 0, &in);
    if (status < 0) return status;
    const kd_extent e = m->net->node[in].out;
    if (kd_onnx_is(op->kind, "Flatten") && (kd_onnx_numbers(op, "axis", 1, &axis) < 0 || axis != 1))
        return refuse(m, op, "flattens samples together");
    if (kd_onnx_is(op->kind, "Reshape")) {
        const int64_t all = e.h * e.w * e.c;
        status = take_tensor(m, op, 1, true, 1, &shape);
        if (status < 0) return status;
        const int64_t *n = shape->number;
        const bool rows = shape->count == 2 && (n[1] == -1 || n[1] == all) && n[0] != all;
        const bool image = shape->count == 4 && e.h * e.w == 1 && (n[1] == e.c || n[1] == -1) &&
                           n[2] == 1 && n[3] == 1;
        if (!rows && !image) return refuse(m, op, "makes another shape than rows of samples");
    }
    name_value(m, op->out, in);
    return KD_OK;
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static const struct {
    const char *kind;
    int (*add)(import *m, const kd_onnx_operator *op);
} KNOWN[] = {{"Conv", add_conv},          {"Gemm", add_linear},
             {"MatMul", add_linear},      {"Add", add_sum},
             {"MaxPool", add_pool},       {"AveragePool", add_pool},
             {"ReduceMean", add_mean},    {"GlobalAveragePool", add_mean},
             {"Sigmoid", add_activation}, {"Tanh", add_activation},
             {"Gelu", add_activation},    {"Slice", add_shortcut},
             {"Flatten", add_alias},      {"Reshape", add_alias},
             {"Identity", add_alias},     {"Dropout", add_alias}};
enum { KNOWN_COUNT = sizeof KNOWN / sizeof *KNOWN };

static int add_operator(import *m, const kd_onnx_operator *op) {
    for (int i = 0; i < KNOWN_COUNT; i++)
        if (kd_onnx_is(op->kind, KNOWN[i].kind)) return KNOWN[i].add(m, op);
    if (kd_onnx_is(op->kind, "BatchNormalization") || kd_onnx_is(op->kind, "Relu"))
        return refuse(m, op, "does not stand alone behind a layer it could be a part of");
    return refuse(m, op, "is of a kind that no node here computes");
}

/* (batch, channels, rows, columns), or (batch, values). */
static int read_input(kd_extent *out, const kd_onnx_tables *t) {
    const int64_t *size = t->input_size;
    *out = t->input_rank == 4   ? (kd_extent){size[2], size[3], size[1]}
           : t->input_rank == 2 ? (kd_extent){1, 1, size[1]}
                                : (kd_extent){0, 0, 0};
    if (out->h < 1 || out->w < 1 || out->c < 1 || out->h > EXTENT_MAX || out->w > EXTENT_MAX ||
        out->c > EXTENT_MAX || out->h * out->w > ((int64_t)1 << 40) / out->c)
        return kd_fail(KD_EDATA,
                       "%s: its input must be (batch, channels, rows, columns) or (batch, values) "
                       "of stated sizes",
                       t->path);
    return KD_OK;
}

static int add_all(import *m) {
    const kd_onnx_tables *t = m->tables;
    int status = KD_OK;
    name_value(m, t->input, 0);
    for (int i = 0; i < t->operators && status == KD_OK; i++)
        if (!m->taken[i]) status = add_operator(m, &t->operator[i]);
    if (status < 0) return status;
    if (node_of(m, t->output) != m->net->count - 1 || m->net->count < 2)
        return kd_fail(KD_EDATA, "%s: its output is not what its last operator makes", t->path);
    return KD_OK;
}

int kd_onnx_import_net(kd_onnx_import **out, kd_net **net, kd_params *params,
                       const kd_onnx_tables *tables) {
    kd_extent input;
    *out = NULL;
    *net = NULL;
    int status = read_input(&input, tables);
    if (status == KD_OK) status = kd_net_create(net, params, input);
    if (status < 0) return status;
    const size_t most = (size_t)tables->operators + 2;
    import *m = calloc(1, sizeof *m);
    if (m) {
        *m = (import){.tables = tables, .net = *net};
        m->source = calloc(most, sizeof *m->source);
        m->value = calloc(most, sizeof *m->value);
        m->taken = calloc(most, sizeof *m->taken);
    }
    status =
        m && m->source && m->value && m->taken ? add_all(m) : kd_fail_memory(most, tables->path);
    if (status == KD_OK) {
        *out = m;
        return KD_OK;
    }
    kd_onnx_import_free(m);
    kd_net_free(*net);
    *net = NULL;
    return status;
}

void kd_onnx_import_free(kd_onnx_import *m) {
    if (!m) return;
    free(m->source);
    free(m->value);
    free(m->taken);
    free(m);
}

/* --- weights ------------------------------------------------------------------------------------
 */

static float number_at(const kd_onnx_tensor *t, int64_t i) {
    float number;
    memcpy(&number, t->floats + (size_t)i * sizeof number, sizeof number);
    return number;
}

static void fill_vector(const kd_param *to, const kd_onnx_tensor *from, kd_real otherwise) {
    for (int64_t i = 0; to && i < to->tensor.size; i++)
        to->tensor.value[i] = from ? (kd_real)number_at(from, i) : otherwise;
}

/* Ours is (O,positions,channels), theirs (O,channels,positions), or of columns that turned. */
static void fill_weight(const import *m, const kd_net_node *node, const source *from) {
    const kd_tensor *to = &node->weight->tensor;
    const kd_extent e = m->net->node[node->in[0]].out;
    const bool window = to->rank == 4;
    const int64_t o = to->shape[0], positions = window ? to->shape[1] * to->shape[2] : e.h * e.w;
    const int64_t channels = to->size / o / positions, K = positions * channels;
    for (int64_t i = 0; i < o; i++)
        for (int64_t p = 0; p < positions; p++)
            for (int64_t c = 0; c < channels; c++) {
                const int64_t k = c * positions + p;
                to->value[i * K + p * channels + c] = (kd_real)number_at(
                    from->weight, from->columns && !window ? k * o + i : i * K + k);
            }
}

/* A bias in front of the norm goes into its mean; another epsilon into its variance. */
static void fill_norm(const import *m, const kd_net_node *node, const source *from) {
    const kd_param *const to[4] = {node->gamma, node->beta, node->mean, node->var};
    for (int i = 0; i < 4; i++) fill_vector(to[i], from->norm[i], 0);
    const float more = from->epsilon - (float)m->net->bn_epsilon;
    for (int64_t i = 0; i < node->mean->tensor.size; i++) {
        if (from->bias) node->mean->tensor.value[i] -= (kd_real)number_at(from->bias, i);
        if (more != 0) node->var->tensor.value[i] += (kd_real)more;
    }
}

int kd_onnx_import_weights(const kd_onnx_import *m) {
    for (int i = 0; i < m->net->count; i++) {
        const kd_net_node *node = &m->net->node[i];
        if (!node->weight) continue;
        fill_weight(m, node, &m->source[i]);
        if (node->gamma)
            fill_norm(m, node, &m->source[i]);
        else
            fill_vector(node->bias, m->source[i].bias, 0);
    }
    kd_params_touch(m->net->params);
    return kd_params_check(m->net->params, m->tables->path);
}
