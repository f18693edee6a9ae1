#include <stdlib.h>

#include "files/onnx_file.h"
#include "files/onnx_import.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* What the checks let through must be readable to the last number, and run, if it is small. */
static void run(const kd_net *net) {
    enum { VALUES = 1 << 16 };
    const kd_extent in = net->node[0].out;
    kd_tape *tape;
    if (kd_net_peak_activations(net) > VALUES || kd_net_macs(net) > 1 << 20) return;
    if (kd_tape_create(&tape, 1) < 0) return;
    if (!kd_tape_guard(tape)) {
        tape->recording = tape->training = false;
        kd_net_forward(net, tape, kd_tape_input(tape, 4, (int64_t[]){1, in.h, in.w, in.c}), NULL);
    }
    kd_tape_free(tape);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    kd_onnx_tables *tables;
    kd_onnx_import *import = NULL;
    kd_onnx_stated stated;
    kd_params *params = NULL;
    kd_net *net = NULL;
    if (kd_onnx_parse(&tables, bytes, length, "input") < 0) return 0;
    kd_onnx_read_info(&stated, tables);
    if (kd_params_create(&params) == 0 && kd_onnx_import_net(&import, &net, params, tables) == 0 &&
        kd_params_layout(params, 1) == 0 && kd_onnx_import_weights(import) == 0)
        run(net);
    kd_onnx_import_free(import);
    kd_net_free(net);
    kd_params_free(params);
    kd_onnx_tables_free(tables);
    return 0;
}
