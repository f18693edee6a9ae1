#include "distill/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "distill/config_reader.h"

void kd_config_folder(char out[KD_PATH_MAX], const char *path) {
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (slash == path) length = 1;
    memcpy(out, path, length);
    out[length] = '\0';
}

/* The resolved tree as text, and its hash. */
static int keep_resolved(char **out, kd_hash *hash, const cJSON *resolved) {
    char *text = cJSON_Print(resolved);
    size_t length = text ? strlen(text) : 0;
    *out = text ? malloc(length + 2) : NULL;
    if (*out) {
        memcpy(*out, text, length);
        memcpy(*out + length, "\n", 2);
        *hash = kd_hash_bytes(*out, length + 1);
    }
    cJSON_free(text);
    return *out ? KD_OK : kd_fail_memory(length + 2, "the resolved configuration");
}

static int apply(kd_json *json, const kd_config_origin *s) {
    int status = KD_OK;
    for (int i = 0; i < s->set_count && status == KD_OK; i++) status = kd_json_set(json, s->set[i]);
    for (int i = 0; i < s->change_count && status == KD_OK; i++)
        status = kd_json_change(json, s->change[i].key, s->change[i].value, s->change[i].place);
    return status;
}

int kd_config_read(void *whole, const kd_config_table *root, const kd_config_origin *source,
                   const char *manual, char **resolved, kd_hash *hash) {
    *resolved = NULL;
    char folder[KD_PATH_MAX];
    kd_config_folder(folder, source->path);
    kd_json *json = NULL;
    cJSON *tree = cJSON_CreateObject();
    if (!tree) return kd_fail_memory(sizeof *tree, "the configuration");
    int status = kd_json_parse(&json, source->text, source->length, source->path);
    if (status == KD_EDATA) status = KD_ECONFIG; /* not JSON at all: the message is the same */
    if (status == KD_OK) status = apply(json, source);
    if (status == KD_OK) {
        kd_config_reader reader = {.json = json,
                                   .path = source->path,
                                   .folder = folder,
                                   .manual = manual,
                                   .whole = whole,
                                   .resolved = tree};
        kd_config_read_object(&reader, kd_json_root(json), "$", root, whole, tree);
        int errors = kd_config_report_errors(&reader);
        status = reader.failed;
        if (status == KD_OK && errors > 0)
            status = kd_fail(KD_ECONFIG, "%s: %d error%s in the configuration", source->path,
                             errors, errors > 1 ? "s" : "");
    }
    if (status == KD_OK) status = keep_resolved(resolved, hash, tree);
    kd_json_free(json);
    cJSON_Delete(tree);
    return status;
}

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

static int load(kd_config **out, kd_config_origin source) {
    *out = NULL;
    char *text;
    int status = kd_file_read(&text, &source.length, source.path, KD_CONFIG_LIMIT);
    source.text = text;
    if (status == KD_OK) status = parse(out, &source);
    free(text);
    return status;
}

int kd_config_parse(kd_config **out, const char *text, size_t length, const char *path, int n,
                    const char *const *sets) {
    return parse(out,
                 &(kd_config_origin){
                     .path = path, .text = text, .length = length, .set_count = n, .set = sets});
}

int kd_config_load(kd_config **out, const char *path, int n, const char *const *sets) {
    return load(out, (kd_config_origin){.path = path, .set_count = n, .set = sets});
}

int kd_config_load_changed(kd_config **out, const char *path, int n,
                           const kd_config_change *change) {
    return load(out, (kd_config_origin){.path = path, .change_count = n, .change = change});
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
