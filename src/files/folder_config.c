#include "files/folder_config.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

static const size_t CONFIG_LIMIT = (size_t)16 << 20;

int kd_folder_json(kd_json **out, char path[KD_PATH_MAX], const char *folder, const char *name) {
    *out = NULL;
    int status = kd_path_join(path, folder, name);
    if (status == KD_OK) status = kd_json_read(out, path, CONFIG_LIMIT);
    if (status == KD_OK && !cJSON_IsObject(kd_json_root(*out)))
        status = kd_fail(KD_EDATA, "%s: should be an object", path);
    return status;
}

int kd_folder_refuse(const kd_json *json, const cJSON *item, const char *key, const char *wanted) {
    char place[KD_PATH_MAX + 64];
    return kd_fail(KD_EDATA, "%s: \"%s\" should be %s",
                   kd_json_place(place, sizeof place, json, item, false), key, wanted);
}

int kd_folder_size(int *out, const kd_json *json, const char *path, const char *key) {
    const cJSON *item = kd_json_get(kd_json_root(json), key);
    if (!item) return kd_fail(KD_EDATA, "%s: \"%s\" is missing", path, key);
    if (!kd_json_is_integer(item) || item->valuedouble < 1 || item->valuedouble > INT32_MAX)
        return kd_folder_refuse(json, item, key, "a whole number of 1 or more");
    *out = (int)item->valuedouble;
    return KD_OK;
}

/* Whether a key that may be missing is there. */
static const cJSON *stated(const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    return item && !cJSON_IsNull(item) ? item : NULL;
}

int kd_folder_size_or(int *out, const kd_json *json, const char *key, int fallback) {
    *out = fallback;
    return stated(kd_json_root(json), key) ? kd_folder_size(out, json, "", key) : KD_OK;
}

int kd_folder_number_or(double *out, const kd_json *json, const cJSON *object, const char *key,
                        double fallback) {
    const cJSON *item = stated(object, key);
    *out = fallback;
    if (!item) return KD_OK;
    if (!cJSON_IsNumber(item)) return kd_folder_refuse(json, item, key, "a number");
    *out = item->valuedouble;
    return KD_OK;
}

int kd_folder_bool_or(bool *out, const kd_json *json, const char *key, bool fallback) {
    const cJSON *item = stated(kd_json_root(json), key);
    *out = fallback;
    if (!item) return KD_OK;
    if (!cJSON_IsBool(item)) return kd_folder_refuse(json, item, key, "true or false");
    *out = cJSON_IsTrue(item);
    return KD_OK;
}

int kd_folder_need_bool(const kd_json *json, const char *key, bool wanted) {
    const cJSON *item = stated(kd_json_root(json), key);
    if (!item || (wanted ? cJSON_IsTrue(item) : cJSON_IsFalse(item))) return KD_OK;
    return kd_folder_refuse(json, item, key, wanted ? "true" : "false");
}

int kd_folder_need_text(const kd_json *json, const char *key, const char *wanted) {
    const cJSON *item = stated(kd_json_root(json), key);
    char text[64];
    if (!item || (cJSON_IsString(item) && strcmp(item->valuestring, wanted) == 0)) return KD_OK;
    snprintf(text, sizeof text, "\"%s\"", wanted);
    return kd_folder_refuse(json, item, key, text);
}

int kd_folder_check_adapter(const char *folder) {
    char path[KD_PATH_MAX];
    int status = kd_path_join(path, folder, "adapter_config.json");
    if (status < 0 || !kd_file_exists(path)) return status;
    return kd_fail(KD_EDATA,
                   "%s: an adapter is not read; merge it into the weights (in peft: "
                   "merge_and_unload) and save them",
                   path);
}
