/* The grammar is so narrow that it is written down here instead of going through a JSON library:
 * no recursion, numbers exact to 64 bits, and the byte of every mistake is known.
 *
 *     header = { "name": {"dtype": string, "shape": [n, …], "data_offsets": [n, n]}, …,
 *                "__metadata__": {string: string, …} }  and spaces behind
 */
#include "files/safetensors_header.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"

typedef struct {
    char *text;
    size_t at, length;
    const char *name;
} cursor;

static const struct {
    const char *dtype;
    uint8_t bytes;
    const kd_number_format *format; /* NULL: its numbers are not read */
} DTYPE[] = {
    {"F32", 4, &kd_format_f32},
    {"F16", 2, &kd_format_f16},
    {"BF16", 2, &kd_format_bf16},
    {"F64", 8, &kd_format_f64},
    {"I64", 8, NULL},
    {"I32", 4, NULL},
    {"I16", 2, NULL},
    {"I8", 1, NULL},
    {"U64", 8, NULL},
    {"U32", 4, NULL},
    {"U16", 2, NULL},
    {"U8", 1, NULL},
    {"BOOL", 1, NULL},
    {"F8_E4M3", 1, &kd_format_f8_e4m3_tensor},
    {"F8_E5M2", 1, &kd_format_f8_e5m2},
};
enum { DTYPES = sizeof DTYPE / sizeof *DTYPE };

const kd_number_format *kd_safetensors_format(const char *dtype) {
    for (int i = 0; i < DTYPES; i++)
        if (strcmp(DTYPE[i].dtype, dtype) == 0) return DTYPE[i].format;
    return NULL;
}

int kd_safetensors_width(const char *dtype) {
    for (int i = 0; i < DTYPES; i++)
        if (strcmp(DTYPE[i].dtype, dtype) == 0) return DTYPE[i].bytes;
    return 0;
}

static int fail_at(const cursor *c, const char *expected) {
    return kd_fail(KD_EDATA, "%s: at byte %zu of the header: should be %s", c->name, c->at,
                   expected);
}

/* --- tokens ------------------------------------------------------------------------------------
 */

static char peek(cursor *c) {
    while (c->at < c->length && strchr(" \t\r\n", c->text[c->at]) && c->text[c->at]) c->at++;
    return c->at < c->length ? c->text[c->at] : '\0';
}

static bool take(cursor *c, char wanted) {
    if (peek(c) != wanted || c->at >= c->length) return false;
    c->at++;
    return true;
}

static int hex4(const char *digits, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < 4; i++) {
        char d = digits[i];
        int value = d >= '0' && d <= '9'   ? d - '0'
                    : d >= 'a' && d <= 'f' ? d - 'a' + 10
                    : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                           : -1;
        if (value < 0) return -1; /* also at the 0 behind the text */
        *out = *out << 4 | (uint32_t)value;
    }
    return 0;
}

static char *put_utf8(char *to, uint32_t code) {
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint32_t lead[] = {0, 0xC0, 0xE0, 0xF0};
    *to++ = (char)(lead[more] | code >> 6 * more);
    while (more-- > 0) *to++ = (char)(0x80 | (code >> 6 * more & 63));
    return to;
}

/* "\uXXXX", a pair of them above U+FFFF; c->at stands on the u. */
static int take_unicode(cursor *c, char **to) {
    uint32_t code, low;
    if (hex4(c->text + c->at + 1, &code) < 0) return fail_at(c, "four hexadecimal digits");
    c->at += 5;
    if (code >= 0xD800 && code < 0xDC00) {
        if (c->text[c->at] != '\\' || c->text[c->at + 1] != 'u' ||
            hex4(c->text + c->at + 2, &low) < 0 || low < 0xDC00 || low >= 0xE000)
            return fail_at(c, "the second half of a surrogate pair");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        c->at += 6;
    }
    if (code == 0 || (code >= 0xDC00 && code < 0xE000)) return fail_at(c, "a character");
    *to = put_utf8(*to, code);
    return KD_OK;
}

/* A string, decoded in place: what is written is never longer than what was read. */
static int take_string(cursor *c, char **out) {
    if (!take(c, '"')) return fail_at(c, "a string");
    char *to = *out = c->text + c->at;
    while (c->at < c->length && c->text[c->at] != '"') {
        char ch = c->text[c->at];
        if ((unsigned char)ch < 0x20) return fail_at(c, "a string without control characters");
        if (ch != '\\') {
            *to++ = ch;
            c->at++;
            continue;
        }
        ch = c->text[++c->at];
        static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
        const char *known = ch ? strchr(from, ch) : NULL;
        if (known) {
            *to++ = into[known - from];
            c->at++;
        } else if (ch == 'u') {
            int status = take_unicode(c, &to);
            if (status < 0) return status;
        } else
            return fail_at(c, "an escape of JSON");
    }
    if (c->at >= c->length) return fail_at(c, "the end of a string");
    c->at++; /* the quote, on which the 0 may be written */
    *to = '\0';
    return KD_OK;
}

static int take_number(cursor *c, uint64_t *out) {
    char first = peek(c);
    if (first < '0' || first > '9') return fail_at(c, "a whole number ≥ 0");
    *out = 0;
    size_t digits = 0;
    for (; c->at < c->length && c->text[c->at] >= '0' && c->text[c->at] <= '9'; c->at++, digits++)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(c->text[c->at] - '0'), out))
            return fail_at(c, "a number below 2^64");
    if (digits > 1 && first == '0') return fail_at(c, "a number without leading zeros");
    return KD_OK;
}

/* "[n, n, …]", at most `limit` of them. */
static int take_numbers(cursor *c, uint64_t *out, int limit, int *count) {
    *count = 0;
    if (!take(c, '[')) return fail_at(c, "'['");
    if (take(c, ']')) return KD_OK;
    do {
        if (*count == limit) return fail_at(c, "']': there are more numbers than can be");
        int status = take_number(c, &out[(*count)++]);
        if (status < 0) return status;
    } while (take(c, ','));
    return take(c, ']') ? KD_OK : fail_at(c, "',' or ']'");
}

/* --- the header --------------------------------------------------------------------------------
 */

static int take_metadata(cursor *c) {
    if (!take(c, '{')) return fail_at(c, "'{'");
    if (take(c, '}')) return KD_OK;
    do {
        char *key, *value;
        int status = take_string(c, &key);
        if (status == KD_OK && !take(c, ':')) status = fail_at(c, "':'");
        if (status == KD_OK) status = take_string(c, &value);
        if (status < 0) return status;
    } while (take(c, ','));
    return take(c, '}') ? KD_OK : fail_at(c, "',' or '}'");
}

/* That the bytes are what the shape and the dtype make. */
static int check_entry(kd_safetensors_entry *e, const uint64_t *shape, const uint64_t *offsets,
                       const char *name) {
    const uint64_t width = (uint64_t)kd_safetensors_width(e->dtype);
    uint64_t count = 1, bytes = 0;
    if (width == 0)
        return kd_fail(KD_EDATA, "%s: tensor '%s': unknown dtype '%s'", name, e->name, e->dtype);
    for (int i = 0; i < e->rank; i++) {
        if (shape[i] > INT64_MAX || __builtin_mul_overflow(count, shape[i], &count))
            return kd_fail(KD_EDATA, "%s: tensor '%s': the product of its shape overflows", name,
                           e->name);
        e->shape[i] = (int64_t)shape[i];
    }
    if (__builtin_mul_overflow(count, width, &bytes) || bytes > INT64_MAX)
        return kd_fail(KD_EDATA, "%s: tensor '%s': %llu values of %s overflow", name, e->name,
                       (unsigned long long)count, e->dtype);
    if (offsets[1] < offsets[0] || offsets[1] - offsets[0] != bytes)
        return kd_fail(KD_EDATA,
                       "%s: tensor '%s': data_offsets [%llu, %llu]; its shape and %s make %llu "
                       "bytes",
                       name, e->name, (unsigned long long)offsets[0],
                       (unsigned long long)offsets[1], e->dtype, (unsigned long long)bytes);
    e->count = (int64_t)count;
    e->begin = offsets[0];
    e->end = offsets[1];
    return KD_OK;
}

static int take_entry(cursor *c, kd_safetensors_entry *e) {
    uint64_t shape[KD_SAFETENSORS_RANK_MAX], offsets[2];
    bool dtype_seen = false, shape_seen = false, offsets_seen = false;
    int n = 0;
    if (!take(c, '{')) return fail_at(c, "'{'");
    do {
        char *key, *value;
        int status = take_string(c, &key);
        if (status == KD_OK && !take(c, ':')) status = fail_at(c, "':'");
        if (status < 0) return status;
        if (strcmp(key, "dtype") == 0 && !dtype_seen) {
            status = take_string(c, &value);
            e->dtype = value;
            dtype_seen = true;
        } else if (strcmp(key, "shape") == 0 && !shape_seen) {
            status = take_numbers(c, shape, KD_SAFETENSORS_RANK_MAX, &e->rank);
            shape_seen = true;
        } else if (strcmp(key, "data_offsets") == 0 && !offsets_seen) {
            status = take_numbers(c, offsets, 2, &n);
            offsets_seen = true;
        } else
            return fail_at(c, "one each of \"dtype\", \"shape\" and \"data_offsets\"");
        if (status < 0) return status;
    } while (take(c, ','));
    if (!take(c, '}')) return fail_at(c, "',' or '}'");
    if (!dtype_seen || !shape_seen || n != 2)
        return kd_fail(KD_EDATA,
                       "%s: tensor '%s': needs \"dtype\", \"shape\" and two \"data_offsets\"",
                       c->name, e->name);
    return check_entry(e, shape, offsets, c->name);
}

static int append(kd_safetensors_entry **entries, int64_t *count, int64_t *capacity,
                  const kd_safetensors_entry *entry) {
    if (*count == *capacity) {
        int64_t larger = *capacity ? 2 * *capacity : 64;
        kd_safetensors_entry *grown = realloc(*entries, kd_array_bytes(larger, sizeof *grown));
        if (!grown) return kd_fail_memory((size_t)larger * sizeof *grown, "a safetensors header");
        *entries = grown;
        *capacity = larger;
    }
    (*entries)[(*count)++] = *entry;
    return KD_OK;
}

int kd_safetensors_parse(kd_safetensors_entry **entries, int64_t *count, char *text, size_t length,
                         const char *name) {
    cursor c = {.text = text, .length = length, .name = name};
    int64_t capacity = 0;
    bool metadata_seen = false;
    *entries = NULL;
    *count = 0;
    if (length == 0 || text[0] != '{') return fail_at(&c, "'{'");
    c.at = 1;
    if (!take(&c, '}')) {
        do {
            char *key;
            int status = take_string(&c, &key);
            if (status == KD_OK && !take(&c, ':')) status = fail_at(&c, "':'");
            if (status < 0) return status;
            if (strcmp(key, "__metadata__") == 0) {
                if (metadata_seen) return fail_at(&c, "the only \"__metadata__\"");
                metadata_seen = true;
                status = take_metadata(&c);
            } else {
                kd_safetensors_entry entry = {.name = key};
                status = take_entry(&c, &entry);
                if (status == KD_OK) status = append(entries, count, &capacity, &entry);
            }
            if (status < 0) return status;
        } while (take(&c, ','));
        if (!take(&c, '}')) return fail_at(&c, "',' or '}'");
    }
    peek(&c);
    return c.at == length ? KD_OK : fail_at(&c, "nothing but spaces behind the last '}'");
}
