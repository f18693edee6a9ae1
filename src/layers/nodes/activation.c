/* A smooth function of every number. */
#include <math.h>

#include "base/error.h"
#include "config/rows.h"
#include "layers/node.h"

/* --- the functions ---------------------------------------------------------------------------- */

static double value_gelu(double x) {
    return x / 2 * (1 + erf(x * sqrt(0.5)));
}

static double value_gelu_tanh(double x) {
    return x / 2 * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

static double value_sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double value_silu(double x) {
    return x / (1 + exp(-x));
}

static double value_tanh(double x) {
    return tanh(x);
}

#define ROW(NAME, name) [KD_ACTIVATION_##NAME] = {#name, kd_##name, value_##name},
static const struct {
    const char *name;
    kd_tensor *(*forward)(kd_tape *tape, kd_tensor *x);
    double (*value)(double x);
} FUNCTIONS[] = {KD_ACTIVATIONS(ROW)};

const char *kd_activation_name(kd_activation which) {
    KD_CONTRACT((int)which >= 0 && which < KD_ACTIVATION_COUNT, "activation %d", (int)which);
    return FUNCTIONS[which].name;
}

double kd_activation_value(kd_activation which, double x) {
    return FUNCTIONS[which].value(x);
}

/* --- the node --------------------------------------------------------------------------------- */

#define CHOICE(NAME, name) "|" #name
static const kd_config_key KEYS[] = {
    {"activation", KD_KEY_CHOICE, FIELD(kd_node_spec, activation), .required = true,
     .choices = &(KD_ACTIVATIONS(CHOICE))[1],
     .doc = "a smooth function of every number; behind a layer whose relu is false"},
};
const kd_config_table kd_layer_activation = {.name = "activation",
                                             .key = KEYS,
                                             .count = COUNT(KEYS),
                                             .doc = "A smooth function of every number."};

static kd_tensor *forward(const kd_net *net, const kd_net_node *node, kd_tape *tape, kd_tensor *x,
                          kd_tensor *second) {
    (void)net, (void)second;
    return FUNCTIONS[node->spec.activation].forward(tape, x);
}

static void describe(kd_text *out, const kd_net_node *node) {
    kd_text_add(out, " %s", kd_activation_name(node->spec.activation));
}

/* --- in ONNX ------------------------------------------------------------------------------------
 */

static bool onnx(kd_onnx *to, const kd_onnx_node *node, const char *out) {
    enum { GELU_OPSET = 20 };
    const kd_onnx_setting tanh_form = {.name = "approximate", .text = "tanh"};
    const char *const in[] = {node->in[0], kd_onnx_name(to, node->name, "sigmoid")};
    const kd_activation which = node->spec->activation;
    switch (which) {
    case KD_ACTIVATION_GELU:
    case KD_ACTIVATION_GELU_TANH:
        kd_onnx_need(to, GELU_OPSET);
        kd_onnx_add(to, "Gelu", out, 1, in, which == KD_ACTIVATION_GELU_TANH, &tanh_form);
        break;
    case KD_ACTIVATION_SIGMOID:
        kd_onnx_add(to, "Sigmoid", out, 1, in, 0, NULL);
        break;
    case KD_ACTIVATION_SILU:
        kd_onnx_add(to, "Sigmoid", in[1], 1, in, 0, NULL);
        kd_onnx_add(to, "Mul", out, 2, in, 0, NULL);
        break;
    case KD_ACTIVATION_TANH:
        kd_onnx_add(to, "Tanh", out, 1, in, 0, NULL);
        break;
    case KD_ACTIVATION_COUNT:
        break;
    }
    return node->rows[0];
}

const kd_node_class kd_node_activation = {
    .name = "activation", .inputs = 1, .forward = forward, .describe = describe, .onnx = onnx};
