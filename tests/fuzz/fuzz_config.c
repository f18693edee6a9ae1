#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tasks/classify/config.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Complaints are what this is about; nobody reads them here. Sanitizers write past the stream. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    stderr = fopen("/dev/null", "w");
    return stderr ? 0 : -1;
}

/* What is accepted resolves to a config that is accepted and resolves to itself. */
static void check_resolved(const kd_config *config) {
    kd_config *again;
    if (kd_config_parse(&again, config->resolved, strlen(config->resolved), "c.json", 0, NULL) < 0)
        abort();
    if (strcmp(again->resolved, config->resolved) != 0) abort();
    kd_config_free(again);
}

/* Building either works or says why; only small models are built. */
static void build(const kd_model_spec *model) {
    if (model->kind == KD_MODEL_RESNET && (model->depth > 40 || model->width > 64)) return;
    kd_params *params;
    kd_net *net;
    if (kd_params_create(&params) < 0) return;
    if (kd_model_build(&net, params, model, (kd_extent){12, 9, 2}, 4) == 0) kd_net_free(net);
    kd_params_free(params);
}

/* The input is a config; what follows a zero byte is the argument of a --set. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    const uint8_t *zero = length ? memchr(bytes, 0, length) : NULL;
    size_t text = zero ? (size_t)(zero - bytes) : length;
    char *set = NULL;
    if (zero) {
        size_t n = length - text - 1;
        set = malloc(n + 1);
        if (!set) return 0;
        memcpy(set, zero + 1, n);
        set[n] = '\0';
    }
    kd_config *config;
    const char *const sets[] = {set};
    if (kd_config_parse(&config, (const char *)bytes, text, "c.json", set != NULL, sets) == 0) {
        check_resolved(config);
        build(&config->model);
        kd_config_free(config);
    }
    free(set);
    return 0;
}
