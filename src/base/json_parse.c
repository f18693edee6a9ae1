#include "base/json_parse.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "base/unicode.h"

enum { NUMBER_MAX = 60 }; /* so that what is kept of one stays short */

static bool parse_value(kd_json_parser *parser, cJSON *item);

static bool wrong(kd_json_parser *parser, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool wrong(kd_json_parser *parser, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(parser->what, sizeof parser->what, format, arguments);
    va_end(arguments);
    return false;
}

/* The byte at the cursor, −1 at the end. */
static int peek(const kd_json_parser *parser) {
    return parser->at < parser->length ? (unsigned char)parser->text[parser->at] : -1;
}

static size_t skip_space(const char *text, size_t at) {
    while (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r') at++;
    return at;
}

/* "expected X, found Y", Y being what stands at the cursor. */
static bool expected(kd_json_parser *parser, const char *what) {
    int c = peek(parser);
    if (c < 0) return wrong(parser, "expected %s, but the text ends here", what);
    if (c == '/' || c == '#') return wrong(parser, "expected %s; JSON has no comments", what);
    if (c == '\'') return wrong(parser, "expected %s; JSON strings have double quotes", what);
    if (c > ' ' && c < 0x7F) return wrong(parser, "expected %s, found '%c'", what, c);
    return wrong(parser, "expected %s, found the byte 0x%02X", what, (unsigned)c);
}

static bool no_memory(kd_json_parser *parser) {
    parser->failed_memory = true;
    return false;
}

/* A new last item of `parent`, whose place is the cursor's; NULL when memory is out. */
static cJSON *add_item(kd_json_parser *parser, cJSON *parent) {
    cJSON *item = cJSON_CreateNull();
    if (!item || !cJSON_AddItemToArray(parent, item)) {
        cJSON_Delete(item);
        no_memory(parser);
        return NULL;
    }
    item->valueint = (int)parser->at;
    return item;
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

/* The cursor stands on a backslash; the character goes to *to. */
static bool parse_escape(kd_json_parser *parser, char **to) {
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    const char *text = parser->text + parser->at, c = text[1];
    const char *known = c ? strchr(from, c) : NULL;
    if (known) {
        *(*to)++ = into[known - from];
        parser->at += 2;
        return true;
    }
    if (c != 'u') return wrong(parser, "an escape that JSON does not have; use \\n, \\t, \\u…");
    int code = hex4(text, 2), second = -1;
    const bool high = code >= 0xD800 && code <= 0xDBFF, low = code >= 0xDC00 && code <= 0xDFFF;
    if (code <= 0)
        return wrong(parser, code ? "\\u wants four hexadecimal digits"
                                  : "\\u0000 cannot be part of a text here");
    if (high && text[6] == '\\' && text[7] == 'u') second = hex4(text, 8);
    const bool pair = second >= 0xDC00 && second <= 0xDFFF;
    if (low || (high && !pair)) return wrong(parser, "half of a surrogate pair");
    if (pair) code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
    *to += kd_utf8_put(*to, (uint32_t)code);
    parser->at += pair ? 12 : 6;
    return true;
}

/* No more bytes than the string at `text`, its opening quote included, is decoded to, and a 0. */
static size_t string_room(const char *text) {
    size_t n = 1;
    while (text[n] && text[n] != '"' && text[n] != '\n')
        n += text[n] == '\\' && text[n + 1] ? 2 : 1;
    return n;
}

/* The string at the cursor, decoded; cJSON's to free. NULL on failure. */
static char *parse_string(kd_json_parser *parser) {
    const size_t start = parser->at++;
    char *decoded = cJSON_malloc(string_room(parser->text + start)), *to = decoded;
    if (!decoded) no_memory(parser);
    for (bool good = decoded != NULL; good;) {
        const int c = peek(parser);
        const int n =
            c < 0 ? 0 : kd_utf8_length(parser->text + parser->at, parser->length - parser->at);
        if (c == '"') {
            parser->at++;
            *to = '\0';
            return decoded;
        }
        if (c < 0 || c == '\n') {
            parser->at = start;
            good = wrong(parser, "this string has no closing quote");
        } else if (c < 0x20)
            good = wrong(parser, "the control character 0x%02X in a string; write \\u%04X",
                         (unsigned)c, (unsigned)c);
        else if (c == '\\')
            good = parse_escape(parser, &to);
        else if (n == 0)
            good = wrong(parser, "the byte 0x%02X is not UTF-8", (unsigned)c);
        else {
            memcpy(to, parser->text + parser->at, (size_t)n);
            to += n;
            parser->at += (size_t)n;
        }
    }
    cJSON_free(decoded);
    return NULL;
}

static size_t digits_at(const char *text) {
    return strspn(text, "0123456789");
}

/* −? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static bool parse_number(kd_json_parser *parser, cJSON *item) {
    const char *start = parser->text + parser->at, *p = start;
    size_t n;
    if (*p == '-') p++;
    if ((n = digits_at(p)) == 0) return wrong(parser, "a number needs a digit here");
    if (*p == '0' && n > 1) return wrong(parser, "a number must not begin with 0");
    p += n;
    if (*p == '.') {
        if ((n = digits_at(++p)) == 0)
            return wrong(parser, "a number needs a digit behind its dot");
        p += n;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-') p++;
        if ((n = digits_at(p)) == 0) return wrong(parser, "a number needs digits behind its e");
        p += n;
    }
    if (p - start > NUMBER_MAX) return wrong(parser, "a number of more than %d digits", NUMBER_MAX);
    item->type = cJSON_Number;
    item->valuedouble = strtod(start, NULL);
    if (!isfinite(item->valuedouble)) return wrong(parser, "a number too large for a double");
    parser->at += (size_t)(p - start);
    return kd_json_keep_digits(item, start, (size_t)(p - start)) || no_memory(parser);
}

static bool parse_word(kd_json_parser *parser, cJSON *item) {
    static const char *const word[] = {"true", "false", "null"};
    static const int type[] = {cJSON_True, cJSON_False, cJSON_NULL};
    const char *text = parser->text + parser->at;
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    for (int i = 0; i < 3; i++)
        if (n == strlen(word[i]) && memcmp(text, word[i], n) == 0) {
            item->type = type[i];
            parser->at += n;
            return true;
        }
    if (n > 0)
        return wrong(parser,
                     "expected a value, found '%.*s' (JSON has true, false, null; texts have "
                     "double quotes)",
                     (int)(n < 40 ? n : 40), text);
    return expected(parser, "a value");
}

static bool parse_member(kd_json_parser *parser, cJSON *object) {
    if (peek(parser) != '"') return expected(parser, "a key in double quotes");
    cJSON *item = add_item(parser, object);
    if (!item || !(item->string = parse_string(parser))) return false;
    parser->at = skip_space(parser->text, parser->at);
    if (peek(parser) != ':') return expected(parser, "':' behind the key");
    parser->at = skip_space(parser->text, parser->at + 1);
    return parse_value(parser, item);
}

static bool parse_entry(kd_json_parser *parser, cJSON *list) {
    cJSON *item = add_item(parser, list);
    return item && parse_value(parser, item);
}

static int by_key(const void *a, const void *b) {
    const cJSON *x = *(cJSON *const *)a, *y = *(cJSON *const *)b;
    int order = strcmp(x->string, y->string);
    return order ? order : (x->valueint > y->valueint) - (x->valueint < y->valueint);
}

/* Finds a key that the object has twice. */
static bool keys_differ(kd_json_parser *parser, const cJSON *object) {
    const int n = cJSON_GetArraySize(object);
    if (n < 2) return true;
    const cJSON **member = malloc((size_t)n * sizeof *member);
    if (!member) return no_memory(parser);
    int i = 0, line, column;
    for (const cJSON *child = object->child; child; child = child->next) member[i++] = child;
    qsort(member, (size_t)n, sizeof *member, by_key);
    for (i = 1; i < n && strcmp(member[i - 1]->string, member[i]->string) != 0;) i++;
    const cJSON *first = member[i - 1], *second = i < n ? member[i] : NULL;
    free(member);
    if (!second) return true;
    kd_json_line_and_column(parser->text, (size_t)first->valueint, parser->first_line, &line,
                            &column);
    parser->at = (size_t)second->valueint;
    return wrong(parser, "the key \"%.100s\" is there twice, first on line %d", second->string,
                 line);
}

/* The cursor stands on the opening bracket. */
static bool parse_container(kd_json_parser *parser, cJSON *item, int close) {
    const bool object = close == '}';
    item->type = object ? cJSON_Object : cJSON_Array;
    if (++parser->depth > KD_JSON_DEPTH_MAX)
        return wrong(parser, "nested more than %d levels deep", KD_JSON_DEPTH_MAX);
    parser->at = skip_space(parser->text, parser->at + 1);
    bool first = true;
    while (peek(parser) != close || !first) {
        if (!first && peek(parser) == close)
            return wrong(parser, "a comma must not stand before '%c'", close);
        if (object ? !parse_member(parser, item) : !parse_entry(parser, item)) return false;
        first = false;
        parser->at = skip_space(parser->text, parser->at);
        if (peek(parser) == close) break;
        if (peek(parser) != ',') return expected(parser, object ? "',' or '}'" : "',' or ']'");
        parser->at = skip_space(parser->text, parser->at + 1);
    }
    parser->at++;
    parser->depth--;
    return !object || keys_differ(parser, item);
}

static bool parse_value(kd_json_parser *parser, cJSON *item) {
    const int c = peek(parser);
    if (c == '{') return parse_container(parser, item, '}');
    if (c == '[') return parse_container(parser, item, ']');
    if (c == '-' || (c >= '0' && c <= '9')) return parse_number(parser, item);
    if (c != '"') return parse_word(parser, item);
    item->type = cJSON_String;
    return (item->valuestring = parse_string(parser)) != NULL;
}

cJSON *kd_json_build(kd_json_parser *parser) {
    if (parser->length > INT_MAX) {
        wrong(parser, "more than 2 GiB of text");
        return NULL;
    }
    cJSON *root = cJSON_CreateNull();
    if (!root) {
        no_memory(parser);
        return NULL;
    }
    parser->at = skip_space(parser->text, 0);
    root->valueint = (int)parser->at;
    bool good = parse_value(parser, root);
    if (good) {
        parser->at = skip_space(parser->text, parser->at);
        good =
            parser->at == parser->length || expected(parser, "nothing behind the end of the value");
    }
    if (good) return root;
    cJSON_Delete(root);
    return NULL;
}

bool kd_json_keep_digits(cJSON *number, const char *text, size_t length) {
    const bool whole =
        !memchr(text, '.', length) && !memchr(text, 'e', length) && !memchr(text, 'E', length);
    char printed[32];
    snprintf(printed, sizeof printed, "%.15g", number->valuedouble);
    if (whole ? fabs(number->valuedouble) < KD_JSON_DIGITS_FROM
              : strtod(printed, NULL) == number->valuedouble)
        return true;
    number->valuestring = cJSON_malloc(length + 1);
    if (!number->valuestring) return false;
    memcpy(number->valuestring, text, length);
    number->valuestring[length] = '\0';
    return true;
}

size_t kd_json_value_behind_key(const char *text, size_t key) {
    size_t at = key + 1;
    while (text[at] != '"') at += text[at] == '\\' ? 2 : 1;
    at = skip_space(text, at + 1);
    return skip_space(text, at + 1); /* behind the colon */
}

void kd_json_line_and_column(const char *text, size_t offset, int first_line, int *line,
                             int *column) {
    *line = first_line;
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
