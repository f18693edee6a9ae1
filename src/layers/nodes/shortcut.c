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

static bool onnx(kd_onnx *to, const kd_onnx_node *node, const char *out) {
    const int64_t missing = node->out.c - node->from.c, before = node->pad_before;
    const int64_t two = 2, eight = 8, start[] = {0, 0}, end[] = {INT64_MAX, INT64_MAX};
    const int64_t axis[] = {2, 3}, step[] = {node->spec->stride[0], node->spec->stride[1]};
    const int64_t pad[8] = {0, before, 0, 0, 0, missing - before};
    const char *places = missing ? kd_onnx_name(to, node->name, "places") : out;
    const char *const slice[] = {
        kd_onnx_image(to, node, 0),
        kd_onnx_constant(to, kd_onnx_name(to, node->name, "start"), KD_ONNX_INT64, 1, &two, start),
        kd_onnx_constant(to, kd_onnx_name(to, node->name, "end"), KD_ONNX_INT64, 1, &two, end),
        kd_onnx_constant(to, kd_onnx_name(to, node->name, "axis"), KD_ONNX_INT64, 1, &two, axis),
        kd_onnx_constant(to, kd_onnx_name(to, node->name, "step"), KD_ONNX_INT64, 1, &two, step)};
    kd_onnx_add(to, "Slice", places, 5, slice, 0, NULL);
    if (!missing) return false;
    const char *const padded[] = {places, kd_onnx_constant(to, kd_onnx_name(to, node->name, "pad"),
                                                           KD_ONNX_INT64, 1, &eight, pad)};
    kd_onnx_add(to, "Pad", out, 2, padded, 0, NULL);
    return false;
}

const kd_node_class kd_node_shortcut = {
    .name = "shortcut", .inputs = 1, .build = build, .forward = forward, .onnx = onnx};
