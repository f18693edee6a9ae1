#include "distill/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "distill/config_reader.h"

enum { CONFIG_LIMIT = 1 << 20 };

/* The folder `path` lies in, "" for the working folder. */
static void folder_of(char out[KD_PATH_MAX], const char *path) {
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (slash == path) length = 1;
    memcpy(out, path, length);
    out[length] = '\0';
}

/* The resolved tree as text, and its hash. */
static int keep_resolved(kd_config *config, const cJSON *resolved) {
    char *text = cJSON_Print(resolved);
    size_t length = text ? strlen(text) : 0;
    config->resolved = text ? malloc(length + 2) : NULL;
    if (config->resolved) {
        memcpy(config->resolved, text, length);
        memcpy(config->resolved + length, "\n", 2);
        config->hash = kd_hash_bytes(config->resolved, length + 1);
    }
    cJSON_free(text);
    return config->resolved ? KD_OK : kd_fail_memory(length + 2, "the resolved configuration");
}

static int fill(kd_config *config, const kd_json *json) {
    char folder[KD_PATH_MAX];
    folder_of(folder, config->path);
    cJSON *resolved = cJSON_CreateObject();
    if (!resolved) return kd_fail_memory(sizeof *resolved, "the configuration");
    kd_config_reader reader = {
        .json = json, .folder = folder, .config = config, .resolved = resolved};
    kd_config_read_object(&reader, kd_json_root(json), "$", &kd_config_root, config, resolved);
    int errors = kd_config_report_errors(&reader), status = reader.failed;
    if (status == KD_OK && errors > 0)
        status = kd_fail(KD_ECONFIG, "%s: %d error%s in the configuration", config->path, errors,
                         errors > 1 ? "s" : "");
    if (status == KD_OK) status = keep_resolved(config, resolved);
    cJSON_Delete(resolved);
    return status;
}

int kd_config_parse(kd_config **out, const char *text, size_t length, const char *path, int n,
                    const char *const *sets) {
    *out = NULL;
    if (strlen(path) >= KD_PATH_MAX) return kd_fail(KD_EIO, "%s: path too long", path);
    kd_json *json = NULL;
    kd_config *config = calloc(1, sizeof *config);
    if (!config) return kd_fail_memory(sizeof *config, path);
    memcpy(config->path, path, strlen(path) + 1);
    int status = kd_json_parse(&json, text, length, config->path);
    if (status == KD_EDATA) status = KD_ECONFIG; /* not JSON at all: the message is the same */
    for (int i = 0; i < n && status == KD_OK; i++) status = kd_json_set(json, sets[i]);
    if (status == KD_OK) status = fill(config, json);
    kd_json_free(json);
    if (status < 0) {
        kd_config_free(config);
        return status;
    }
    *out = config;
    return KD_OK;
}

int kd_config_load(kd_config **out, const char *path, int n, const char *const *sets) {
    *out = NULL;
    char *text;
    size_t length;
    int status = kd_file_read(&text, &length, path, CONFIG_LIMIT);
    if (status == KD_OK) status = kd_config_parse(out, text, length, path, n, sets);
    free(text);
    return status;
}

void kd_config_free(kd_config *config) {
    if (!config) return;
    free(config->resolved);
    free(config);
}

int kd_config_section(char **out, const kd_config *config, const char *section) {
    *out = NULL;
    cJSON *resolved = cJSON_Parse(config->resolved);
    if (!resolved) return kd_fail_memory(strlen(config->resolved), "the configuration");
    const cJSON *item = kd_json_get(resolved, section);
    char *text = item ? cJSON_PrintUnformatted(item) : NULL;
    if (!item || text) *out = strdup(text ? text : "");
    cJSON_free(text);
    cJSON_Delete(resolved);
    return *out ? KD_OK : kd_fail_memory(strlen(config->resolved), section);
}
