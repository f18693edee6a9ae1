#include "cli/inspect.h"

#include "base/error.h"
#include "files/onnx_import.h"
#include "layers/net_table.h"

/* How many operators of each kind, in the order in which the first of each comes. */
static void add_operators(kd_text *out, const kd_onnx_tables *t) {
    for (int i = 0; i < t->operators; i++) {
        int count = 0, before = 0;
        for (int k = 0; k < t->operators; k++)
            if (kd_onnx_same(t->operator[k].kind, t->operator[i].kind)) {
                count++;
                before += k < i;
            }
        if (before) continue;
        kd_text_add(out, i ? ", %d " : "%d ", count);
        kd_text_add_plain(out, t->operator[i].kind.at, t->operator[i].kind.length);
    }
    kd_text_add(out, "\n");
}

static void add_facts(kd_text *out, const kd_onnx_tables *t) {
    static const char *const key[] = {"distill.data.kind", "distill.normaliser.unit",
                                      "distill.normaliser.mean", "distill.normaliser.deviation",
                                      "distill.classes"};
    for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
        const kd_onnx_text fact = kd_onnx_fact(t, key[i]);
        if (fact.length == 0) continue;
        kd_text_add(out, "%s: ", key[i]);
        kd_text_add_plain(out, fact.at, fact.length);
        kd_text_add(out, "\n");
    }
}

/* The network, where it is one of ours: else why it is not, which is no error here. */
static int add_network(kd_text *out, const kd_onnx_tables *t) {
    kd_onnx_import *import;
    kd_params *params;
    kd_net *net = NULL;
    int status = kd_params_create(&params);
    if (status < 0) return status;
    status = kd_onnx_import_net(&import, &net, params, t);
    kd_text_add(out, "\n");
    if (status == KD_OK)
        status = kd_net_add_table(out, net);
    else if (status == KD_EDATA)
        kd_text_add(out, "cannot be computed here: %s\n", kd_error());
    kd_onnx_import_free(import);
    kd_net_free(net);
    kd_params_free(params);
    return status == KD_EDATA ? KD_OK : status;
}

int kd_inspect_onnx(kd_text *out, const char *path) {
    kd_onnx_tables *t;
    int status = kd_onnx_open(&t, path);
    if (status < 0) return status;
    kd_text_add(out, "%s: ONNX, ", path);
    add_operators(out, t);
    add_facts(out, t);
    status = add_network(out, t);
    kd_onnx_tables_free(t);
    return status;
}
