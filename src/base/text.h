/* Small helps with text: what was meant by a misspelt word, UTF-8, growing strings. */
#ifndef KD_BASE_TEXT_H
#define KD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours,
 * case ignored. Words of more than 63 bytes are as far apart as the longer one is long. */
int kd_edit_distance(const char *a, const char *b);

/* The candidate nearest to `word`, or NULL when none is near enough to be meant: at most one edit
 * for every three letters, and at least one. Feed candidates one after the other. */
typedef struct {
    const char *word, *best; /* borrowed */
    int distance;
} kd_guess;

kd_guess kd_guess_begin(const char *word);
void kd_guess_offer(kd_guess *guess, const char *candidate);

/* The length of the valid UTF-8 character at the start of `length` bytes, or 0. */
int kd_utf8_length(const char *text, size_t length);
/* The length of the byte order mark that some editors put in front of UTF-8: 3 or 0. */
size_t kd_utf8_mark(const char *text, size_t length);
/* What is wrong with `text` as a name that stands in tables and files: "is not UTF-8" or "has a
 * control character"; else NULL. */
const char *kd_name_fault(const char *text);
/* Characters of a 0-terminated text: bytes that do not continue one. */
int kd_utf8_count(const char *text);

/* "1,234,567" */
void kd_format_count(char *out, size_t capacity, int64_t count);

/* A string that grows. Start with {0}. After a failed allocation `failed` stays set and the rest is
 * harmless, so a writer checks once at the end. */
typedef struct {
    char *text; /* 0-terminated once anything was added; free() it */
    size_t length, capacity;
    bool failed;
} kd_text;

void kd_text_add(kd_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* `length` bytes with '?' for control characters: for names that may come from anywhere. */
void kd_text_add_plain(kd_text *text, const char *bytes, size_t length);

/* Lays `rows` out in columns: cells end with a tab or, the last of a row, with a newline. `align`
 * has 'l' or 'r' for each column; more cells are a broken contract, so add what comes from
 * elsewhere with kd_text_add_plain. */
void kd_text_add_table(kd_text *text, const char *align, const char *rows);
/* The same of `rows` that are still growing, which are freed. */
int kd_text_add_rows(kd_text *out, const char *align, kd_text *rows);
/* KD_OK or KD_EINTERNAL (text is freed then); makes sure text->text is not NULL. */
int kd_text_finish(kd_text *text, const char *what);
/* Finishes the text, writes it whole as folder/name (base/file.h) unless it is empty, and frees it.
 */
int kd_text_save(kd_text *text, const char *folder, const char *name);

/* Whether `text` has `end` at its end. */
bool kd_ends_with(const char *text, const char *end);

/* Base64 → bytes in out, never more than `length`, with or without the "=" at the end; how many, or
 * −1 when it is not base64. */
int64_t kd_base64_decode(char *out, const char *text, size_t length);

#endif
