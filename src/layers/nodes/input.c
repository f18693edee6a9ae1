/* What a network is given. */
#include "layers/node.h"

static kd_tensor *forward(const kd_net *net, const kd_net_node *node, kd_tape *tape, kd_tensor *x,
                          kd_tensor *second) {
    (void)net, (void)node, (void)tape, (void)second;
    return x;
}

const kd_node_class kd_node_input = {.name = "input", .forward = forward};
