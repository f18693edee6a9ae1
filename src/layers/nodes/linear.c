/* linear on the flattened input, then relu. */
#include "config/rows.h"
#include "layers/node.h"

/* clang-format off */
static const kd_config_key KEYS[] = {
    {"linear", KD_KEY_INTEGER, FIELD(kd_node_spec, channels), RANGE(1, UNITS), .required = true,
     .doc = "a fully connected layer with this many units"},
    {"relu", KD_KEY_SWITCH, FIELD(kd_node_spec, relu), .fallback = "true",
     .doc = "cut negative outputs"},
};
/* clang-format on */
const kd_config_table kd_layer_linear = {
    .name = "linear", .key = KEYS, .count = COUNT(KEYS), .doc = "A fully connected layer."};

int kd_net_linear(kd_net *net, const char *name, int in, int64_t units, kd_act act) {
    const kd_node_spec spec = {
        .kind = KD_NODE_LINEAR, .channels = units, .relu = act == KD_ACT_RELU};
    return kd_net_append(net, name, &spec, in, -1);
}

static void build(kd_net *net, kd_net_node *node) {
    const int64_t units = node->spec.channels, inputs = node->out.h * node->out.w * node->out.c;
    const int64_t shape[2] = {units, inputs};
    if (!kd_net_is_countable(net, node, "weight", 2, shape)) return;
    node->out = (kd_extent){1, 1, units};
    node->weight = kd_net_add_param(net, node, "weight", 2, shape, KD_INIT_HE_NORMAL, inputs,
                                    KD_PARAM_TRAINED | KD_PARAM_DECAYED);
    node->bias = kd_net_add_param(net, node, "bias", 1, &units, KD_INIT_ZERO, 0, KD_PARAM_TRAINED);
}

static kd_tensor *forward(const kd_net *net, const kd_net_node *node, kd_tape *tape, kd_tensor *x,
                          kd_tensor *second) {
    (void)net, (void)second;
    const int64_t batch = x->shape[0], flat[2] = {batch, x->size / batch};
    const int64_t image[4] = {batch, 1, 1, node->out.c};
    kd_tensor *rows = x->rank == 2 ? x : kd_reshape(tape, x, 2, flat);
    kd_tensor *y =
        kd_linear(tape, rows, &node->weight->tensor, &node->bias->tensor, kd_node_act(&node->spec));
    return kd_reshape(tape, y, 4, image);
}

static bool onnx(kd_onnx *to, const kd_onnx_node *node, const char *out) {
    const kd_onnx_setting axis = KD_ONNX_WHOLE("axis", 1), turned = KD_ONNX_WHOLE("transB", 1);
    const char *rows = node->in[0];
    if (!node->rows[0]) {
        rows = kd_onnx_name(to, node->name, "flat");
        kd_onnx_add(to, "Flatten", rows, 1, node->in, 1, &axis);
    }
    const char *const in[] = {rows, node->weight, node->bias};
    kd_onnx_add(to, "Gemm", out, 3, in, 1, &turned);
    return true;
}

const kd_node_class kd_node_linear = {
    .name = "linear", .inputs = 1, .build = build, .forward = forward, .onnx = onnx};
