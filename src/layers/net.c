#include "layers/net.h"

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
    net->node[0] =
        (kd_net_node){.kind = KD_NODE_INPUT, .name = "input", .in = {-1, -1}, .out = input};
    net->count = 1;
    *out = net;
    return KD_OK;
}

void kd_net_free(kd_net *net) {
    if (!net) return;
    free(net->node);
    free(net);
}

const char *kd_node_kind_name(kd_node_kind kind) {
    switch (kind) {
    case KD_NODE_INPUT:
        return "input";
    case KD_NODE_CONV:
        return "conv";
    case KD_NODE_LINEAR:
        return "linear";
    case KD_NODE_MAX_POOL:
        return "max_pool";
    case KD_NODE_AVG_POOL:
        return "avg_pool";
    case KD_NODE_GLOBAL_AVG_POOL:
        return "global_avg_pool";
    case KD_NODE_ADD:
        return "add";
    case KD_NODE_SHORTCUT:
        return "shortcut";
    case KD_NODE_DROPOUT:
        return "dropout";
    case KD_NODE_KIND_COUNT:
        break;
    }
    return "";
}

int kd_net_find(const kd_net *net, const char *name) {
    for (int i = 0; i < net->count; i++)
        if (strcmp(net->node[i].name, name) == 0) return i;
    return -1;
}

/* Appends a node of `kind` on `in`, or returns NULL after a failure. */
static kd_net_node *append(kd_net *net, kd_node_kind kind, const char *name, int in) {
    if (net->failed < 0) return NULL;
    KD_CONTRACT(in >= 0 && in < net->count, "%s: input %d of %d", name, in, net->count);
    KD_CONTRACT(strlen(name) < sizeof net->node->name, "%s: name too long", name);
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
    kd_net_node *node = &net->node[net->count++];
    const int index = net->count - 1;
    *node =
        (kd_net_node){.kind = kind, .in = {in, -1}, .last_use = index, .out = net->node[in].out};
    net->node[in].last_use = index;
    memcpy(node->name, name, strlen(name) + 1);
    return node;
}

/* The index of the newest node, which builders return. */
static int newest(const kd_net *net) {
    return net->count - 1;
}

/* Registers "<node>.<suffix>". */
static kd_param *add_param(kd_net *net, const kd_net_node *node, const char *suffix, int rank,
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

static bool window_fits(kd_extent in, const int kernel[2], const int padding[2]) {
    return in.h + 2 * padding[0] >= kernel[0] && in.w + 2 * padding[1] >= kernel[1];
}

/* Numbers of one value or weight that no machine holds: up to here, products of extents and of a
 * batch fit an int64_t. */
static const int64_t NUMBERS_MAX = (int64_t)1 << 40;

/* The product of n extents must be such that it can be counted with. */
static bool is_countable(kd_net *net, const char *name, const char *what, int n,
                         const int64_t *extent) {
    int64_t product = 1;
    for (int i = 0; i < n; i++) {
        if (extent[i] <= NUMBERS_MAX / product) {
            product *= extent[i];
            continue;
        }
        net->failed = kd_fail(KD_ECONFIG, "%s: its %s would be more than 2^40 numbers", name, what);
        return false;
    }
    return true;
}

static bool is_countable_output(kd_net *net, const kd_net_node *node) {
    return is_countable(net, node->name, "output", 3,
                        (const int64_t[]){node->out.h, node->out.w, node->out.c});
}

int kd_net_conv(kd_net *net, const char *name, int in, int64_t channels, const int kernel[2],
                kd_conv_spec spec, bool batch_norm, kd_act act) {
    kd_net_node *node = append(net, KD_NODE_CONV, name, in);
    if (!node) return 0;
    kd_extent from = node->out;
    if (!window_fits(from, kernel, spec.padding)) {
        net->failed = kd_fail(KD_ECONFIG, "%s: a %dx%d kernel does not fit its %lldx%lld input",
                              name, kernel[0], kernel[1], (long long)from.h, (long long)from.w);
        return 0;
    }
    if (from.c % spec.groups || channels % spec.groups) {
        net->failed = kd_fail(KD_ECONFIG, "%s: %d groups do not divide %lld → %lld channels", name,
                              spec.groups, (long long)from.c, (long long)channels);
        return 0;
    }
    node->conv = spec;
    node->act = act;
    node->out =
        (kd_extent){window_count(from.h, kernel[0], spec.stride[0], spec.padding[0]),
                    window_count(from.w, kernel[1], spec.stride[1], spec.padding[1]), channels};
    int64_t shape[4] = {channels, kernel[0], kernel[1], from.c / spec.groups};
    if (!is_countable(net, name, "weight", 4, shape) || !is_countable_output(net, node)) return 0;
    const int trained = KD_PARAM_TRAINED;
    node->weight = add_param(net, node, "weight", 4, shape, KD_INIT_HE_NORMAL,
                             shape[1] * shape[2] * shape[3], trained | KD_PARAM_DECAYED);
    if (batch_norm) {
        node->gamma = add_param(net, node, "bn.weight", 1, &channels, KD_INIT_ONE, 0, trained);
        node->beta = add_param(net, node, "bn.bias", 1, &channels, KD_INIT_ZERO, 0, trained);
        node->mean = add_param(net, node, "bn.running_mean", 1, &channels, KD_INIT_ZERO, 0,
                               KD_PARAM_RUNNING);
        node->var =
            add_param(net, node, "bn.running_var", 1, &channels, KD_INIT_ONE, 0, KD_PARAM_RUNNING);
    } else {
        node->bias = add_param(net, node, "bias", 1, &channels, KD_INIT_ZERO, 0, trained);
    }
    return newest(net);
}

int kd_net_linear(kd_net *net, const char *name, int in, int64_t units, kd_act act) {
    kd_net_node *node = append(net, KD_NODE_LINEAR, name, in);
    if (!node) return 0;
    int64_t inputs = node->out.h * node->out.w * node->out.c;
    int64_t shape[2] = {units, inputs};
    if (!is_countable(net, name, "weight", 2, shape)) return 0;
    node->act = act;
    node->out = (kd_extent){1, 1, units};
    node->weight = add_param(net, node, "weight", 2, shape, KD_INIT_HE_NORMAL, inputs,
                             KD_PARAM_TRAINED | KD_PARAM_DECAYED);
    node->bias = add_param(net, node, "bias", 1, &units, KD_INIT_ZERO, 0, KD_PARAM_TRAINED);
    return newest(net);
}

int kd_net_pool(kd_net *net, const char *name, int in, kd_node_kind max_or_avg, kd_pool_spec spec) {
    kd_net_node *node = append(net, max_or_avg, name, in);
    if (!node) return 0;
    kd_extent from = node->out;
    if (!window_fits(from, spec.kernel, spec.padding)) {
        net->failed =
            kd_fail(KD_ECONFIG, "%s: a %dx%d window does not fit its %lldx%lld input", name,
                    spec.kernel[0], spec.kernel[1], (long long)from.h, (long long)from.w);
        return 0;
    }
    node->pool = spec;
    node->out.h = window_count(from.h, spec.kernel[0], spec.stride[0], spec.padding[0]);
    node->out.w = window_count(from.w, spec.kernel[1], spec.stride[1], spec.padding[1]);
    return is_countable_output(net, node) ? newest(net) : 0;
}

int kd_net_global_avg_pool(kd_net *net, const char *name, int in) {
    kd_net_node *node = append(net, KD_NODE_GLOBAL_AVG_POOL, name, in);
    if (!node) return 0;
    node->out.h = node->out.w = 1;
    return newest(net);
}

int kd_net_add(kd_net *net, const char *name, int a, int b, kd_act act) {
    kd_net_node *node = append(net, KD_NODE_ADD, name, a);
    if (!node) return 0;
    kd_extent other = net->node[b].out;
    KD_CONTRACT(node->out.h == other.h && node->out.w == other.w && node->out.c == other.c,
                "%s: %lldx%lldx%lld + %lldx%lldx%lld", name, (long long)node->out.h,
                (long long)node->out.w, (long long)node->out.c, (long long)other.h,
                (long long)other.w, (long long)other.c);
    node->in[1] = b;
    net->node[b].last_use = newest(net);
    node->act = act;
    return newest(net);
}

int kd_net_shortcut(kd_net *net, const char *name, int in, int stride, int64_t channels) {
    kd_net_node *node = append(net, KD_NODE_SHORTCUT, name, in);
    if (!node) return 0;
    int64_t missing = channels - node->out.c;
    KD_CONTRACT(missing >= 0, "%s: %lld → %lld channels", name, (long long)node->out.c,
                (long long)channels);
    node->stride = stride;
    node->pad_before = (int)(missing / 2);
    node->pad_after = (int)(missing - missing / 2);
    node->out = (kd_extent){(node->out.h + stride - 1) / stride,
                            (node->out.w + stride - 1) / stride, channels};
    return newest(net);
}

int kd_net_dropout(kd_net *net, const char *name, int in, kd_real p) {
    kd_net_node *node = append(net, KD_NODE_DROPOUT, name, in);
    if (!node) return 0;
    node->drop = p;
    return newest(net);
}

static kd_tensor *forward_conv(const kd_net *net, const kd_net_node *node, kd_tape *tape,
                               kd_tensor *x) {
    if (!node->gamma)
        return kd_conv2d(tape, x, &node->weight->tensor, &node->bias->tensor, node->conv,
                         node->act);
    kd_tensor *y = kd_conv2d(tape, x, &node->weight->tensor, NULL, node->conv, KD_ACT_NONE);
    return kd_batch_norm(tape, y, &node->gamma->tensor, &node->beta->tensor, &node->mean->tensor,
                         &node->var->tensor, net->bn_momentum, net->bn_epsilon, node->act);
}

static kd_tensor *forward_linear(const kd_net_node *node, kd_tape *tape, kd_tensor *x) {
    int64_t batch = x->shape[0], flat[2] = {batch, x->size / batch};
    kd_tensor *rows = x->rank == 2 ? x : kd_reshape(tape, x, 2, flat);
    kd_tensor *y = kd_linear(tape, rows, &node->weight->tensor, &node->bias->tensor, node->act);
    int64_t image[4] = {batch, 1, 1, node->out.c};
    return kd_reshape(tape, y, 4, image);
}

static kd_tensor *forward_shortcut(const kd_net_node *node, kd_tape *tape, kd_tensor *x) {
    if (node->stride > 1) {
        x = kd_slice(tape, x, 1, 0, x->shape[1], node->stride);
        x = kd_slice(tape, x, 2, 0, x->shape[2], node->stride);
    }
    return node->pad_before + node->pad_after
               ? kd_pad(tape, x, 3, node->pad_before, node->pad_after)
               : x;
}

kd_tensor *kd_net_node_forward(const kd_net *net, const kd_net_node *node, kd_tape *tape,
                               kd_tensor *x, kd_tensor *second) {
    int64_t pooled[4] = {x->shape[0], 1, 1, node->out.c};
    switch (node->kind) {
    case KD_NODE_CONV:
        return forward_conv(net, node, tape, x);
    case KD_NODE_LINEAR:
        return forward_linear(node, tape, x);
    case KD_NODE_MAX_POOL:
        return kd_max_pool2d(tape, x, node->pool);
    case KD_NODE_AVG_POOL:
        return kd_avg_pool2d(tape, x, node->pool);
    case KD_NODE_GLOBAL_AVG_POOL:
        return kd_reshape(tape, kd_global_avg_pool(tape, x), 4, pooled);
    case KD_NODE_ADD:
        return kd_add(tape, x, second, node->act);
    case KD_NODE_SHORTCUT:
        return forward_shortcut(node, tape, x);
    case KD_NODE_DROPOUT:
        return kd_dropout(tape, x, node->drop);
    case KD_NODE_INPUT:
    case KD_NODE_KIND_COUNT:
        break;
    }
    return x;
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
