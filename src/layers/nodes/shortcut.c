/* Option A of He et al. 2016, section 3.3: x[::s, ::s], channels zero-padded on both sides. */
#include "base/error.h"
#include "layers/node.h"

int kd_net_shortcut(kd_net *net, const char *name, int in, int stride, int64_t channels) {
    const kd_node_spec spec = {
        .kind = KD_NODE_SHORTCUT, .channels = channels, .stride = {stride, stride}};
    return kd_net_append(net, name, &spec, in, -1);
}

static void build(kd_net *net, kd_net_node *node) {
    (void)net;
    const kd_extent from = node->out;
    const int *stride = node->spec.stride;
    KD_CONTRACT(node->spec.channels >= from.c, "%s: %lld → %lld channels", node->name,
                (long long)from.c, (long long)node->spec.channels);
    node->out = (kd_extent){(from.h + stride[0] - 1) / stride[0],
                            (from.w + stride[1] - 1) / stride[1], node->spec.channels};
}

static kd_tensor *forward(const kd_net *net, const kd_net_node *node, kd_tape *tape, kd_tensor *x,
                          kd_tensor *second) {
    (void)net, (void)second;
    const int64_t missing = node->out.c - x->shape[3];
    for (int axis = 0; axis < 2; axis++)
        if (node->spec.stride[axis] > 1)
            x = kd_slice(tape, x, 1 + axis, 0, x->shape[1 + axis], node->spec.stride[axis]);
    return missing ? kd_pad(tape, x, 3, missing / 2, missing - missing / 2) : x;
}

const kd_node_class kd_node_shortcut = {
    .name = "shortcut", .inputs = 1, .build = build, .forward = forward};
