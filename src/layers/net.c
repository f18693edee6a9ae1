#include "layers/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int kd_net_create(kd_net **out, kd_params *params, kd_extent input) {
    kd_net *net = calloc(1, sizeof *net);
    if (!net) return kd_fail_memory(sizeof *net, "a network");
    net->params = params;
    net->bn_momentum = KD_REAL(0.1);
    net->bn_epsilon = KD_REAL(1e-5);
    net->capacity = 32;
    net->node = calloc((size_t)net->capacity, sizeof *net->node);
    if (!net->node) {
        free(net);
        return kd_fail_memory(32 * sizeof(kd_net_node), "a network's nodes");
    }
    net->node[0] = (kd_net_node){
        .spec = {.kind = KD_NODE_INPUT}, .name = "input", .in = {-1, -1}, .out = input};
    net->count = 1;
    *out = net;
    return KD_OK;
}

void kd_net_free(kd_net *net) {
    if (!net) return;
    free(net->node);
    free(net);
}

#define ADDRESS_OF(KIND, name) [KD_NODE_##KIND] = &kd_node_##name,
static const kd_node_class *const CLASSES[] = {KD_NODE_KINDS(ADDRESS_OF)};

const kd_node_class *kd_node_class_of(kd_node_kind kind) {
    KD_CONTRACT((int)kind >= 0 && kind < KD_NODE_KIND_COUNT, "kind %d of a node", (int)kind);
    return CLASSES[kind];
}

const char *kd_node_kind_name(kd_node_kind kind) {
    return kd_node_class_of(kind)->name;
}

void kd_net_describe(kd_text *out, const kd_net_node *node) {
    const kd_node_class *class = kd_node_class_of(node->spec.kind);
    kd_text_add(out, "%s", class->name);
    if (class->describe) class->describe(out, node);
    if (node->spec.relu) kd_text_add(out, ", relu");
}

int kd_net_find(const kd_net *net, const char *name) {
    for (int i = 0; i < net->count; i++)
        if (strcmp(net->node[i].name, name) == 0) return i;
    return -1;
}

/* A place for one more node, or NULL after a failure. */
static kd_net_node *take_node(kd_net *net) {
    if (net->count == net->capacity) {
        size_t bytes = 2 * (size_t)net->capacity * sizeof *net->node;
        kd_net_node *grown = realloc(net->node, bytes);
        if (!grown) {
            net->failed = kd_fail_memory(bytes, "a network's nodes");
            return NULL;
        }
        net->node = grown;
        net->capacity *= 2;
    }
    return &net->node[net->count++];
}

int kd_net_append(kd_net *net, const char *name, const kd_node_spec *spec, int a, int b) {
    if (net->failed < 0) return 0;
    const kd_node_class *class = kd_node_class_of(spec->kind);
    const int index = net->count, second = class->inputs == 2 ? b : 0;
    KD_CONTRACT(a >= 0 && a < index && second >= 0 && second < index, "%s: inputs %d, %d of %d",
                name, a, b, index);
    KD_CONTRACT(strlen(name) < sizeof net->node->name, "%s: name too long", name);
    kd_net_node *node = take_node(net);
    if (!node) return 0;
    *node = (kd_net_node){.spec = *spec, .in = {a, -1}, .last_use = index, .out = net->node[a].out};
    memcpy(node->name, name, strlen(name) + 1);
    net->node[a].last_use = index;
    if (class->inputs == 2) {
        node->in[1] = b;
        net->node[b].last_use = index;
    }
    if (class->build) class->build(net, node);
    return net->failed < 0 ? 0 : index;
}

kd_param *kd_net_add_param(kd_net *net, const kd_net_node *node, const char *suffix, int rank,
                           const int64_t *shape, kd_init init, int64_t fan_in, int flags) {
    char name[KD_NAME_MAX];
    snprintf(name, sizeof name, "%s.%s", node->name, suffix);
    kd_param *p = kd_params_add(net->params, name, rank, shape, init, fan_in, shape[0], flags);
    if (!p) net->failed = KD_EINTERNAL;
    return p;
}

/* Positions of a window of `kernel` along an axis of `size`. */
static int64_t window_count(int64_t size, int kernel, int stride, int padding) {
    return (size + 2 * padding - kernel) / stride + 1;
}

bool kd_net_slide(kd_net *net, kd_net_node *node, const char *what) {
    const kd_node_spec *s = &node->spec;
    const kd_extent in = node->out;
    if (in.h + 2 * s->padding[0] < s->kernel[0] || in.w + 2 * s->padding[1] < s->kernel[1]) {
        net->failed =
            kd_fail(KD_ECONFIG, "%s: a %dx%d %s does not fit its %lldx%lld input", node->name,
                    s->kernel[0], s->kernel[1], what, (long long)in.h, (long long)in.w);
        return false;
    }
    node->out.h = window_count(in.h, s->kernel[0], s->stride[0], s->padding[0]);
    node->out.w = window_count(in.w, s->kernel[1], s->stride[1], s->padding[1]);
    return true;
}

/* Numbers of one value or weight that no machine holds: up to here, products of extents and of a
 * batch fit an int64_t. */
static const int64_t NUMBERS_MAX = (int64_t)1 << 40;

bool kd_net_is_countable(kd_net *net, const kd_net_node *node, const char *what, int n,
                         const int64_t *extent) {
    int64_t product = 1;
    for (int i = 0; i < n; i++) {
        if (extent[i] <= NUMBERS_MAX / product) {
            product *= extent[i];
            continue;
        }
        net->failed =
            kd_fail(KD_ECONFIG, "%s: its %s would be more than 2^40 numbers", node->name, what);
        return false;
    }
    return true;
}

bool kd_net_is_countable_output(kd_net *net, const kd_net_node *node) {
    return kd_net_is_countable(net, node, "output", 3,
                               (const int64_t[]){node->out.h, node->out.w, node->out.c});
}

kd_tensor *kd_net_node_forward(const kd_net *net, const kd_net_node *node, kd_tape *tape,
                               kd_tensor *x, kd_tensor *second) {
    return kd_node_class_of(node->spec.kind)->forward(net, node, tape, x, second);
}

kd_tensor *kd_net_forward(const kd_net *net, kd_tape *tape, kd_tensor *x, kd_tensor **taps) {
    kd_extent in = net->node[0].out;
    KD_CONTRACT(x->rank == 4 && x->shape[1] == in.h && x->shape[2] == in.w && x->shape[3] == in.c,
                "the input does not have the net's shape");
    kd_tensor **value = taps ? taps : kd_tape_alloc(tape, (size_t)net->count * sizeof(kd_tensor *));
    value[0] = x;
    for (int i = 1; i < net->count; i++) {
        const kd_net_node *node = &net->node[i];
        kd_tensor *second = node->in[1] >= 0 ? value[node->in[1]] : NULL;
        value[i] = kd_net_node_forward(net, node, tape, value[node->in[0]], second);
    }
    kd_tensor *last = value[net->count - 1];
    int64_t flat[2] = {last->shape[0], last->size / last->shape[0]};
    return kd_reshape(tape, last, 2, flat);
}

int kd_net_check_batch(const kd_net *net, int64_t batch) {
    for (int i = 1; i < net->count; i++) {
        const kd_net_node *node = &net->node[i];
        if (node->gamma && batch * node->out.h * node->out.w == 1)
            return kd_fail(KD_ECONFIG,
                           "%s: batch norm of one value a channel, which has no variance: batches "
                           "of 1 sample and an output of 1x1; set train.batch to 2 or more",
                           node->name);
    }
    return KD_OK;
}

int64_t kd_net_macs(const kd_net *net) {
    int64_t macs = 0;
    for (int i = 1; i < net->count; i++) {
        const kd_net_node *node = &net->node[i];
        if (!node->weight) continue;
        int64_t per_position = node->weight->tensor.size;
        macs += per_position * node->out.h * node->out.w;
    }
    return macs;
}

int64_t kd_net_peak_activations(const kd_net *net) {
    int64_t peak = 0;
    for (int now = 0; now < net->count; now++) {
        int64_t alive = 0;
        for (int made = 0; made <= now; made++) {
            const kd_extent e = net->node[made].out;
            if (net->node[made].last_use >= now) alive += e.h * e.w * e.c;
        }
        if (alive > peak) peak = alive;
    }
    return peak;
}
