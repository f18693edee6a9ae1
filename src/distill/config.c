#include "distill/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "distill/config_reader.h"

enum { CONFIG_LIMIT = 1 << 20 };

void kd_config_folder(char out[KD_PATH_MAX], const char *path) {
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
    kd_config_folder(folder, config->path);
    cJSON *resolved = cJSON_CreateObject();
    if (!resolved) return kd_fail_memory(sizeof *resolved, "the configuration");
    kd_config_reader reader = {.json = json,
                               .folder = folder,
                               .manual = "docs/configuration.md",
                               .config = config,
                               .resolved = resolved};
    kd_config_read_object(&reader, kd_json_root(json), "$", &kd_config_root, config, resolved);
    int errors = kd_config_report_errors(&reader), status = reader.failed;
    if (status == KD_OK && errors > 0)
        status = kd_fail(KD_ECONFIG, "%s: %d error%s in the configuration", config->path, errors,
                         errors > 1 ? "s" : "");
    if (status == KD_OK) status = keep_resolved(config, resolved);
    cJSON_Delete(resolved);
    return status;
}

/* What is changed after parsing: either of the two lists may be empty. */
typedef struct {
    int set_count, change_count;
    const char *const *set;
    const kd_config_change *change;
} changes;

static int apply(kd_json *json, const changes *c) {
    int status = KD_OK;
    for (int i = 0; i < c->set_count && status == KD_OK; i++) status = kd_json_set(json, c->set[i]);
    for (int i = 0; i < c->change_count && status == KD_OK; i++)
        status = kd_json_change(json, c->change[i].key, c->change[i].value, c->change[i].place);
    return status;
}

static int parse(kd_config **out, const char *text, size_t length, const char *path,
                 const changes *c) {
    *out = NULL;
    if (strlen(path) >= KD_PATH_MAX) return kd_fail(KD_EIO, "%s: path too long", path);
    kd_json *json = NULL;
    kd_config *config = calloc(1, sizeof *config);
    if (!config) return kd_fail_memory(sizeof *config, path);
    memcpy(config->path, path, strlen(path) + 1);
    int status = kd_json_parse(&json, text, length, config->path);
    if (status == KD_EDATA) status = KD_ECONFIG; /* not JSON at all: the message is the same */
    if (status == KD_OK) status = apply(json, c);
    if (status == KD_OK) status = fill(config, json);
    kd_json_free(json);
    if (status < 0) {
        kd_config_free(config);
        return status;
    }
    *out = config;
    return KD_OK;
}

static int load(kd_config **out, const char *path, const changes *c) {
    *out = NULL;
    char *text;
    size_t length;
    int status = kd_file_read(&text, &length, path, CONFIG_LIMIT);
    if (status == KD_OK) status = parse(out, text, length, path, c);
    free(text);
    return status;
}

int kd_config_parse(kd_config **out, const char *text, size_t length, const char *path, int n,
                    const char *const *sets) {
    return parse(out, text, length, path, &(changes){.set_count = n, .set = sets});
}

int kd_config_load(kd_config **out, const char *path, int n, const char *const *sets) {
    return load(out, path, &(changes){.set_count = n, .set = sets});
}

int kd_config_load_changed(kd_config **out, const char *path, int n,
                           const kd_config_change *change) {
    return load(out, path, &(changes){.change_count = n, .change = change});
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
