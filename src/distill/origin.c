#include "distill/origin.h"

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/json_text.h"
#include "config/reader.h"

/* A refusal names so many of the facts that differ. */
enum { NAMED = 3, KEY_MAX = 512 };

static const char REMEDY[] = "use --fresh to start over, or another name";

void kd_origin_clear(kd_origin *origin) {
    for (int i = 0; i < origin->count; i++) {
        free(origin->fact[i].key);
        free(origin->fact[i].value);
    }
    free(origin->fact);
    *origin = (kd_origin){0};
}

/* --- adding --------------------------------------------------------------------------------- */

static kd_fact *find(const kd_origin *origin, const char *key) {
    for (int i = 0; i < origin->count; i++)
        if (strcmp(origin->fact[i].key, key) == 0) return &origin->fact[i];
    return NULL;
}

/* `value` is NULL for a fact that is not known yet. */
static void add(kd_origin *origin, const char *key, const char *value, bool of_config) {
    if (origin->failed) return;
    KD_CONTRACT(!find(origin, key), "the fact %s is there twice", key);
    if (origin->count == origin->capacity) {
        const int capacity = 2 * origin->capacity + 32;
        kd_fact *grown = realloc(origin->fact, (size_t)capacity * sizeof *grown);
        if (!grown) {
            origin->failed = true;
            return;
        }
        origin->fact = grown;
        origin->capacity = capacity;
    }
    kd_fact fact = {strdup(key), value ? strdup(value) : NULL, of_config};
    if (!fact.key || (value && !fact.value)) {
        free(fact.key);
        free(fact.value);
        origin->failed = true;
        return;
    }
    origin->fact[origin->count++] = fact;
}

void kd_origin_add(kd_origin *origin, const char *key, const char *format, ...) {
    char value[256];
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    KD_CONTRACT(n >= 0 && n < (int)sizeof value, "the fact %s is too long", key);
    add(origin, key, value, false);
}

void kd_origin_add_unknown(kd_origin *origin, const char *key) {
    add(origin, key, NULL, false);
}

void kd_origin_begin(kd_origin *origin, const char *kind, const char *algorithm,
                     const char *stage) {
    kd_origin_add(origin, "kind", "%s", kind);
    kd_origin_add(origin, "algorithm", "%s", algorithm);
    if (stage) kd_origin_add(origin, "stage", "%s", stage);
    kd_origin_add(origin, "numbers", "%s",
                  sizeof(kd_real) == sizeof(float) ? "float32" : "float64");
}

void kd_origin_add_hash(kd_origin *origin, const char *key, const kd_hash *hash) {
    add(origin, key, hash->hex[0] ? hash->hex : NULL, false);
}

void kd_origin_add_products(kd_origin *origin, kd_precision precision) {
    kd_origin_add(origin, "products", "%s",
                  precision == KD_PRECISION_BFLOAT16 ? "bfloat16" : "float32");
}

void kd_origin_add_key(kd_origin *origin, const char *key, const kd_origin *other) {
    char *text = NULL;
    bool known = true;
    for (int i = 0; i < other->count; i++) known = known && other->fact[i].value;
    if (!known)
        kd_origin_add_unknown(origin, key);
    else if (kd_origin_text(&text, other) == KD_OK)
        kd_origin_add(origin, key, "%s", kd_origin_key(text).hex);
    else
        origin->failed = true;
    free(text);
}

void kd_origin_add_all(kd_origin *origin, const char *prefix, const kd_origin *other) {
    char key[KEY_MAX];
    origin->failed |= other->failed;
    for (int i = 0; i < other->count; i++) {
        const kd_fact *fact = &other->fact[i];
        if (!fact->value) continue;
        snprintf(key, sizeof key, "%s.%s", prefix, fact->key);
        add(origin, key, fact->value, fact->of_config);
    }
}

void kd_origin_add_part(kd_origin *out, const kd_origin *other, const char *prefix) {
    const size_t n = strlen(prefix);
    out->failed |= other->failed;
    for (int i = 0; i < other->count; i++) {
        const kd_fact *fact = &other->fact[i];
        if (strncmp(fact->key, prefix, n) == 0 && fact->key[n] == '.')
            add(out, fact->key + n + 1, fact->value, fact->of_config);
    }
}

void kd_origin_copy(kd_origin *out, const kd_origin *other) {
    out->failed |= other->failed;
    for (int i = 0; i < other->count; i++)
        add(out, other->fact[i].key, other->fact[i].value, other->fact[i].of_config);
}

static bool is_among(const char *name, const char *const *list) {
    for (; *list; list++)
        if (strcmp(*list, name) == 0) return true;
    return false;
}

static bool has_objects(const cJSON *list) {
    for (const cJSON *item = list->child; item; item = item->next)
        if (cJSON_IsObject(item)) return true;
    return false;
}

static void flatten(kd_origin *origin, const char *path, const cJSON *item,
                    const char *const *without) {
    char inner[KEY_MAX];
    const bool object = cJSON_IsObject(item), list = cJSON_IsArray(item) && has_objects(item);
    int place = 0;
    for (const cJSON *child = object || list ? item->child : NULL; child; child = child->next) {
        if (object && is_among(child->string, without)) continue;
        if (object)
            snprintf(inner, sizeof inner, "%s.%s", path, child->string);
        else
            snprintf(inner, sizeof inner, "%s[%d]", path, place++);
        flatten(origin, inner, child, without);
    }
    if (object || list) return;
    char *text = cJSON_IsString(item) ? item->valuestring : kd_json_print(item, false);
    if (text)
        add(origin, path, text, true);
    else
        origin->failed = true;
    if (!cJSON_IsString(item)) cJSON_free(text);
}

void kd_origin_add_config(kd_origin *origin, const char *resolved, const char *section, int index,
                          const char *const *without) {
    cJSON *tree;
    if (kd_json_tree(&tree, resolved, "the configuration") < 0) {
        origin->failed = true;
        return;
    }
    const cJSON *item = kd_json_get(tree, section);
    if (index != KD_ORIGIN_ALL && cJSON_IsArray(item) && has_objects(item))
        item = cJSON_GetArrayItem(item, index);
    if (item) flatten(origin, section, item, without);
    cJSON_Delete(tree);
}

const char *kd_origin_value(const kd_origin *origin, const char *key) {
    const kd_fact *fact = find(origin, key);
    return fact ? fact->value : NULL;
}

/* --- as text -------------------------------------------------------------------------------- */

int kd_origin_known_text(char **out, const kd_origin *origin) {
    kd_text text = {.failed = origin->failed};
    const char *between = "{";
    *out = NULL;
    for (int i = 0; i < origin->count; i++) {
        const kd_fact *fact = &origin->fact[i];
        if (!fact->value) continue;
        kd_text_add(&text, "%s", between);
        kd_json_add_string(&text, fact->key, fact->value);
        between = ",\n ";
    }
    kd_text_add(&text, "}");
    int status = kd_text_finish(&text, "a result's origin");
    if (status == KD_OK) *out = text.text;
    return status;
}

int kd_origin_text(char **out, const kd_origin *origin) {
    for (int i = 0; i < origin->count; i++)
        KD_CONTRACT(origin->fact[i].value, "%s is not known yet", origin->fact[i].key);
    return kd_origin_known_text(out, origin);
}

kd_hash kd_origin_key(const char *text) {
    return kd_hash_bytes(text, strlen(text));
}

int kd_origin_hash(kd_hash *out, const kd_origin *origin) {
    char *text;
    int status = kd_origin_text(&text, origin);
    if (status == KD_OK) *out = kd_origin_key(text);
    free(text);
    return status;
}

int kd_origin_parse(kd_origin *out, const char *text, const char *name) {
    kd_json *json;
    *out = (kd_origin){0};
    int status = kd_json_parse(&json, text, strlen(text), name);
    if (status < 0) return status;
    const cJSON *root = kd_json_root(json);
    if (!cJSON_IsObject(root))
        status = kd_fail(KD_EDATA, "%s: its origin is not a JSON object", name);
    for (const cJSON *item = root->child; item && status == KD_OK; item = item->next)
        if (cJSON_IsString(item))
            add(out, item->string, item->valuestring, false);
        else
            status = kd_fail(KD_EDATA, "%s: %s of its origin is not a text", name, item->string);
    if (status == KD_OK && out->failed) status = kd_fail_memory(strlen(text), "an origin");
    if (status < 0) kd_origin_clear(out);
    kd_json_free(json);
    return status;
}

/* --- comparing ------------------------------------------------------------------------------ */

/* Adds "train.epochs = 8, this config says 12". Either may be NULL: without it. */
static void tell(kd_text *out, const kd_fact *made, const kd_fact *now) {
    const char *key = made ? made->key : now->key;
    const bool of_config = now && now->of_config;
    if (made)
        kd_text_add(out, "%s = %s, ", key, made->value);
    else
        kd_text_add(out, "no %s, ", key);
    if (now)
        kd_text_add(out, "%s %s", of_config ? "this config says" : "now it is", now->value);
    else
        kd_text_add(out, "now there is none");
}

/* Counts the facts that differ and tells of the first. */
static int count_differences(kd_text *out, const kd_origin *made, const kd_origin *now) {
    int differ = 0;
    for (int i = 0; i < now->count; i++) {
        const kd_fact *here = &now->fact[i], *there = find(made, here->key);
        if (!here->value || (there && strcmp(here->value, there->value) == 0)) continue;
        if (differ++ >= NAMED) continue;
        if (differ > 1) kd_text_add(out, "; ");
        tell(out, there, here);
    }
    for (int i = 0; i < made->count; i++) {
        if (find(now, made->fact[i].key)) continue;
        if (differ++ >= NAMED) continue;
        if (differ > 1) kd_text_add(out, "; ");
        tell(out, &made->fact[i], NULL);
    }
    if (differ > NAMED) kd_text_add(out, "; %d more differ", differ - NAMED);
    return differ;
}

int kd_origin_check(const char *path, const char *made, const kd_origin *now) {
    const char *remedy = now->remedy ? now->remedy : REMEDY;
    kd_origin other;
    kd_text text = {.failed = now->failed};
    if (!made)
        return kd_fail(KD_EDATA,
                       "%s: was made by an earlier version, which did not record what it was made "
                       "from; %s",
                       path, remedy);
    int status = kd_origin_parse(&other, made, path);
    if (status < 0) return status;
    const int differ = count_differences(&text, &other, now);
    status = kd_text_finish(&text, "what differs");
    if (status == KD_OK && differ > 0)
        status = kd_fail(KD_EDATA, "%s: was made with %s; %s", path, text.text, remedy);
    free(text.text);
    kd_origin_clear(&other);
    return status;
}

int kd_origin_check_folder(const char *folder, const char *kinds) {
    char path[KD_PATH_MAX];
    kd_json *json;
    int status = kd_path_join(path, folder, "config.json");
    if (status < 0 || !kd_file_exists(path)) return status;
    if (kd_json_read(&json, path, KD_CONFIG_LIMIT) < 0) return KD_OK; /* it is written anew */
    const cJSON *kind = kd_json_get(kd_json_get(kd_json_root(json), "data"), "kind");
    if (cJSON_IsString(kind) && kd_config_choice(kinds, kind->valuestring) < 0)
        status = kd_fail(KD_EDATA,
                         "%s: is of a run on data of the kind \"%s\", this config's are %s; %s",
                         path, kind->valuestring, kinds, REMEDY);
    kd_json_free(json);
    return status;
}
