#include "config/reader.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/fields.h"

/* --- errors --------------------------------------------------------------------------------- */

static void add_error(kd_config_reader *reader, int offset, char *text) {
    int n = reader->error_count;
    kd_config_error *grown = text ? realloc(reader->error, (size_t)(n + 1) * sizeof *grown) : NULL;
    if (!grown) {
        free(text);
        reader->failed = kd_fail_memory(sizeof *grown, "messages");
        return;
    }
    reader->error = grown;
    reader->error[reader->error_count++] = (kd_config_error){offset, text};
}

static void complain(kd_config_reader *reader, const cJSON *item, bool of_key, const char *path,
                     const char *format, va_list arguments) {
    char place[KD_PATH_MAX + 64], message[KD_CONFIG_DESCRIPTION_MAX + 256];
    vsnprintf(message, sizeof message, format, arguments);
    kd_text text = {0};
    kd_text_add(&text, "%s: %s: %s", kd_json_place(place, sizeof place, reader->json, item, of_key),
                path, message);
    add_error(reader, item->valueint < 0 ? INT_MAX : item->valueint, text.text);
}

void kd_config_complain(kd_config_reader *reader, const cJSON *item, bool of_key, const char *path,
                        const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    complain(reader, item, of_key, path, format, arguments);
    va_end(arguments);
}

void kd_config_complain_key(kd_config_reader *reader, const cJSON *object, const char *path,
                            const char *key, const char *format, ...) {
    char inner[KD_CONFIG_PATH_MAX];
    snprintf(inner, sizeof inner, "%s.%s", path, key);
    const cJSON *item = kd_json_get(object, key);
    va_list arguments;
    va_start(arguments, format);
    complain(reader, item ? item : object, false, inner, format, arguments);
    va_end(arguments);
}

static int by_offset(const void *a, const void *b) {
    const kd_config_error *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return strcmp(x->text, y->text);
}

int kd_config_report_errors(kd_config_reader *reader) {
    int count = reader->error_count;
    if (count > 0) qsort(reader->error, (size_t)count, sizeof *reader->error, by_offset);
    for (int i = 0; i < count; i++) {
        kd_log("%s", reader->error[i].text);
        free(reader->error[i].text);
    }
    free(reader->error);
    reader->error = NULL;
    reader->error_count = 0;
    return count;
}

/* --- objects -------------------------------------------------------------------------------- */

/* Complains about members that are in no row. */
static void refuse_strangers(kd_config_reader *reader, const cJSON *object, const char *path,
                             const kd_config_table *table) {
    for (const cJSON *child = object->child; child; child = child->next) {
        kd_guess guess = kd_guess_begin(child->string);
        const char *renamed = NULL;
        bool known = false;
        for (int i = 0; i < table->count && !known; i++) {
            const char *formerly = table->key[i].formerly;
            known = strcmp(table->key[i].name, child->string) == 0;
            if (formerly && strcmp(formerly, child->string) == 0) renamed = table->key[i].name;
            kd_guess_offer(&guess, table->key[i].name);
        }
        if (known) continue;
        char inner[KD_CONFIG_PATH_MAX];
        snprintf(inner, sizeof inner, "%s.%s", path, child->string);
        if (renamed)
            kd_config_complain(reader, child, true, inner, "this key is now called \"%s\"",
                               renamed);
        else if (guess.best)
            kd_config_complain(reader, child, true, inner, "unknown key; did you mean \"%s\"?",
                               guess.best);
        else
            kd_config_complain(reader, child, true, inner, "unknown key%s%s; see %s",
                               *table->name ? " for " : "", table->name, reader->manual);
    }
}

static void read_list(kd_config_reader *reader, const cJSON *list, const char *path,
                      const kd_config_key *key, char *base, cJSON *resolved) {
    cJSON *out = cJSON_AddArrayToObject(resolved, key->name);
    const bool many = cJSON_IsArray(list); /* else one object stands for a list of one */
    int index = 0;
    if (!out) reader->failed = kd_fail_memory(sizeof *out, "the configuration");
    for (const cJSON *item = many ? list->child : list; item; item = many ? item->next : NULL) {
        char inner[KD_CONFIG_PATH_MAX];
        if (many)
            snprintf(inner, sizeof inner, "%s[%d]", path, index);
        else
            snprintf(inner, sizeof inner, "%s", path);
        cJSON *entry = cJSON_CreateObject();
        if (!out || !entry || !cJSON_AddItemToArray(out, entry)) {
            cJSON_Delete(entry);
            reader->failed = kd_fail_memory(sizeof *entry, "the configuration");
            return;
        }
        kd_config_read_object(reader, item, inner, key->table,
                              base + key->offset + (size_t)index++ * key->stride, entry);
    }
    memcpy(base + key->count, &index, sizeof index);
}

static void read_value(kd_config_reader *reader, const cJSON *item, const char *path,
                       const kd_config_key *key, char *base, cJSON *resolved) {
    if (!kd_config_check_value(reader, item, path, key)) return;
    if (key->type == KD_KEY_IGNORED) return;
    if (key->type == KD_KEY_OBJECTS) {
        read_list(reader, item, path, key, base, resolved);
        return;
    }
    if (key->type == KD_KEY_OBJECT) {
        cJSON *inner = cJSON_AddObjectToObject(resolved, key->name);
        if (inner)
            kd_config_read_object(reader, item, path, key->table, base + key->offset, inner);
        else
            reader->failed = kd_fail_memory(sizeof *inner, "the configuration");
        if (key->count >= 0) *(bool *)(base + key->count) = true;
        return;
    }
    cJSON *copy = cJSON_Duplicate(item, true);
    if (!copy || !cJSON_AddItemToObject(resolved, key->name, copy)) {
        cJSON_Delete(copy);
        reader->failed = kd_fail_memory(sizeof *copy, "the configuration");
        return;
    }
    const char *wrong = kd_config_store_value(reader->folder, item, key, base);
    if (wrong) kd_config_complain(reader, item, false, path, "%s", wrong);
}

/* The row's default: what depends on other keys, where null means none, else the table's. NULL
 * without one, and when it failed. The caller deletes. */
static cJSON *default_of(kd_config_reader *reader, const kd_config_key *key,
                         const cJSON *depending) {
    const cJSON *known = kd_json_get(depending, key->name);
    if (cJSON_IsNull(known) || (!known && !key->fallback)) return NULL;
    cJSON *item = NULL;
    int status = KD_OK;
    if (!known)
        status = kd_json_tree(&item, key->fallback, key->name);
    else if (!(item = cJSON_Duplicate(known, true)))
        status = kd_fail_memory(sizeof *item, "the configuration");
    if (status < 0) reader->failed = status;
    return item;
}

static void mark_place(cJSON *item, int place) {
    item->valueint = place;
    for (cJSON *child = item->child; child; child = child->next) mark_place(child, place);
}

static void read_row(kd_config_reader *reader, const cJSON *object, const char *path,
                     const kd_config_key *key, const cJSON *depending, void *base,
                     cJSON *resolved) {
    char inner[KD_CONFIG_PATH_MAX];
    snprintf(inner, sizeof inner, "%s.%s", path, key->name);
    const cJSON *given = kd_json_get(object, key->name);
    if (given) {
        read_value(reader, given, inner, key, base, resolved);
    } else if (key->required) {
        char what[KD_CONFIG_DESCRIPTION_MAX];
        kd_config_describe(what, key);
        kd_config_complain(reader, object, false, inner, "missing; expected %s", what);
    } else {
        cJSON *item = default_of(reader, key, depending);
        if (!item) return;
        mark_place(item, object->valueint);
        read_value(reader, item, inner, key, base, resolved);
        cJSON_Delete(item);
    }
}

/* The table of an object that comes in kinds; NULL after complaining. */
static const kd_config_table *choose_variant(kd_config_reader *reader, const cJSON *object,
                                             const char *path, const kd_config_table *table) {
    const cJSON *tag = table->tag ? kd_json_get(object, table->tag) : NULL;
    char names[160] = "";
    for (int i = 0; i < table->variant_count; i++) {
        const kd_config_table *variant = table->variant[i];
        if (tag ? cJSON_IsString(tag) && strcmp(tag->valuestring, variant->name) == 0
                : !table->tag && kd_json_get(object, variant->key[0].name) != NULL)
            return variant;
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s\"%s\"", used ? ", " : "", variant->name);
    }
    if (tag)
        kd_config_complain_key(reader, object, path, table->tag, "expected one of %s", names);
    else if (table->tag)
        kd_config_complain_key(reader, object, path, table->tag, "missing; expected one of %s",
                               names);
    else
        kd_config_complain(reader, object, false, path, "expected a key that is one of %s", names);
    return NULL;
}

void kd_config_read_object(kd_config_reader *reader, const cJSON *object, const char *path,
                           const kd_config_table *table, void *base, cJSON *resolved) {
    if (!cJSON_IsObject(object)) {
        kd_config_complain(reader, object, false, path, "expected an object { … }");
        return;
    }
    const kd_config_table *kinds = table;
    if (table->variant_count > 0) table = choose_variant(reader, object, path, table);
    if (!table) return;
    int errors = reader->error_count;
    cJSON *depending = cJSON_CreateObject();
    if (!depending) {
        reader->failed = kd_fail_memory(sizeof *depending, "the configuration");
        return;
    }
    if (table->defaults) table->defaults(reader, object, depending);
    refuse_strangers(reader, object, path, table);
    for (int i = 0; i < table->count; i++)
        read_row(reader, object, path, &table->key[i], depending, base, resolved);
    cJSON_Delete(depending);
    bool clean = reader->error_count == errors || table->finish_always;
    if (!clean || reader->failed < 0) return;
    if (kinds != table && kinds->finish) kinds->finish(reader, object, path, base);
    if (table->finish) table->finish(reader, object, path, base);
}
