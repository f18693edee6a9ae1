/* A configuration from its file's text: changes applied, read by its table, resolved, hashed. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "config/reader.h"

void kd_config_folder(char out[KD_PATH_MAX], const char *path) {
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (slash == path) length = 1;
    memcpy(out, path, length);
    out[length] = '\0';
}

/* The resolved tree as text, and its hash. */
static int keep_resolved(char **out, kd_hash *hash, const cJSON *resolved) {
    char *text = kd_json_print(resolved, true);
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
    int status = source->text ? kd_json_parse(&json, source->text, source->length, source->path)
                              : kd_json_read(&json, source->path, KD_CONFIG_LIMIT);
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
