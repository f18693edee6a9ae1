#include <stdio.h>

#include "layers/model_parts.h"

static int append_conv(kd_net *net, const char *name, int in, const kd_layer_spec *layer) {
    int groups = layer->groups < 0 ? (int)net->node[in].out.c : layer->groups;
    kd_conv_spec spec = {.stride = {layer->stride[0], layer->stride[1]},
                         .padding = {layer->padding[0], layer->padding[1]},
                         .groups = groups};
    return kd_net_conv(net, name, in, layer->channels, layer->kernel, spec, layer->batch_norm,
                       layer->relu ? KD_ACT_RELU : KD_ACT_NONE);
}

static int append_pool(kd_net *net, const char *name, int in, const kd_layer_spec *layer) {
    kd_pool_spec spec = {.kernel = {layer->kernel[0], layer->kernel[1]},
                         .stride = {layer->stride[0], layer->stride[1]},
                         .padding = {layer->padding[0], layer->padding[1]}};
    kd_node_kind kind = layer->kind == KD_LAYER_MAX_POOL ? KD_NODE_MAX_POOL : KD_NODE_AVG_POOL;
    return kd_net_pool(net, name, in, kind, spec);
}

static int append_layer(kd_net *net, int in, int index, const kd_layer_spec *layer) {
    static const char *const word[] = {
        [KD_LAYER_CONV] = "conv",     [KD_LAYER_MAX_POOL] = "pool",
        [KD_LAYER_AVG_POOL] = "pool", [KD_LAYER_GLOBAL_AVG_POOL] = "pool",
        [KD_LAYER_LINEAR] = "linear", [KD_LAYER_DROPOUT] = "dropout"};
    char name[32];
    snprintf(name, sizeof name, "%s%d", word[layer->kind], index);
    switch (layer->kind) {
    case KD_LAYER_CONV:
        return append_conv(net, name, in, layer);
    case KD_LAYER_MAX_POOL:
    case KD_LAYER_AVG_POOL:
        return append_pool(net, name, in, layer);
    case KD_LAYER_GLOBAL_AVG_POOL:
        return kd_net_global_avg_pool(net, name, in);
    case KD_LAYER_LINEAR:
        return kd_net_linear(net, name, in, layer->channels,
                             layer->relu ? KD_ACT_RELU : KD_ACT_NONE);
    case KD_LAYER_DROPOUT:
        return kd_net_dropout(net, name, in, (kd_real)layer->drop);
    }
    return in;
}

void kd_model_append_cnn(kd_net *net, const kd_model_spec *spec, int classes) {
    int at = 0;
    /* After a failure the builders' indices mean nothing; append_layer looks at its input node. */
    for (int i = 0; i < spec->layer_count && net->failed == 0; i++)
        at = append_layer(net, at, i, &spec->layer[i]);
    kd_net_linear(net, "classifier", at, classes, KD_ACT_NONE);
}
