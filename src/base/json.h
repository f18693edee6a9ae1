/* Strict JSON that knows where everything stands.
 *
 * The tree is made of cJSON's items, but parsed and printed here: every item knows its line and
 * column, numbers keep all their digits, and what cJSON would let pass is refused: duplicate keys,
 * numbers JSON does not have (01, 1., +1, NaN, 1e999), control characters and broken UTF-8 in
 * strings, \u0000, nesting beyond KD_JSON_DEPTH_MAX, anything behind the end. A byte order mark in
 * front is skipped. Use the case-sensitive functions of cJSON only, never cJSON_Parse or
 * cJSON_Print, and leave `valueint` alone: it holds the place.
 */
#ifndef KD_BASE_JSON_H
#define KD_BASE_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KD_JSON_DEPTH_MAX = 64, KD_JSON_SETS_MAX = 64 };

typedef struct kd_json kd_json;

/* Parses `length` bytes of text, which are copied. `name` (borrowed until the free) is what
 * messages call it. KD_EDATA with "name:line:column: what is wrong". The caller frees. */
int kd_json_parse(kd_json **out, const char *text, size_t length, const char *name);
/* The same for text that begins on line `line` of what `name` is. */
int kd_json_parse_line(kd_json **out, const char *text, size_t length, const char *name, int line);
/* The same for a file of at most `limit` bytes. */
int kd_json_read(kd_json **out, const char *path, size_t limit);
void kd_json_free(kd_json *json);

/* The tree alone; the caller deletes it with cJSON_Delete. */
int kd_json_tree(cJSON **out, const char *text, const char *name);

cJSON *kd_json_root(const kd_json *json);
/* The member called exactly `key`, or NULL. */
const cJSON *kd_json_get(const cJSON *object, const char *key);

/* Changes the tree by one "a.b.0=value": the path's members are made as needed, list entries must
 * exist. The value is JSON, or else a bare string; null takes the member away. `assignment` is
 * borrowed until the free. KD_EUSAGE says what is wrong with it. At most KD_JSON_SETS_MAX. */
int kd_json_set(kd_json *json, const char *assignment);
/* The same with a value that stands elsewhere in JSON; it is copied. `place` is what messages about
 * it name, as "sweep.json:7:21"; borrowed until the free. */
int kd_json_change(kd_json *json, const char *path, const cJSON *value, const char *place);

/* Writes "file:line:column" of the item's value (or of its key) into `out`, and returns `out`; for
 * an item that came from kd_json_set, "--set a.b"; from kd_json_change, its place. Lines and
 * columns count from 1, columns in characters. */
const char *kd_json_place(char *out, size_t capacity, const kd_json *json, const cJSON *item,
                          bool of_key);

/* True when the item is a number without a fraction whose double is exactly what stands in the text
 * (|x| ≤ 2^53; from 10^15 on, without an exponent). */
bool kd_json_is_integer(const cJSON *item);
/* The item's whole number from 0 to 2^64 − 1, exactly; false when it is none. From 10^15 on
 * all digits must stand in the text; the item keeps them, also through cJSON_Duplicate. */
bool kd_json_unsigned(uint64_t *out, const cJSON *item);
/* A new item with that number; NULL when memory is out. */
cJSON *kd_json_create_unsigned(uint64_t value);
/* The item as JSON with all digits of its numbers, on one line or `indented`; the caller frees it
 * with cJSON_free. NULL when memory is out. */
char *kd_json_print(const cJSON *item, bool indented);

/* Appends `text` to `out` as a JSON string, quotes included, and returns the length it needs (like
 * snprintf; always terminated when capacity > 0). For writers that cannot allocate. What is not
 * UTF-8, as names of files need not be, becomes \ufffd. */
size_t kd_json_quote(char *out, size_t capacity, const char *text);

#endif
