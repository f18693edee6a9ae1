#include "base/json_scan.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"

enum { NUMBER_MAX = 60 }; /* cJSON looks at 63 characters of a number */

static bool scan_value(kd_json_scan *scan);

static bool wrong(kd_json_scan *scan, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool wrong(kd_json_scan *scan, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(scan->what, sizeof scan->what, format, arguments);
    va_end(arguments);
    return false;
}

/* The byte at the cursor, −1 at the end. */
static int peek(const kd_json_scan *scan) {
    return scan->at < scan->length ? (unsigned char)scan->text[scan->at] : -1;
}

static size_t skip_space(const char *text, size_t at) {
    while (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r') at++;
    return at;
}

/* "expected X, found Y", Y being what stands at the cursor. */
static bool expected(kd_json_scan *scan, const char *what) {
    int c = peek(scan);
    if (c < 0) return wrong(scan, "expected %s, but the text ends here", what);
    if (c == '/' || c == '#') return wrong(scan, "expected %s; JSON has no comments", what);
    if (c == '\'') return wrong(scan, "expected %s; JSON strings have double quotes", what);
    if (c > ' ' && c < 0x7F) return wrong(scan, "expected %s, found '%c'", what, c);
    return wrong(scan, "expected %s, found the byte 0x%02X", what, (unsigned)c);
}

static bool note_offset(kd_json_scan *scan) {
    if (scan->count == scan->capacity) {
        size_t capacity = scan->capacity ? 2 * scan->capacity : 256;
        int *grown = realloc(scan->offset, capacity * sizeof *grown);
        if (!grown) {
            scan->failed_memory = true;
            return false;
        }
        scan->offset = grown;
        scan->capacity = capacity;
    }
    scan->offset[scan->count++] = (int)scan->at;
    return true;
}

/* Four hexadecimal digits at `at`, or −1. */
static int hex4(const char *text, size_t at) {
    int value = 0;
    for (size_t i = at; i < at + 4; i++) {
        const char *digits = "0123456789abcdef", *found;
        int lower = text[i] >= 'A' && text[i] <= 'F' ? text[i] + 32 : text[i];
        if (lower == '\0' || !(found = strchr(digits, lower))) return -1;
        value = value * 16 + (int)(found - digits);
    }
    return value;
}

/* The cursor stands on a backslash. */
static bool scan_escape(kd_json_scan *scan) {
    char c = scan->text[scan->at + 1];
    if (c && strchr("\"\\/bfnrt", c)) {
        scan->at += 2;
        return true;
    }
    if (c != 'u') return wrong(scan, "an escape that JSON does not have; use \\n, \\t, \\u…");
    int code = hex4(scan->text, scan->at + 2);
    bool high = code >= 0xD800 && code <= 0xDBFF, low = code >= 0xDC00 && code <= 0xDFFF;
    if (code <= 0)
        return wrong(scan, code ? "\\u wants four hexadecimal digits"
                                : "\\u0000 cannot be part of a text here");
    if (high && scan->text[scan->at + 6] == '\\' && scan->text[scan->at + 7] == 'u') {
        int second = hex4(scan->text, scan->at + 8);
        if (second >= 0xDC00 && second <= 0xDFFF) {
            scan->at += 12;
            return true;
        }
    }
    if (high || low) return wrong(scan, "half of a surrogate pair");
    scan->at += 6;
    return true;
}

static bool scan_string(kd_json_scan *scan) {
    size_t start = scan->at++;
    for (;;) {
        int c = peek(scan);
        if (c < 0 || c == '\n') {
            scan->at = start;
            return wrong(scan, "this string has no closing quote");
        }
        if (c == '"') break;
        if (c < 0x20)
            return wrong(scan, "the control character 0x%02X in a string; write \\u%04X",
                         (unsigned)c, (unsigned)c);
        if (c == '\\') {
            if (!scan_escape(scan)) return false;
            continue;
        }
        int n = kd_utf8_length(scan->text + scan->at, scan->length - scan->at);
        if (!n) return wrong(scan, "the byte 0x%02X is not UTF-8", (unsigned)c);
        scan->at += (size_t)n;
    }
    scan->at++;
    return true;
}

static size_t digits_at(const char *text) {
    return strspn(text, "0123456789");
}

/* −? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static bool scan_number(kd_json_scan *scan) {
    const char *start = scan->text + scan->at, *p = start;
    size_t n;
    if (*p == '-') p++;
    if ((n = digits_at(p)) == 0) return wrong(scan, "a number needs a digit here");
    if (*p == '0' && n > 1) return wrong(scan, "a number must not begin with 0");
    p += n;
    if (*p == '.') {
        if ((n = digits_at(++p)) == 0) return wrong(scan, "a number needs a digit behind its dot");
        p += n;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-') p++;
        if ((n = digits_at(p)) == 0) return wrong(scan, "a number needs digits behind its e");
        p += n;
    }
    if (p - start > NUMBER_MAX) return wrong(scan, "a number of more than %d digits", NUMBER_MAX);
    if (!isfinite(strtod(start, NULL))) return wrong(scan, "a number too large for a double");
    scan->at += (size_t)(p - start);
    return true;
}

static bool scan_word(kd_json_scan *scan) {
    static const char *const word[] = {"true", "false", "null"};
    size_t n =
        strspn(scan->text + scan->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    for (int i = 0; i < 3; i++)
        if (n == strlen(word[i]) && memcmp(scan->text + scan->at, word[i], n) == 0) {
            scan->at += n;
            return true;
        }
    if (n > 0)
        return wrong(scan,
                     "expected a value, found '%.*s' (JSON has true, false, null; texts have "
                     "double quotes)",
                     (int)(n < 40 ? n : 40), scan->text + scan->at);
    return expected(scan, "a value");
}

static bool scan_member(kd_json_scan *scan) {
    if (peek(scan) != '"') return expected(scan, "a key in double quotes");
    if (!note_offset(scan) || !scan_string(scan)) return false;
    scan->at = skip_space(scan->text, scan->at);
    if (peek(scan) != ':') return expected(scan, "':' behind the key");
    scan->at = skip_space(scan->text, scan->at + 1);
    return scan_value(scan);
}

/* The cursor stands on the opening bracket. */
static bool scan_container(kd_json_scan *scan, int close) {
    bool object = close == '}';
    if (++scan->depth > KD_JSON_DEPTH_MAX)
        return wrong(scan, "nested more than %d levels deep", KD_JSON_DEPTH_MAX);
    scan->at = skip_space(scan->text, scan->at + 1);
    bool first = true;
    while (peek(scan) != close || !first) {
        if (!first && peek(scan) == close)
            return wrong(scan, "a comma must not stand before '%c'", close);
        if (object ? !scan_member(scan) : !(note_offset(scan) && scan_value(scan))) return false;
        first = false;
        scan->at = skip_space(scan->text, scan->at);
        if (peek(scan) == close) break;
        if (peek(scan) != ',') return expected(scan, object ? "',' or '}'" : "',' or ']'");
        scan->at = skip_space(scan->text, scan->at + 1);
    }
    scan->at++;
    scan->depth--;
    return true;
}

static bool scan_value(kd_json_scan *scan) {
    int c = peek(scan);
    if (c == '{') return scan_container(scan, '}');
    if (c == '[') return scan_container(scan, ']');
    if (c == '"') return scan_string(scan);
    if (c == '-' || (c >= '0' && c <= '9')) return scan_number(scan);
    return scan_word(scan);
}

bool kd_json_scan_all(kd_json_scan *scan) {
    if (scan->length > INT_MAX) return wrong(scan, "more than 2 GiB of text");
    scan->at = skip_space(scan->text, 0);
    if (!note_offset(scan) || !scan_value(scan)) return false;
    scan->at = skip_space(scan->text, scan->at);
    return scan->at == scan->length || expected(scan, "nothing behind the end of the value");
}

size_t kd_json_value_behind_key(const char *text, size_t key) {
    size_t at = key + 1;
    while (text[at] != '"') at += text[at] == '\\' ? 2 : 1;
    at = skip_space(text, at + 1);
    return skip_space(text, at + 1); /* behind the colon */
}
