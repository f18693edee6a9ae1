#include "tasks/classify/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "config/reader.h"

static int parse(kd_config **out, const kd_config_origin *source) {
    *out = NULL;
    const char *path = source->path;
    if (strlen(path) >= KD_PATH_MAX) return kd_fail(KD_EIO, "%s: path too long", path);
    kd_config *config = calloc(1, sizeof *config);
    if (!config) return kd_fail_memory(sizeof *config, path);
    memcpy(config->path, path, strlen(path) + 1);
    int status = kd_config_read(config, &kd_config_root, source, "docs/configuration.md",
                                &config->resolved, &config->hash);
    if (status < 0) {
        kd_config_free(config);
        return status;
    }
    *out = config;
    return KD_OK;
}

int kd_config_parse(kd_config **out, const char *text, size_t length, const char *path, int n,
                    const char *const *sets) {
    return parse(out,
                 &(kd_config_origin){
                     .path = path, .text = text, .length = length, .set_count = n, .set = sets});
}

int kd_config_load(kd_config **out, const char *path, int n, const char *const *sets) {
    return parse(out, &(kd_config_origin){.path = path, .set_count = n, .set = sets});
}

int kd_config_load_changed(kd_config **out, const char *path, int n,
                           const kd_config_change *change) {
    return parse(out, &(kd_config_origin){.path = path, .change_count = n, .change = change});
}

void kd_config_free(kd_config *config) {
    if (!config) return;
    free(config->resolved);
    free(config);
}
