/* The largest value of each window, its mean, and the mean over all positions. */
#include "config/defaults.h"
#include "config/rows.h"
#include "layers/node.h"

/* --- in a config ------------------------------------------------------------------------------ */

/* clang-format off */
#define KEYS(kind)                                                                                 \
    {kind, KD_KEY_PAIR, FIELD(kd_node_spec, kernel), RANGE(1, SIDE), .required = true,             \
     .doc = "size of the window, or [rows, columns]"},                                             \
    {"stride", KD_KEY_PAIR, FIELD(kd_node_spec, stride), RANGE(1, SIDE),                           \
     .depends = "the size of the window", .doc = "step between windows"},                          \
    {"padding", KD_KEY_PAIR, FIELD(kd_node_spec, padding), RANGE(0, SIDE), .fallback = "0",        \
     .doc = "rows and columns around"}
static const kd_config_key MAX_KEYS[] = {KEYS("max_pool")};
static const kd_config_key AVG_KEYS[] = {KEYS("avg_pool")};
static const kd_config_key GLOBAL_KEYS[] = {
    {"global_avg_pool", KD_KEY_SWITCH, NOWHERE, .required = true,
     .doc = "the mean over all positions; always true"},
};
/* clang-format on */

static void max_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    kd_default_copy(reader, out, "stride", kd_json_get(object, "max_pool"));
}

static void avg_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    kd_default_copy(reader, out, "stride", kd_json_get(object, "avg_pool"));
}

static void finish(kd_config_reader *reader, const cJSON *object, const char *path, void *base) {
    const kd_node_spec *spec = base;
    for (int axis = 0; axis < 2; axis++)
        if (2 * spec->padding[axis] > spec->kernel[axis]) {
            kd_config_complain_key(reader, object, path, "padding",
                                   "%d is more than half of the window of %d", spec->padding[axis],
                                   spec->kernel[axis]);
            return;
        }
}

static void global_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                          void *base) {
    (void)base;
    if (!cJSON_IsTrue(kd_json_get(object, "global_avg_pool")))
        kd_config_complain_key(reader, object, path, "global_avg_pool",
                               "can only be true; leave the layer out instead");
}

const kd_config_table kd_layer_max_pool = {.name = "max_pool",
                                           .key = MAX_KEYS,
                                           .count = COUNT(MAX_KEYS),
                                           .doc = "The largest value of each window.",
                                           .defaults = max_defaults,
                                           .finish = finish};
const kd_config_table kd_layer_avg_pool = {.name = "avg_pool",
                                           .key = AVG_KEYS,
                                           .count = COUNT(AVG_KEYS),
                                           .doc = "The mean of each window.",
                                           .defaults = avg_defaults,
                                           .finish = finish};
const kd_config_table kd_layer_global_avg_pool = {.name = "global_avg_pool",
                                                  .key = GLOBAL_KEYS,
                                                  .count = COUNT(GLOBAL_KEYS),
                                                  .doc = "The mean over all positions.",
                                                  .finish = global_finish};

/* --- in a network ----------------------------------------------------------------------------- */

int kd_net_pool(kd_net *net, const char *name, int in, kd_node_kind max_or_avg, kd_pool_spec spec) {
    return kd_net_append(net, name,
                         &(kd_node_spec){.kind = max_or_avg,
                                         .kernel = {spec.kernel[0], spec.kernel[1]},
                                         .stride = {spec.stride[0], spec.stride[1]},
                                         .padding = {spec.padding[0], spec.padding[1]}},
                         in, -1);
}

int kd_net_global_avg_pool(kd_net *net, const char *name, int in) {
    return kd_net_append(net, name, &(kd_node_spec){.kind = KD_NODE_GLOBAL_AVG_POOL}, in, -1);
}

static void build(kd_net *net, kd_net_node *node) {
    if (kd_net_slide(net, node, "window")) kd_net_is_countable_output(net, node);
}

static void global_build(kd_net *net, kd_net_node *node) {
    (void)net;
    node->out.h = node->out.w = 1;
}

static kd_tensor *max_forward(const kd_net *net, const kd_net_node *node, kd_tape *tape,
                              kd_tensor *x, kd_tensor *second) {
    (void)net, (void)second;
    return kd_max_pool2d(tape, x, kd_node_pool_spec(&node->spec));
}

static kd_tensor *avg_forward(const kd_net *net, const kd_net_node *node, kd_tape *tape,
                              kd_tensor *x, kd_tensor *second) {
    (void)net, (void)second;
    return kd_avg_pool2d(tape, x, kd_node_pool_spec(&node->spec));
}

static kd_tensor *global_forward(const kd_net *net, const kd_net_node *node, kd_tape *tape,
                                 kd_tensor *x, kd_tensor *second) {
    (void)net, (void)second;
    const int64_t pooled[4] = {x->shape[0], 1, 1, node->out.c};
    return kd_reshape(tape, kd_global_avg_pool(tape, x), 4, pooled);
}

static void describe(kd_text *out, const kd_net_node *node) {
    kd_text_add(out, " %d×%d", node->spec.kernel[0], node->spec.kernel[1]);
}

static void onnx_pool(kd_onnx *to, const kd_onnx_node *node, const char *kind, const char *out) {
    const kd_node_spec *s = node->spec;
    const char *const in = kd_onnx_image(to, node, 0);
    const kd_onnx_setting settings[] = {
        KD_ONNX_LIST("kernel_shape", 2, s->kernel[0], s->kernel[1]),
        KD_ONNX_LIST("strides", 2, s->stride[0], s->stride[1]),
        KD_ONNX_LIST("pads", 4, s->padding[0], s->padding[1], s->padding[0], s->padding[1]),
        KD_ONNX_WHOLE("count_include_pad", 1)}; /* of means alone, and the last therefore */
    const bool mean = s->kind == KD_NODE_AVG_POOL;
    kd_onnx_add(to, kind, out, 1, &in, mean ? 4 : 3, settings);
}

static bool max_onnx(kd_onnx *to, const kd_onnx_node *node, const char *out) {
    onnx_pool(to, node, "MaxPool", out);
    return false;
}

static bool avg_onnx(kd_onnx *to, const kd_onnx_node *node, const char *out) {
    onnx_pool(to, node, "AveragePool", out);
    return false;
}

static bool global_onnx(kd_onnx *to, const kd_onnx_node *node, const char *out) {
    const char *const in = kd_onnx_image(to, node, 0);
    kd_onnx_add(to, "GlobalAveragePool", out, 1, &in, 0, NULL);
    return false;
}

const kd_node_class kd_node_max_pool = {.name = "max_pool",
                                        .label = "pool",
                                        .inputs = 1,
                                        .build = build,
                                        .forward = max_forward,
                                        .describe = describe,
                                        .onnx = max_onnx};
const kd_node_class kd_node_avg_pool = {.name = "avg_pool",
                                        .label = "pool",
                                        .inputs = 1,
                                        .build = build,
                                        .forward = avg_forward,
                                        .describe = describe,
                                        .onnx = avg_onnx};
const kd_node_class kd_node_global_avg_pool = {.name = "global_avg_pool",
                                               .label = "pool",
                                               .inputs = 1,
                                               .build = global_build,
                                               .forward = global_forward,
                                               .onnx = global_onnx};
