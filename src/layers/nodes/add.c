/* The sum of two nodes, then relu. */
#include "base/error.h"
#include "layers/node.h"

int kd_net_add(kd_net *net, const char *name, int a, int b, kd_act act) {
    const kd_node_spec spec = {.kind = KD_NODE_ADD, .relu = act == KD_ACT_RELU};
    return kd_net_append(net, name, &spec, a, b);
}

static void build(kd_net *net, kd_net_node *node) {
    const kd_extent a = node->out, b = net->node[node->in[1]].out;
    KD_CONTRACT(a.h == b.h && a.w == b.w && a.c == b.c, "%s: %lldx%lldx%lld + %lldx%lldx%lld",
                node->name, (long long)a.h, (long long)a.w, (long long)a.c, (long long)b.h,
                (long long)b.w, (long long)b.c);
}

static kd_tensor *forward(const kd_net *net, const kd_net_node *node, kd_tape *tape, kd_tensor *x,
                          kd_tensor *second) {
    (void)net;
    return kd_add(tape, x, second, kd_node_act(&node->spec));
}

static bool onnx(kd_onnx *to, const kd_onnx_node *node, const char *out) {
    const char *in[] = {node->in[0], node->in[1]};
    const bool rows = node->rows[0] && node->rows[1];
    for (int k = 0; k < 2 && !rows; k++) in[k] = kd_onnx_image(to, node, k);
    kd_onnx_add(to, "Add", out, 2, in, 0, NULL);
    return rows;
}

const kd_node_class kd_node_add = {
    .name = "add", .inputs = 2, .build = build, .forward = forward, .onnx = onnx};
