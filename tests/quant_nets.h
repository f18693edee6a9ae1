/* Small networks with random parameters, calibrated on random inputs, for the tests of quant/. */
#ifndef KD_QUANT_NETS_H
#define KD_QUANT_NETS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "quant/blob.h"
#include "quant/qnet_internal.h"

#define ASSERT_OK(call)                                                                            \
    do {                                                                                           \
        if ((call) < 0) fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, #call, kd_error());          \
    } while (0)

typedef struct {
    kd_params *params;
    kd_net *net;
    kd_qnet *qnet;
    kd_tape *tape;
} quant_case;

typedef void (*net_builder)(kd_net *net);

static inline int conv(kd_net *net, const char *name, int in, int64_t channels, int kernel,
                       int stride, int padding, int groups, bool norm, kd_act act) {
    kd_conv_spec spec = {{stride, stride}, {padding, padding}, groups};
    return kd_net_conv(net, name, in, channels, (int[]){kernel, kernel}, spec, norm, act);
}

/* Convolutions with and without batch norm, both pools, dropout, two linear layers. */
static inline void build_cnn(kd_net *net) {
    int x = conv(net, "conv1", 0, 8, 3, 1, 1, 1, false, KD_ACT_RELU);
    x = kd_net_pool(net, "pool1", x, KD_NODE_MAX_POOL, (kd_pool_spec){{3, 2}, {2, 2}, {1, 0}});
    x = conv(net, "conv2", x, 19, 5, 2, 2, 1, true, KD_ACT_NONE);
    x = kd_net_pool(net, "pool2", x, KD_NODE_AVG_POOL, (kd_pool_spec){{2, 3}, {1, 1}, {1, 1}});
    x = kd_net_dropout(net, "drop", x, KD_REAL(0.3));
    x = kd_net_linear(net, "fc1", x, 33, KD_ACT_RELU);
    kd_net_linear(net, "fc2", x, 10, KD_ACT_NONE);
}

/* Residual blocks with batch norm, one with an option-A shortcut. */
static inline void build_resnet(kd_net *net) {
    int x = conv(net, "stem", 0, 16, 3, 1, 1, 1, true, KD_ACT_RELU);
    int y = conv(net, "a1", x, 16, 3, 1, 1, 1, true, KD_ACT_RELU);
    y = conv(net, "a2", y, 16, 3, 1, 1, 1, true, KD_ACT_NONE);
    x = kd_net_add(net, "a", y, x, KD_ACT_RELU);
    y = conv(net, "b1", x, 23, 3, 2, 1, 1, true, KD_ACT_RELU);
    y = conv(net, "b2", y, 23, 3, 1, 1, 1, true, KD_ACT_NONE);
    x = kd_net_add(net, "b", y, kd_net_shortcut(net, "b0", x, 2, 23), KD_ACT_RELU);
    x = kd_net_add(net, "twice", x, x, KD_ACT_NONE);
    x = kd_net_global_avg_pool(net, "mean", x);
    kd_net_linear(net, "fc", x, 10, KD_ACT_NONE);
}

/* Depthwise and grouped convolutions, a large stride, no linear layer at the end. */
static inline void build_grouped(kd_net *net) {
    int x = conv(net, "expand", 0, 12, 1, 1, 0, 1, false, KD_ACT_RELU);
    x = conv(net, "depthwise", x, 12, 3, 1, 1, 12, true, KD_ACT_RELU);
    x = conv(net, "grouped", x, 20, 3, 3, 2, 4, false, KD_ACT_NONE);
    x = conv(net, "squeeze", x, 10, 1, 1, 0, 1, false, KD_ACT_NONE);
    kd_net_global_avg_pool(net, "mean", x);
}

/* Kernels, strides and paddings that are not square: full, by channel, in groups. */
static inline void build_oblong(kd_net *net) {
    const kd_conv_spec tall = {{1, 2}, {2, 0}, 1}, each = {{2, 1}, {1, 2}, 10},
                       parts = {{3, 2}, {0, 1}, 2};
    int x = kd_net_conv(net, "tall", 0, 10, (int[]){5, 2}, tall, false, KD_ACT_RELU);
    x = kd_net_conv(net, "each", x, 10, (int[]){2, 3}, each, true, KD_ACT_RELU);
    x = kd_net_conv(net, "parts", x, 14, (int[]){1, 3}, parts, false, KD_ACT_NONE);
    kd_net_linear(net, "fc", x, 10, KD_ACT_NONE);
}

/* Every smooth function, of grids with and without negative values. */
static inline void build_smooth(kd_net *net) {
    int x = 0;
    for (int i = 0; i < KD_ACTIVATION_COUNT; i++) {
        const kd_node_spec spec = {.kind = KD_NODE_ACTIVATION, .activation = (kd_activation)i};
        char name[32];
        snprintf(name, sizeof name, "conv%d", i);
        x = conv(net, name, x, 9, 3, 1, 1, 1, i % 2 == 0, i == 2 ? KD_ACT_RELU : KD_ACT_NONE);
        snprintf(name, sizeof name, "f%d", i);
        x = kd_net_append(net, name, &spec, x, -1);
    }
    kd_net_linear(net, "fc", x, 10, KD_ACT_NONE);
}

/* Rows long enough for sums beyond 2^24. */
static inline void build_wide(kd_net *net) {
    int x = kd_net_linear(net, "fc1", 0, 1500, KD_ACT_RELU);
    kd_net_linear(net, "fc2", x, 10, KD_ACT_NONE);
}

static inline void fill_uniform(float *x, int64_t n, uint64_t stream, double low, double high) {
    kd_rng rng = kd_rng_init(99, stream);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(low + (high - low) * kd_rng_uniform(&rng));
}

/* Batch norm as after some training: nothing is 0 or 1. */
static inline void shake_norms(kd_params *params) {
    kd_rng rng = kd_rng_init(7, 7);
    for (int i = 0; i < params->count; i++) {
        kd_param *p = params->list[i];
        if (!strstr(p->name, "bn.") && !strstr(p->name, "bias")) continue;
        double low = strstr(p->name, "weight") || strstr(p->name, "var") ? 0.4 : -0.4;
        for (int64_t j = 0; j < p->tensor.size; j++)
            p->tensor.value[j] = (kd_real)(low + 0.9 * kd_rng_uniform(&rng));
    }
    kd_params_touch(params);
}

static inline quant_case case_create(net_builder build, kd_extent input,
                                     const kd_quant_spec *spec) {
    quant_case c;
    ASSERT_OK(kd_params_create(&c.params));
    ASSERT_OK(kd_net_create(&c.net, c.params, input));
    build(c.net);
    ASSERT_OK(c.net->failed);
    ASSERT_OK(kd_qnet_create(&c.qnet, c.net, spec));
    ASSERT_OK(kd_params_layout(c.params, 5));
    ASSERT_OK(kd_tape_create(&c.tape, 3));
    shake_norms(c.params);
    return c;
}

static inline void case_free(quant_case *c) {
    kd_tape_free(c->tape);
    kd_qnet_free(c->qnet);
    kd_net_free(c->net);
    kd_params_free(c->params);
}

/* A leaf of n samples on the case's tape. */
static inline kd_tensor *case_input(quant_case *c, int64_t n, const float *x) {
    kd_extent e = c->net->node[0].out;
    kd_tensor *t = kd_tape_input(c->tape, 4, (int64_t[]){n, e.h, e.w, e.c});
    for (int64_t i = 0; i < t->size; i++) t->value[i] = (kd_real)x[i];
    return t;
}

static inline int64_t case_sample_size(const quant_case *c) {
    kd_extent e = c->net->node[0].out;
    return e.h * e.w * e.c;
}

enum { CALIBRATION = 24 };

static inline void case_calibrate(quant_case *c) {
    const int64_t size = case_sample_size(c);
    float *x = malloc((size_t)(CALIBRATION * size) * sizeof *x);
    c->tape->recording = c->tape->training = false;
    for (int batch = 0; batch < 3; batch++) {
        fill_uniform(x, CALIBRATION * size, 100 + (uint64_t)batch, -1.2, 1.5);
        kd_tape_reset(c->tape);
        kd_qnet_forward(c->qnet, c->tape, case_input(c, CALIBRATION, x), KD_QUANT_OBSERVE, NULL);
    }
    ASSERT_OK(kd_qnet_calibrated(c->qnet));
    free(x);
}

/* A data set of no samples that gives a blob its class list and normaliser. */
static inline void case_write(const quant_case *c, const char *path) {
    static char names[10][KD_CLASS_NAME_MAX];
    for (int i = 0; i < 10; i++) snprintf(names[i], sizeof names[i], "class %d", i);
    kd_extent e = c->net->node[0].out;
    kd_dataset dataset = {.h = e.h, .w = e.w, .c = e.c, .classes = 10, .class_name = names};
    dataset.normaliser = (kd_normaliser){.unit = 1.0f / 255.0f};
    kd_data_spec data = {.kind = KD_DATA_IDX};
    kd_blob_info info = {.name = "test", .teacher = "none", .dataset = &dataset, .data = &data};
    ASSERT_OK(kd_blob_write(path, c->qnet, &info));
}

static inline const char *temporary_path(void) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/distill_blob_%d.gguf", (int)getpid());
    return path;
}

#endif
