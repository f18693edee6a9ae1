#include "config/fields.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "config/reader.h"

static void store_integer(char *field, size_t size, double value) {
    if (size == sizeof(int)) {
        int narrow = (int)value;
        memcpy(field, &narrow, sizeof narrow);
    } else {
        KD_CONTRACT(size == sizeof(int64_t), "a whole number of %zu bytes", size);
        int64_t wide = (int64_t)value;
        memcpy(field, &wide, sizeof wide);
    }
}

static double number_or_word(const cJSON *item) {
    return cJSON_IsString(item) ? -1 : item->valuedouble;
}

/* A whole number, or −1 for a word. */
static void store_whole(char *field, size_t size, const cJSON *item, const kd_config_key *key) {
    uint64_t all;
    if (key->high < KD_KEY_U64_MAX) {
        store_integer(field, size, number_or_word(item));
        return;
    }
    KD_CONTRACT(size == sizeof all && kd_json_unsigned(&all, item), "%s", key->name);
    memcpy(field, &all, sizeof all);
}

static void store_real(char *field, size_t size, double value) {
    if (size == sizeof(float)) {
        float narrow = (float)value;
        memcpy(field, &narrow, sizeof narrow);
    } else {
        KD_CONTRACT(size == sizeof(double), "a number of %zu bytes", size);
        memcpy(field, &value, sizeof value);
    }
}

static void store_choice(char *field, const cJSON *item, const kd_config_key *key) {
    if (key->size == sizeof(int))
        store_integer(field, sizeof(int), kd_config_choice(key->choices, item->valuestring));
    else
        snprintf(field, key->size, "%s", item->valuestring);
}

static void store_pair(char *field, const cJSON *item) {
    bool two = cJSON_IsArray(item);
    store_integer(field, sizeof(int), number_or_word(two ? item->child : item));
    store_integer(field + sizeof(int), sizeof(int), number_or_word(two ? item->child->next : item));
}

const char *kd_config_resolve_path(char *out, size_t capacity, const char *folder,
                                   const char *written) {
    const char *rest = written, *value = "";
    int value_length = 0;
    if (strncmp(written, "${", 2) == 0) {
        const char *end = strchr(written, '}');
        if (!end) return "expected '}' behind \"${NAME\"";
        size_t length = strcspn(written + 2, ":}");
        const char *otherwise = written + 2 + length;
        char name[128];
        if (length == 0 || length >= sizeof name || (*otherwise == ':' && otherwise[1] != '-'))
            return "expected \"${NAME}\" or \"${NAME:-otherwise}\"";
        snprintf(name, sizeof name, "%.*s", (int)length, written + 2);
        value = getenv(name);
        if (!value && *otherwise == '}')
            return "the environment variable is not set; \"${NAME:-otherwise}\" gives a default";
        if (value && !*value && *otherwise == '}')
            return "the environment variable is empty; \"${NAME:-otherwise}\" gives a default";
        if (!value || (*otherwise == ':' && !*value)) {
            value = otherwise + 2;
            value_length = (int)(end - value);
        } else {
            value_length = (int)strlen(value);
        }
        rest = end + 1;
    }
    bool absolute = value_length > 0 ? *value == '/' : *rest == '/';
    const char *front = absolute ? "" : folder, *between = *front ? "/" : "";
    int n = snprintf(out, capacity, "%s%s%.*s%s", front, between, value_length, value, rest);
    return n >= 0 && (size_t)n < capacity ? NULL : "the path is too long";
}

/* NULL, or what is wrong. */
static const char *store_list(char *base, const char *folder, const cJSON *list,
                              const kd_config_key *key) {
    char *field = base + key->offset;
    const char *wrong = NULL;
    int count = 0;
    for (const cJSON *item = list->child; item && !wrong;
         item = item->next, count++, field += key->stride) {
        if (key->type == KD_KEY_INTEGERS)
            store_whole(field, key->stride, item, key);
        else if (key->type == KD_KEY_REALS)
            store_real(field, key->stride, item->valuedouble);
        else if (key->type == KD_KEY_PATHS)
            wrong = kd_config_resolve_path(field, key->stride, folder, item->valuestring);
        else
            snprintf(field, key->stride, "%s", item->valuestring);
    }
    memcpy(base + key->count, &count, sizeof count);
    return wrong;
}

const char *kd_config_store_value(const char *folder, const cJSON *item, const kd_config_key *key,
                                  char *base) {
    if (key->size == 0) return NULL;
    char *field = base + key->offset;
    switch (key->type) {
    case KD_KEY_INTEGER:
        store_whole(field, key->size, item, key);
        return NULL;
    case KD_KEY_REAL:
        store_real(field, key->size, item->valuedouble);
        return NULL;
    case KD_KEY_SWITCH: {
        bool on = cJSON_IsTrue(item);
        memcpy(field, &on, sizeof on);
        return NULL;
    }
    case KD_KEY_TEXT:
        snprintf(field, key->size, "%s", item->valuestring);
        return NULL;
    case KD_KEY_PATH:
        return kd_config_resolve_path(field, key->size, folder, item->valuestring);
    case KD_KEY_CHOICE:
        store_choice(field, item, key);
        return NULL;
    case KD_KEY_PAIR:
        store_pair(field, item);
        return NULL;
    case KD_KEY_INTEGERS:
    case KD_KEY_REALS:
    case KD_KEY_PATHS:
    case KD_KEY_TEXTS:
        return store_list(base, folder, item, key);
    case KD_KEY_OBJECT:
    case KD_KEY_OBJECTS:
    case KD_KEY_CHANGES:
    case KD_KEY_AXES:
    case KD_KEY_IGNORED:
        break;
    }
    return NULL;
}
