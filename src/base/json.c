/* json_parse.c makes the tree out of cJSON's items, which cJSON copies, changes, compares, prints
 * and deletes; it parses nothing itself, for it knows no places and lets too much pass.
 *
 * Where an item stands is kept in cJSON's `valueint`, a truncated copy of the number that nobody
 * needs: the offset in the text. An item from kd_json_set or kd_json_change has −1 − index of the
 * change there instead. */
#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_parse.h"
#include "base/text.h"
#include "base/unicode.h"

static const uint64_t EXACT = (uint64_t)1 << 53;

struct kd_json {
    const char *name;
    int first_line; /* what the text's first line is called */
    char *text;
    cJSON *root;
    int set_count;
    const char *set[KD_JSON_SETS_MAX]; /* "a.b=value", or the place of a kd_json_change */
    bool placed[KD_JSON_SETS_MAX];     /* it is a place                                 */
};

static int fail_at(const kd_json *json, size_t offset, const char *what) {
    int line, column;
    kd_json_line_and_column(json->text, offset, json->first_line, &line, &column);
    return kd_fail(KD_EDATA, "%s:%d:%d: %s", json->name, line, column, what);
}

static int build(kd_json *json, size_t length) {
    if (length >= 2 &&
        (memcmp(json->text, "\xFF\xFE", 2) == 0 || memcmp(json->text, "\xFE\xFF", 2) == 0))
        return kd_fail(KD_EDATA, "%s: is UTF-16; save it as UTF-8", json->name);
    kd_json_parser parser = {.text = json->text, .length = length, .first_line = json->first_line};
    json->root = kd_json_build(&parser);
    if (json->root) return KD_OK;
    return parser.failed_memory ? kd_fail_memory(length, json->name)
                                : fail_at(json, parser.at, parser.what);
}

int kd_json_parse(kd_json **out, const char *text, size_t length, const char *name) {
    return kd_json_parse_line(out, text, length, name, 1);
}

int kd_json_parse_line(kd_json **out, const char *text, size_t length, const char *name, int line) {
    *out = NULL;
    kd_json *json = calloc(1, sizeof *json);
    if (!json) return kd_fail_memory(sizeof *json, name);
    json->name = name;
    json->first_line = line;
    const size_t mark = kd_utf8_mark(text, length);
    text += mark;
    length -= mark;
    json->text = malloc(length + 1);
    int status = json->text ? KD_OK : kd_fail_memory(length + 1, name);
    if (status == KD_OK) {
        memcpy(json->text, text, length);
        json->text[length] = '\0';
        status = build(json, length);
    }
    if (status < 0) {
        kd_json_free(json);
        return status;
    }
    *out = json;
    return KD_OK;
}

int kd_json_read(kd_json **out, const char *path, size_t limit) {
    *out = NULL;
    char *text;
    size_t length;
    int status = kd_file_read(&text, &length, path, limit);
    if (status == KD_OK) status = kd_json_parse(out, text, length, path);
    free(text);
    return status;
}

void kd_json_free(kd_json *json) {
    if (!json) return;
    cJSON_Delete(json->root);
    free(json->text);
    free(json);
}

int kd_json_tree(cJSON **out, const char *text, const char *name) {
    *out = NULL;
    kd_json *json;
    const int status = kd_json_parse(&json, text, strlen(text), name);
    if (status < 0) return status;
    *out = json->root;
    json->root = NULL;
    kd_json_free(json);
    return KD_OK;
}

cJSON *kd_json_root(const kd_json *json) {
    return json->root;
}

const cJSON *kd_json_get(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

/* |x| of a whole number whose digits are known; false when it has none or too many. */
static bool whole_size(uint64_t *out, const cJSON *item) {
    const double x = item->valuedouble;
    *out = 0;
    if (!cJSON_IsNumber(item)) return false;
    if (!item->valuestring) {
        if (x != floor(x) || fabs(x) >= KD_JSON_DIGITS_FROM) return false;
        *out = (uint64_t)fabs(x);
        return true;
    }
    const char *digits = item->valuestring + (item->valuestring[0] == '-');
    if (digits[strspn(digits, "0123456789")]) return false;
    errno = 0;
    *out = strtoull(digits, NULL, 10);
    return errno == 0;
}

bool kd_json_is_integer(const cJSON *item) {
    uint64_t size;
    return whole_size(&size, item) && size <= EXACT;
}

bool kd_json_unsigned(uint64_t *out, const cJSON *item) {
    return whole_size(out, item) && (item->valuedouble >= 0 || *out == 0);
}

cJSON *kd_json_create_unsigned(uint64_t value) {
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    cJSON *item = cJSON_CreateNumber((double)value);
    if (!item || kd_json_keep_digits(item, digits, strlen(digits))) return item;
    cJSON_Delete(item);
    return NULL;
}

/* cJSON prints a number with its digits when it takes it for text. */
static void digits_to_raw(cJSON *item) {
    if (cJSON_IsNumber(item) && item->valuestring) item->type = cJSON_Raw;
    for (cJSON *child = item->child; child; child = child->next) digits_to_raw(child);
}

char *kd_json_print(const cJSON *item, bool indented) {
    cJSON *copy = cJSON_Duplicate(item, true);
    if (!copy) return NULL;
    digits_to_raw(copy);
    char *text = indented ? cJSON_Print(copy) : cJSON_PrintUnformatted(copy);
    cJSON_Delete(copy);
    return text;
}

/* Gives a new item and all below it the place "assignment `index`". */
static void mark_as_set(cJSON *item, int index) {
    item->valueint = -1 - index;
    for (cJSON *child = item->child; child; child = child->next) mark_as_set(child, index);
}

/* The entry of a list that `step` names, or NULL. */
static cJSON *list_entry(const cJSON *list, const char *step) {
    char *end;
    long index = strtol(step, &end, 10);
    return *end == '\0' && index >= 0 && index < 1 << 20 ? cJSON_GetArrayItem(list, (int)index)
                                                         : NULL;
}

/* "--set a.b", or the place of the change. */
static const char *change_name(char *out, size_t capacity, const kd_json *json, int index) {
    const char *change = json->set[index];
    if (json->placed[index])
        snprintf(out, capacity, "%s", change);
    else
        snprintf(out, capacity, "--set %.*s", (int)strcspn(change, "="), change);
    return out;
}

/* Puts `value`, or nothing when it is NULL, where `step` of `parent` is. Takes `value` over. */
static int put(cJSON *parent, const char *step, cJSON *value, const char *name) {
    bool done = true;
    cJSON *entry;
    if (cJSON_IsArray(parent)) {
        entry = list_entry(parent, step);
        if (!entry || !value) {
            cJSON_Delete(value);
            return kd_fail(KD_EUSAGE, "%s: the list has no entry '%s' to change", name, step);
        }
        done = cJSON_ReplaceItemViaPointer(parent, entry, value);
    } else {
        cJSON_DeleteItemFromObjectCaseSensitive(parent, step);
        if (value) done = cJSON_AddItemToObject(parent, step, value);
    }
    if (done) return KD_OK;
    cJSON_Delete(value);
    return kd_fail_memory(sizeof *value, name);
}

/* The container below `parent` that `step` names; made when an object lacks it. */
static cJSON *descend(cJSON *parent, const char *step, int index) {
    cJSON *child = cJSON_IsArray(parent) ? list_entry(parent, step)
                                         : cJSON_GetObjectItemCaseSensitive(parent, step);
    if (!child && cJSON_IsObject(parent)) {
        child = cJSON_AddObjectToObject(parent, step);
        if (child) mark_as_set(child, index);
    }
    return child && (cJSON_IsObject(child) || cJSON_IsArray(child)) ? child : NULL;
}

/* The value behind '=': JSON, or else the bare text. NULL for null, and when memory is out. */
static int value_of(cJSON **out, const char *text) {
    const int status = kd_json_tree(out, text, "value");
    if (status == KD_EINTERNAL) return status;
    if (cJSON_IsNull(*out)) {
        cJSON_Delete(*out);
        *out = NULL;
    }
    if (status < 0) {
        for (const char *p = text; *p; p += kd_utf8_length(p, strlen(p)))
            if (!kd_utf8_length(p, strlen(p)))
                return kd_fail(KD_EUSAGE, "--set: the value is not UTF-8");
        *out = cJSON_CreateString(text);
        if (!*out) return kd_fail_memory(strlen(text), "--set");
    }
    return KD_OK;
}

/* Notes the change and puts `value`, which it takes over, at the `length` bytes of `path`. */
static int change(kd_json *json, const char *path, size_t length, cJSON *value, const char *note,
                  bool placed) {
    char steps[256], name[512];
    int index = json->set_count++;
    json->set[index] = note;
    json->placed[index] = placed;
    change_name(name, sizeof name, json, index);
    snprintf(steps, sizeof steps, "%.*s", (int)length, path);
    if (value) mark_as_set(value, index);
    char *step = steps;
    cJSON *parent = json->root;
    for (char *dot; (dot = strchr(step, '.')) != NULL; step = dot + 1) {
        *dot = '\0';
        parent = descend(parent, step, index);
        if (parent) continue;
        cJSON_Delete(value);
        return kd_fail(KD_EUSAGE, "%s: there is nothing below '%s' to change", name, step);
    }
    return put(parent, step, value, name);
}

static int check_change(const kd_json *json, const char *name) {
    if (json->set_count == KD_JSON_SETS_MAX)
        return kd_fail(KD_EUSAGE, "%s: more than %d changes", name, KD_JSON_SETS_MAX);
    if (!cJSON_IsObject(json->root))
        return kd_fail(KD_EUSAGE, "%s: %s is no object", name, json->name);
    return KD_OK;
}

int kd_json_set(kd_json *json, const char *assignment) {
    const char *equals = strchr(assignment, '=');
    if (!equals || equals == assignment || equals - assignment >= 256)
        return kd_fail(KD_EUSAGE, "--set %s: expected KEY=VALUE, such as train.epochs=5",
                       assignment);
    cJSON *value;
    int status = check_change(json, "--set");
    if (status == KD_OK) status = value_of(&value, equals + 1);
    if (status < 0) return status;
    return change(json, assignment, (size_t)(equals - assignment), value, assignment, false);
}

int kd_json_change(kd_json *json, const char *path, const cJSON *value, const char *place) {
    if (!*path || strlen(path) >= 256)
        return kd_fail(KD_EUSAGE, "%s: expected a key such as train.epochs", place);
    int status = check_change(json, place);
    if (status < 0) return status;
    cJSON *copy = cJSON_IsNull(value) ? NULL : cJSON_Duplicate(value, true);
    if (!copy && !cJSON_IsNull(value)) return kd_fail_memory(sizeof *copy, place);
    return change(json, path, strlen(path), copy, place, true);
}

const char *kd_json_place(char *out, size_t capacity, const kd_json *json, const cJSON *item,
                          bool of_key) {
    if (item->valueint < 0) return change_name(out, capacity, json, -1 - item->valueint);
    size_t offset = (size_t)item->valueint;
    if (item->string && !of_key) offset = kd_json_value_behind_key(json->text, offset);
    int line, column;
    kd_json_line_and_column(json->text, offset, json->first_line, &line, &column);
    snprintf(out, capacity, "%s:%d:%d", json->name, line, column);
    return out;
}

static void quote_byte(char *out, size_t capacity, size_t *length, char byte) {
    if (*length + 1 < capacity) out[*length] = byte;
    (*length)++;
}

size_t kd_json_quote(char *out, size_t capacity, const char *text) {
    static const char digit[] = "0123456789abcdef";
    size_t length = 0, left = strlen(text);
    quote_byte(out, capacity, &length, '"');
    while (left > 0) {
        const unsigned char c = (unsigned char)*text;
        const int whole = kd_utf8_length(text, left);
        int n = whole > 0 ? whole : kd_utf8_broken(text, left);
        const char escape[6] = {'\\', 'u', '0', '0', digit[c >> 4], digit[c & 15]};
        if (whole == 0)
            for (int i = 0; i < 6; i++) quote_byte(out, capacity, &length, "\\ufffd"[i]);
        else if (c < 0x20)
            for (int i = 0; i < 6; i++) quote_byte(out, capacity, &length, escape[i]);
        else if (c == '"' || c == '\\')
            quote_byte(out, capacity, &length, '\\');
        for (int i = 0; i < n && whole > 0 && c >= 0x20; i++)
            quote_byte(out, capacity, &length, text[i]);
        text += n;
        left -= (size_t)n;
    }
    quote_byte(out, capacity, &length, '"');
    if (capacity > 0) out[length < capacity ? length : capacity - 1] = '\0';
    return length;
}
