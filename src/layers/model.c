#include "layers/model.h"

#include "base/error.h"
#include "layers/model_parts.h"

int kd_model_build(kd_net **out, kd_params *params, const kd_model_spec *spec, kd_extent input,
                   int classes) {
    *out = NULL;
    kd_net *net;
    int status = kd_net_create(&net, params, input);
    if (status < 0) return status;
    switch (spec->kind) {
    case KD_MODEL_MLP:
        kd_model_append_mlp(net, spec, classes);
        break;
    case KD_MODEL_CNN:
        kd_model_append_cnn(net, spec, classes);
        break;
    case KD_MODEL_RESNET:
        kd_model_append_resnet(net, spec, classes);
        break;
    }
    if (net->failed < 0) {
        status = net->failed;
        kd_net_free(net);
        return status;
    }
    *out = net;
    return KD_OK;
}
