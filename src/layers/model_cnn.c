#include <stdio.h>

#include "layers/model_parts.h"
#include "layers/node.h"

void kd_model_append_cnn(kd_net *net, const kd_model_spec *spec, int classes) {
    int at = 0;
    for (int i = 0; i < spec->layer_count; i++) {
        const kd_node_class *class = kd_node_class_of(spec->layer[i].kind);
        char name[32];
        snprintf(name, sizeof name, "%s%d", class->label ? class->label : class->name, i);
        at = kd_net_append(net, name, &spec->layer[i], at, -1);
    }
    kd_net_linear(net, "classifier", at, classes, KD_ACT_NONE);
}
