#include <stdio.h>

#include "layers/model_parts.h"

void kd_model_append_mlp(kd_net *net, const kd_model_spec *spec, int classes) {
    int at = 0;
    char name[32];
    if (spec->input_dropout > 0)
        at = kd_net_dropout(net, "input_dropout", at, (kd_real)spec->input_dropout);
    for (int i = 0; i < spec->hidden_count; i++) {
        snprintf(name, sizeof name, "hidden%d", i);
        at = kd_net_linear(net, name, at, spec->hidden[i], KD_ACT_RELU);
        if (spec->dropout <= 0) continue;
        snprintf(name, sizeof name, "dropout%d", i);
        at = kd_net_dropout(net, name, at, (kd_real)spec->dropout);
    }
    kd_net_linear(net, "classifier", at, classes, KD_ACT_NONE);
}
