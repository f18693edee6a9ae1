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

const kd_node_class kd_node_add = {.name = "add", .inputs = 2, .build = build, .forward = forward};
