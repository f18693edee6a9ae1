/* The builders behind kd_model_build, one for each kind of model. They append to a net that holds
 * only its input; what goes wrong is left in net->failed. */
#ifndef KD_LAYERS_MODEL_PARTS_H
#define KD_LAYERS_MODEL_PARTS_H

#include "layers/model.h"

/* Nodes "input_dropout", then "hidden0", "dropout0", "hidden1" …, "classifier"; dropout nodes only
 * where the probability is above 0. */
void kd_model_append_mlp(kd_net *net, const kd_model_spec *spec, int classes);

/* Nodes named by kind and place in "layers": "conv0", "pool1", "linear2", "dropout3" …, then
 * "classifier". */
void kd_model_append_cnn(kd_net *net, const kd_model_spec *spec, int classes);

/* Nodes with the names PyTorch's CIFAR resnets have: "conv1", "layer1.0.conv1", "layer1.0.conv2",
 * "layer2.0.shortcut", "layer1.0.add" …, "pool", "linear". */
void kd_model_append_resnet(kd_net *net, const kd_model_spec *spec, int classes);

#endif
