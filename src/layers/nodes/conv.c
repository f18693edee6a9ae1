/* conv2d, then batch norm or a bias, then relu. */
#include "base/error.h"
#include "config/reader.h"
#include "config/rows.h"
#include "layers/node.h"

/* --- in a config ------------------------------------------------------------------------------ */

/* clang-format off */
static const kd_config_key KEYS[] = {
    {"conv", KD_KEY_INTEGER, FIELD(kd_node_spec, channels), RANGE(1, UNITS), .required = true,
     .doc = "a convolution with this many output channels"},
    {"kernel", KD_KEY_PAIR, FIELD(kd_node_spec, kernel), RANGE(1, SIDE), .fallback = "3",
     .doc = "size, or [rows, columns]"},
    {"stride", KD_KEY_PAIR, FIELD(kd_node_spec, stride), RANGE(1, SIDE), .fallback = "1",
     .doc = "step between windows"},
    {"padding", KD_KEY_PAIR, FIELD(kd_node_spec, padding), RANGE(0, SIDE), .choices = "same",
     .fallback = "\"same\"", .doc = "zeros around; same keeps the size at stride 1"},
    {"groups", KD_KEY_INTEGER, FIELD(kd_node_spec, groups), RANGE(1, UNITS),
     .choices = "depthwise", .fallback = "1", .doc = "groups of channels; depthwise: one each"},
    {"batch_norm", KD_KEY_SWITCH, FIELD(kd_node_spec, batch_norm), .fallback = "true",
     .doc = "normalise over the batch; folded away on export"},
    {"relu", KD_KEY_SWITCH, FIELD(kd_node_spec, relu), .fallback = "true",
     .doc = "cut negative outputs"},
};
/* clang-format on */

/* Resolves "same". */
static void finish(kd_config_reader *reader, const cJSON *object, const char *path, void *base) {
    kd_node_spec *spec = base;
    for (int axis = 0; axis < 2; axis++) {
        if (spec->padding[axis] >= 0) continue;
        if (spec->kernel[axis] % 2 == 0) {
            kd_config_complain_key(reader, object, path, "kernel",
                                   "padding \"same\" needs an odd kernel, this one has %d",
                                   spec->kernel[axis]);
            return;
        }
        spec->padding[axis] = (spec->kernel[axis] - 1) / 2;
    }
}

const kd_config_table kd_layer_conv = {
    .name = "conv", .key = KEYS, .count = COUNT(KEYS), .doc = "A convolution.", .finish = finish};

/* --- in a network ----------------------------------------------------------------------------- */

int kd_net_conv(kd_net *net, const char *name, int in, int64_t channels, const int kernel[2],
                kd_conv_spec spec, bool batch_norm, kd_act act) {
    return kd_net_append(net, name,
                         &(kd_node_spec){.kind = KD_NODE_CONV,
                                         .channels = channels,
                                         .kernel = {kernel[0], kernel[1]},
                                         .stride = {spec.stride[0], spec.stride[1]},
                                         .padding = {spec.padding[0], spec.padding[1]},
                                         .groups = spec.groups,
                                         .batch_norm = batch_norm,
                                         .relu = act == KD_ACT_RELU},
                         in, -1);
}

static void build(kd_net *net, kd_net_node *node) {
    kd_node_spec *spec = &node->spec;
    const int64_t from = node->out.c, channels = spec->channels;
    if (spec->groups < 0) spec->groups = (int)from;
    if (!kd_net_slide(net, node, "kernel")) return;
    if (from % spec->groups || channels % spec->groups) {
        net->failed = kd_fail(KD_ECONFIG, "%s: %d groups do not divide %lld → %lld channels",
                              node->name, spec->groups, (long long)from, (long long)channels);
        return;
    }
    node->out.c = channels;
    int64_t shape[4] = {channels, spec->kernel[0], spec->kernel[1], from / spec->groups};
    if (!kd_net_is_countable(net, node, "weight", 4, shape) ||
        !kd_net_is_countable_output(net, node))
        return;
    const int trained = KD_PARAM_TRAINED, running = KD_PARAM_RUNNING;
    node->weight = kd_net_add_param(net, node, "weight", 4, shape, KD_INIT_HE_NORMAL,
                                    shape[1] * shape[2] * shape[3], trained | KD_PARAM_DECAYED);
    if (!spec->batch_norm) {
        node->bias = kd_net_add_param(net, node, "bias", 1, &channels, KD_INIT_ZERO, 0, trained);
        return;
    }
    node->gamma = kd_net_add_param(net, node, "bn.weight", 1, &channels, KD_INIT_ONE, 0, trained);
    node->beta = kd_net_add_param(net, node, "bn.bias", 1, &channels, KD_INIT_ZERO, 0, trained);
    node->mean =
        kd_net_add_param(net, node, "bn.running_mean", 1, &channels, KD_INIT_ZERO, 0, running);
    node->var =
        kd_net_add_param(net, node, "bn.running_var", 1, &channels, KD_INIT_ONE, 0, running);
}

static kd_tensor *forward(const kd_net *net, const kd_net_node *node, kd_tape *tape, kd_tensor *x,
                          kd_tensor *second) {
    (void)second;
    const kd_conv_spec spec = kd_node_conv_spec(&node->spec);
    const kd_act act = kd_node_act(&node->spec);
    if (!node->gamma)
        return kd_conv2d(tape, x, &node->weight->tensor, &node->bias->tensor, spec, act);
    kd_tensor *y = kd_conv2d(tape, x, &node->weight->tensor, NULL, spec, KD_ACT_NONE);
    return kd_batch_norm(tape, y, &node->gamma->tensor, &node->beta->tensor, &node->mean->tensor,
                         &node->var->tensor, net->bn_momentum, net->bn_epsilon, act);
}

static void describe(kd_text *out, const kd_net_node *node) {
    const kd_node_spec *spec = &node->spec;
    kd_text_add(out, " %d×%d", spec->kernel[0], spec->kernel[1]);
    if (spec->groups > 1) kd_text_add(out, ", %d groups", spec->groups);
    if (spec->batch_norm) kd_text_add(out, ", norm");
}

static bool onnx(kd_onnx *to, const kd_onnx_node *node, const char *out) {
    const kd_node_spec *s = node->spec;
    const char *product = s->batch_norm ? kd_onnx_name(to, node->name, "conv") : out;
    const char *const in[] = {kd_onnx_image(to, node, 0), node->weight, node->bias};
    const kd_onnx_setting settings[] = {
        KD_ONNX_LIST("kernel_shape", 2, s->kernel[0], s->kernel[1]),
        KD_ONNX_LIST("strides", 2, s->stride[0], s->stride[1]),
        KD_ONNX_LIST("pads", 4, s->padding[0], s->padding[1], s->padding[0], s->padding[1]),
        KD_ONNX_WHOLE("group", s->groups)};
    kd_onnx_add(to, "Conv", product, node->bias ? 3 : 2, in, 4, settings);
    if (!s->batch_norm) return false;
    const char *const norm[] = {product, node->norm[0], node->norm[1], node->norm[2],
                                node->norm[3]};
    const kd_onnx_setting epsilon = {.name = "epsilon", .real = node->epsilon};
    kd_onnx_add(to, "BatchNormalization", out, 5, norm, 1, &epsilon);
    return false;
}

const kd_node_class kd_node_conv = {.name = "conv",
                                    .inputs = 1,
                                    .build = build,
                                    .forward = forward,
                                    .describe = describe,
                                    .onnx = onnx};
