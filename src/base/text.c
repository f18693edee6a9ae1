#include "base/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

enum { WORD_MAX = 63 };

static int smallest(int a, int b) {
    return a < b ? a : b;
}

static bool same_letter(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

int kd_edit_distance(const char *a, const char *b) {
    int n = (int)strlen(a), m = (int)strlen(b);
    if (n > WORD_MAX || m > WORD_MAX) return n > m ? n : m;
    int row[3][WORD_MAX + 1]; /* distances of a[:i] for i, i−1, i−2 to every b[:j] */
    int *now = row[0], *before = row[1], *older = row[2];
    for (int j = 0; j <= m; j++) now[j] = j;
    for (int i = 1; i <= n; i++) {
        int *spare = older;
        older = before;
        before = now;
        now = spare;
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int changed = before[j - 1] + !same_letter(a[i - 1], b[j - 1]);
            now[j] = smallest(changed, 1 + smallest(before[j], now[j - 1]));
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
                same_letter(a[i - 2], b[j - 1]))
                now[j] = smallest(now[j], older[j - 2] + 1);
        }
    }
    return now[m];
}

kd_guess kd_guess_begin(const char *word) {
    int length = (int)strlen(word);
    return (kd_guess){.word = word, .distance = (length < 3 ? 1 : length / 3) + 1};
}

void kd_guess_offer(kd_guess *guess, const char *candidate) {
    int distance = kd_edit_distance(guess->word, candidate);
    /* A word of one or two letters is near to everything short: something must remain in common. */
    if (distance >= guess->distance || distance >= (int)strlen(candidate)) return;
    guess->distance = distance;
    guess->best = candidate;
}

int kd_utf8_length(const char *text, size_t length) {
    const unsigned char *s = (const unsigned char *)text;
    if (length == 0) return 0;
    if (s[0] < 0x80) return 1;
    int n = s[0] >= 0xC2 && s[0] <= 0xDF   ? 2
            : (s[0] & 0xF0) == 0xE0        ? 3
            : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4
                                           : 0;
    if (n == 0 || (size_t)n > length) return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xED && s[1] > 0x9F, beyond = s[0] == 0xF4 && s[1] > 0x8F;
    return overlong || surrogate || beyond ? 0 : n;
}

size_t kd_utf8_mark(const char *text, size_t length) {
    return length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}

const char *kd_name_fault(const char *text) {
    for (size_t left = strlen(text); left > 0;) {
        const int n = kd_utf8_length(text, left);
        const unsigned char *c = (const unsigned char *)text;
        if (n == 0) return "is not UTF-8";
        if (c[0] < 0x20 || c[0] == 0x7F || (c[0] == 0xC2 && c[1] < 0xA0))
            return "has a control character";
        text += n;
        left -= (size_t)n;
    }
    return NULL;
}

int kd_utf8_count(const char *text) {
    int count = 0;
    for (; *text; text++) count += (*text & 0xC0) != 0x80;
    return count;
}

void kd_format_count(char *out, size_t capacity, int64_t count) {
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)(count < 0 ? 0 : count));
    size_t used = 0;
    for (int i = 0; i < n && used + 2 < capacity; i++) {
        if (i > 0 && (n - i) % 3 == 0) out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
}

static bool reserve(kd_text *text, size_t more) {
    size_t needed = text->length + more + 1;
    if (needed <= text->capacity) return true;
    size_t capacity = text->capacity ? text->capacity : 256;
    while (capacity < needed) capacity *= 2;
    char *grown = realloc(text->text, capacity);
    if (!grown) return false;
    text->text = grown;
    text->capacity = capacity;
    return true;
}

void kd_text_add(kd_text *text, const char *format, ...) {
    if (text->failed) return;
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 || !reserve(text, (size_t)length)) {
        text->failed = true;
    } else {
        vsnprintf(text->text + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
}

/* Characters of the cell at `cell`, and its bytes without spaces at the end. */
static int measure_cell(const char *cell, size_t *bytes) {
    size_t length = strcspn(cell, "\t\n");
    int count = 0;
    for (size_t i = 0; i < length; i++) count += (cell[i] & 0xC0) != 0x80;
    while (length > 0 && cell[length - 1] == ' ') length--;
    *bytes = length;
    return count;
}

void kd_text_add_plain(kd_text *text, const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i];
        kd_text_add(text, "%c", c < 0x20 || c == 0x7F ? '?' : c);
    }
}

void kd_text_add_table(kd_text *text, const char *align, const char *rows) {
    enum { COLUMNS_MAX = 32, GAP = 3 };
    int width[COLUMNS_MAX] = {0}, columns = (int)strlen(align), column = 0;
    size_t bytes;
    KD_CONTRACT(columns <= COLUMNS_MAX, "a table of %d columns", columns);
    for (const char *p = rows; *p; p += strcspn(p, "\t\n") + 1) {
        KD_CONTRACT(column < columns, "a row of more than %d cells", columns);
        int n = measure_cell(p, &bytes);
        if (n > width[column]) width[column] = n;
        column = p[strcspn(p, "\t\n")] == '\n' ? 0 : column + 1;
    }
    int blank = 0; /* spaces owed, so that none stand at a line's end */
    for (const char *p = rows; *p; p += strcspn(p, "\t\n") + 1) {
        int gap = width[column] - measure_cell(p, &bytes);
        int trailing = (int)(strcspn(p, "\t\n") - bytes);
        if (align[column] == 'r') blank += gap;
        if (bytes > 0) {
            kd_text_add(text, "%*s%.*s", blank, "", (int)bytes, p);
            blank = 0;
        }
        blank += trailing + (align[column] == 'r' ? 0 : gap) + GAP;
        if (p[strcspn(p, "\t\n")] != '\n') {
            column++;
            continue;
        }
        kd_text_add(text, "\n");
        column = blank = 0;
    }
}

int kd_text_finish(kd_text *text, const char *what) {
    kd_text_add(text, "%s", "");
    if (!text->failed) return KD_OK;
    size_t bytes = text->capacity;
    free(text->text);
    *text = (kd_text){0};
    return kd_fail_memory(bytes, what);
}

int kd_text_save(kd_text *text, const char *folder, const char *name) {
    char path[KD_PATH_MAX];
    int status = kd_text_finish(text, name);
    if (status < 0) return status;
    if (text->length > 0) status = kd_path_join(path, folder, name);
    if (status == KD_OK && text->length > 0)
        status = kd_file_replace(path, text->text, text->length);
    free(text->text);
    *text = (kd_text){0};
    return status;
}

int kd_text_add_rows(kd_text *out, const char *align, kd_text *rows) {
    int status = kd_text_finish(rows, "a table");
    if (status == KD_OK) kd_text_add_table(out, align, rows->text);
    free(rows->text);
    return status;
}

bool kd_ends_with(const char *text, const char *end) {
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static int base64_value(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

int64_t kd_base64_decode(char *out, const char *text, size_t length) {
    size_t digits = length;
    while (digits > 0 && length - digits < 2 && text[digits - 1] == '=') digits--;
    if (digits % 4 == 1) return -1;
    uint32_t bits = 0;
    int64_t done = 0;
    int held = 0;
    for (size_t i = 0; i < digits; i++) {
        int value = base64_value(text[i]);
        if (value < 0) return -1;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        out[done++] = (char)(bits >> held & 0xFF);
    }
    return done;
}
