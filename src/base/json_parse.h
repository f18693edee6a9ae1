/* The strict grammar behind json.c (RFC 8259): builds the tree and says exactly where a text stops
 * being JSON. */
#ifndef KD_BASE_JSON_PARSE_H
#define KD_BASE_JSON_PARSE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *text; /* 0-terminated */
    size_t length;
    int first_line; /* what the text's first line is called   */
    size_t at;      /* on failure: the offset of what is wrong */
    char what[160]; /* and what that is                        */
    bool failed_memory;
    int depth;
} kd_json_parser;

/* Set text, length and first_line, the rest 0. The tree, which the caller deletes; `valueint` of
 * every item is the offset of its value or, for a member, of its key. NULL on failure. */
cJSON *kd_json_build(kd_json_parser *parser);

/* The offset of the value whose key is at offset `key` of a text that was parsed. */
size_t kd_json_value_behind_key(const char *text, size_t key);

/* The line, counted from `first_line`, and the column in characters, from 1, of an offset. */
void kd_json_line_and_column(const char *text, size_t offset, int first_line, int *line,
                             int *column);

/* Whole numbers from here on keep their digits: cJSON prints 15 of them, and beyond 2^53 their
 * double is another number. */
#define KD_JSON_DIGITS_FROM 1e15

/* Keeps the text of a number, `length` bytes, in `valuestring`, which is cJSON's to copy and to
 * free, where the 15 digits that cJSON prints are not enough. False when memory is out. */
bool kd_json_keep_digits(cJSON *number, const char *text, size_t length);

#endif
