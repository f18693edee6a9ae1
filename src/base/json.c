/* Three passes: json_scan.c checks the text strictly and notes the offset of every value (of the
 * key, for a member) in document order; cJSON builds the tree; a walk over the tree, which meets
 * the items in the same order, gives each its offset.
 *
 * The offset is kept in cJSON's `valueint`, a truncated copy of the number that nobody needs. An
 * item from kd_json_set or kd_json_change has −1 − index of the change there instead. */
#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_scan.h"
#include "base/text.h"
#include "base/unicode.h"

/* Whole numbers from here on keep their digits: cJSON prints 15 of them, and beyond 2^53 its double
 * is another number. */
static const double DIGITS_FROM = 1e15;
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

static void line_and_column(const kd_json *json, size_t offset, int *line, int *column) {
    const char *text = json->text;
    *line = json->first_line;
    *column = 1;
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            (*line)++;
            *column = 1;
        } else if (((unsigned char)text[i] & 0xC0) != 0x80) {
            (*column)++;
        }
    }
}

static int fail_at(const kd_json *json, size_t offset, const char *what) {
    int line, column;
    line_and_column(json, offset, &line, &column);
    return kd_fail(KD_EDATA, "%s:%d:%d: %s", json->name, line, column, what);
}

/* Keeps the digits that stand at `text` in `valuestring`, which is cJSON's to copy and to free. */
static bool keep_digits(cJSON *item, const char *text) {
    const size_t sign = *text == '-', length = sign + strspn(text + sign, "0123456789");
    const bool plain = !text[length] || !strchr(".eE", text[length]);
    if (!plain || fabs(item->valuedouble) < DIGITS_FROM) return true;
    item->valuestring = cJSON_malloc(length + 1);
    if (!item->valuestring) return false;
    memcpy(item->valuestring, text, length);
    item->valuestring[length] = '\0';
    return true;
}

/* NULL when memory is out. */
static const int *place_items(const char *text, cJSON *item, const int *offset) {
    size_t at = (size_t)*offset;
    item->valueint = *offset++;
    if (cJSON_IsNumber(item) && item->string) at = kd_json_value_behind_key(text, at);
    if (cJSON_IsNumber(item) && !keep_digits(item, text + at)) return NULL;
    for (cJSON *child = item->child; child && offset; child = child->next)
        offset = place_items(text, child, offset);
    return offset;
}

static int by_key(const void *a, const void *b) {
    const cJSON *x = *(cJSON *const *)a, *y = *(cJSON *const *)b;
    int order = strcmp(x->string, y->string);
    return order ? order : (x->valueint > y->valueint) - (x->valueint < y->valueint);
}

/* Finds the first key, in text order of the objects, that its object has twice. */
static int refuse_duplicates(const kd_json *json, const cJSON *item) {
    int status = KD_OK, n = 0;
    const cJSON **member = NULL;
    if (cJSON_IsObject(item) && item->child && item->child->next) {
        n = cJSON_GetArraySize(item);
        member = malloc((size_t)n * sizeof *member);
        if (!member) return kd_fail_memory((size_t)n * sizeof *member, json->name);
        int i = 0;
        for (const cJSON *child = item->child; child; child = child->next) member[i++] = child;
        qsort(member, (size_t)n, sizeof *member, by_key);
    }
    for (int i = 1; i < n && status == KD_OK; i++) {
        if (strcmp(member[i - 1]->string, member[i]->string) != 0) continue;
        int line, column;
        line_and_column(json, (size_t)member[i - 1]->valueint, &line, &column);
        char what[256];
        snprintf(what, sizeof what, "the key \"%.100s\" is there twice, first on line %d",
                 member[i]->string, line);
        status = fail_at(json, (size_t)member[i]->valueint, what);
    }
    free(member);
    for (const cJSON *child = item->child; child && status == KD_OK; child = child->next)
        status = refuse_duplicates(json, child);
    return status;
}

static int build(kd_json *json, size_t length) {
    if (length >= 2 &&
        (memcmp(json->text, "\xFF\xFE", 2) == 0 || memcmp(json->text, "\xFE\xFF", 2) == 0))
        return kd_fail(KD_EDATA, "%s: is UTF-16; save it as UTF-8", json->name);
    kd_json_scan scan = {.text = json->text, .length = length};
    int status = KD_OK;
    if (!kd_json_scan_all(&scan)) {
        status = scan.failed_memory ? kd_fail_memory(length, json->name)
                                    : fail_at(json, scan.at, scan.what);
        goto done;
    }
    json->root = cJSON_ParseWithLength(json->text, length);
    if (!json->root) {
        status = kd_fail_memory(length, json->name);
        goto done;
    }
    status = place_items(json->text, json->root, scan.offset) ? refuse_duplicates(json, json->root)
                                                              : kd_fail_memory(length, json->name);
done:
    free(scan.offset);
    return status;
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
        if (x != floor(x) || fabs(x) >= DIGITS_FROM) return false;
        *out = (uint64_t)fabs(x);
        return true;
    }
    errno = 0;
    *out = strtoull(item->valuestring + (item->valuestring[0] == '-'), NULL, 10);
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
    if (!item || keep_digits(item, digits)) return item;
    cJSON_Delete(item);
    return NULL;
}

void kd_json_print_digits(cJSON *item) {
    if (cJSON_IsNumber(item) && item->valuestring) item->type = cJSON_Raw;
    for (cJSON *child = item->child; child; child = child->next) kd_json_print_digits(child);
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
    kd_json *parsed;
    *out = NULL;
    const int status = kd_json_parse(&parsed, text, strlen(text), "value");
    if (status == KD_EINTERNAL) return status;
    if (status == KD_OK) {
        if (!cJSON_IsNull(parsed->root)) {
            *out = parsed->root;
            parsed->root = NULL;
        }
        kd_json_free(parsed);
    } else {
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
    line_and_column(json, offset, &line, &column);
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
