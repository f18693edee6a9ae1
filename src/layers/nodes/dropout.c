/* Zeros with a probability while training; otherwise nothing. */
#include "config/rows.h"
#include "layers/node.h"

/* clang-format off */
static const kd_config_key KEYS[] = {
    {"dropout", KD_KEY_REAL, FIELD(kd_node_spec, drop), BELOW_ONE, .required = true,
     .doc = "probability to drop a value while training"},
};
/* clang-format on */
const kd_config_table kd_layer_dropout = {
    .name = "dropout", .key = KEYS, .count = COUNT(KEYS), .doc = "Dropout."};

int kd_net_dropout(kd_net *net, const char *name, int in, kd_real p) {
    const kd_node_spec spec = {.kind = KD_NODE_DROPOUT, .drop = (double)p};
    return kd_net_append(net, name, &spec, in, -1);
}

static kd_tensor *forward(const kd_net *net, const kd_net_node *node, kd_tape *tape, kd_tensor *x,
                          kd_tensor *second) {
    (void)net, (void)second;
    return kd_dropout(tape, x, (kd_real)node->spec.drop);
}

static void describe(kd_text *out, const kd_net_node *node) {
    kd_text_add(out, " %g", node->spec.drop);
}

const kd_node_class kd_node_dropout = {.name = "dropout",
                                       .inputs = 1,
                                       .training_only = true,
                                       .forward = forward,
                                       .describe = describe};
