/* Models from a description: mlp, cnn and CIFAR resnets, built as a kd_net. */
#ifndef KD_LAYERS_MODEL_H
#define KD_LAYERS_MODEL_H

#include "layers/net.h"

typedef enum { KD_MODEL_MLP, KD_MODEL_CNN, KD_MODEL_RESNET } kd_model_kind;
typedef enum { KD_SHORTCUT_A, KD_SHORTCUT_B } kd_shortcut_option;
enum { KD_MODEL_LAYERS_MAX = 64 };

typedef struct {
    kd_model_kind kind;
    /* MLP: hidden layers of ReLU units, dropout on the input and on every hidden layer */
    int hidden_count, hidden[16];
    double input_dropout, dropout;
    /* CNN: the layers in order, then a linear classifier "classifier" */
    int layer_count;
    kd_node_spec layer[KD_MODEL_LAYERS_MAX];
    /* RESNET (He et al. 2016, section 4.2): depth 6n+2, widths w, 2w, 4w */
    int depth, width;
    kd_shortcut_option shortcut;
} kd_model_spec;

/* The net for inputs of `input` and `classes` outputs, parameters registered in `params`. Errors
 * (KD_ECONFIG) name the layer. The caller frees with kd_net_free. */
int kd_model_build(kd_net **out, kd_params *params, const kd_model_spec *spec, kd_extent input,
                   int classes);

#endif
