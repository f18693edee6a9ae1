/* The networks of quant_nets.h as ONNX files, for test_onnx.c and onnx_probe.c. */
#ifndef KD_ONNX_NETS_H
#define KD_ONNX_NETS_H

#include "files/onnx_file.h"
#include "quant_nets.h"

typedef struct {
    const char *name;
    net_builder build;
    kd_extent input;
} onnx_net;

/* Rows of whole blocks: of windows, of flattened images, of vectors; and rows made images again. */
static inline void build_blocks(kd_net *net) {
    int x = conv(net, "conv1", 0, 32, 3, 2, 1, 1, true, KD_ACT_RELU);
    x = conv(net, "conv2", x, 32, 3, 1, 1, 1, false, KD_ACT_RELU);
    x = kd_net_linear(net, "fc1", x, 64, KD_ACT_RELU);
    x = conv(net, "mix", x, 32, 1, 1, 0, 1, false, KD_ACT_NONE);
    x = kd_net_linear(net, "fc2", x, 10, KD_ACT_NONE);
}

static const onnx_net ONNX_NETS[] = {{"cnn", build_cnn, {12, 10, 3}},
                                     {"resnet", build_resnet, {9, 9, 3}},
                                     {"grouped", build_grouped, {8, 7, 5}},
                                     {"smooth", build_smooth, {7, 6, 4}},
                                     {"blocks", build_blocks, {6, 8, 3}}};
enum { ONNX_NETS_COUNT = sizeof ONNX_NETS / sizeof *ONNX_NETS };

static const kd_quant_spec ONNX_INT8 = {.weight_bits = 8,
                                        .activation_bits = 8,
                                        .observer = KD_OBSERVER_MINMAX,
                                        .percentile = 99.9,
                                        .ema = 0.9};

static inline void write_onnx(const quant_case *c, const char *path, const kd_encoding *how) {
    static char names[10][KD_CLASS_NAME_MAX];
    for (int i = 0; i < 10; i++) snprintf(names[i], sizeof names[i], "class \"%d\"", i);
    const kd_normaliser normaliser = {
        .unit = 0.5f, .channels = 2, .mean = {0.25f, 0.5f}, .deviation = {2, 4}};
    kd_dataset dataset = {.classes = 10, .class_name = names, .normaliser = normaliser};
    kd_data_spec data = {.kind = KD_DATA_IDX};
    ASSERT_OK(kd_onnx_write(path, c->net, how, &(kd_onnx_info){&dataset, &data}));
}

/* Matrices in `format` where their rows can be cut into its blocks; the caller frees. */
static inline kd_encoding *encode_matrices(const kd_params *params,
                                           const kd_number_format *format) {
    kd_encoding *how = calloc((size_t)params->count, sizeof *how);
    for (int i = 0; i < params->count; i++) {
        const bool fits = params->list[i]->tensor.rank > 1 &&
                          kd_param_rows(params->list[i]).length % format->block == 0;
        how[i].format = fits ? format : &kd_format_f32;
    }
    return how;
}

/* Logits (n,10) of the float net; the caller frees. */
static inline float *float_logits(quant_case *c, int64_t n, const float *x) {
    kd_tape_reset(c->tape);
    c->tape->recording = c->tape->training = false;
    kd_tensor *z = kd_net_forward(c->net, c->tape, case_input(c, n, x), NULL);
    float *logits = malloc((size_t)z->size * sizeof *logits);
    for (int64_t i = 0; i < z->size; i++) logits[i] = (float)z->value[i];
    return logits;
}

#endif
