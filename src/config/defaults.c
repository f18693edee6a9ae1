#include "config/defaults.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

static void fail_memory(kd_config_reader *reader) {
    reader->failed = kd_fail_memory(sizeof(cJSON), "the configuration");
}

void kd_default_number(kd_config_reader *reader, cJSON *out, const char *key, double value) {
    if (!cJSON_AddNumberToObject(out, key, value)) fail_memory(reader);
}

void kd_default_text(kd_config_reader *reader, cJSON *out, const char *key, const char *value) {
    if (!cJSON_AddStringToObject(out, key, value)) fail_memory(reader);
}

void kd_default_copy(kd_config_reader *reader, cJSON *out, const char *key, const cJSON *from) {
    cJSON *copy = cJSON_Duplicate(from, true);
    if (copy && cJSON_AddItemToObject(out, key, copy)) return;
    cJSON_Delete(copy);
    fail_memory(reader);
}

void kd_default_none(kd_config_reader *reader, cJSON *out, const char *key) {
    if (!cJSON_AddNullToObject(out, key)) fail_memory(reader);
}

void kd_default_object(kd_config_reader *reader, cJSON *out, const char *key) {
    if (!cJSON_AddObjectToObject(out, key)) fail_memory(reader);
}

static bool is_name_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("._-", c));
}

void kd_config_default_name(char *out, size_t capacity, const char *path) {
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    size_t length = strlen(file);
    if (length > 5 && strcmp(file + length - 5, ".json") == 0) length -= 5;
    if (length >= capacity) length = capacity - 1;
    memcpy(out, file, length);
    out[length] = '\0';
    for (char *c = out; *c; c++)
        if (!is_name_letter(*c)) *c = '_';
    if (!is_name_letter(out[0]) || out[0] == '.') snprintf(out, capacity, "run");
}

bool kd_config_check_name(kd_config_reader *reader, const cJSON *object, const char *path) {
    const cJSON *name = kd_json_get(object, "name");
    if (!cJSON_IsString(name)) return true;
    bool good = name->valuestring[0] != '.';
    for (const char *c = name->valuestring; *c && good; c++) good = is_name_letter(*c);
    if (!good)
        kd_config_complain_key(reader, object, path, "name",
                               "files have this name: letters, digits, '.', '_' and '-' only, and "
                               "no '.' in front");
    return good;
}
