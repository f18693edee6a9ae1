#include "data/text_split.h"

#include <stdbool.h>
#include <string.h>

#include "base/unicode.h"

typedef enum { LETTERS, NUMBERS, SPACES, OTHERS } kind;

/* The kind of the character at text[*at], which is passed. */
static kind next_kind(const char *text, size_t length, size_t *at) {
    switch (kd_char_class_of(kd_utf8_next(text, length, at))) {
    case KD_CHAR_LETTER:
        return LETTERS;
    case KD_CHAR_DIGIT:
    case KD_CHAR_NUMBER:
        return NUMBERS;
    case KD_CHAR_SPACE:
        return SPACES;
    default:
        return OTHERS;
    }
}

/* --- GPT-2: in this order, at each place,
 *
 *   's 't 're 've 'm 'll 'd     ?letters     ?numbers     ?anything else that is no white space
 *   white space up to the last one before something else     white space
 *
 * where ? is at most one space. ---------------------------------------------------------------- */

static size_t contraction(const char *text, size_t length) {
    static const char *const ends[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    if (text[0] != '\'') return 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]);
        if (n <= length && memcmp(text, ends[i], n) == 0) return n;
    }
    return 0;
}

/* With `digits_alone` a text ends in front of each number, too. */
static size_t gpt2_piece(const char *text, size_t length, size_t at, bool digits_alone) {
    size_t short_form = contraction(text + at, length - at);
    if (short_form) return at + short_form;
    size_t end = at, last = at;
    kind first = next_kind(text, length, &end);
    if (first == NUMBERS && digits_alone) return end;
    if (first == SPACES && text[at] == ' ' && end < length) {
        size_t behind = end;
        kind second = next_kind(text, length, &behind);
        if (second == NUMBERS && digits_alone) return end;
        if (second != SPACES) {
            first = second;
            end = behind;
        }
    }
    bool over = true;
    while (end < length) {
        size_t behind = end;
        kind next = next_kind(text, length, &behind);
        over = next == NUMBERS && digits_alone;
        if (next != first) break;
        over = true;
        last = end;
        end = behind;
    }
    /* The last white space goes with what follows, unless it is alone or nothing follows. */
    return first == SPACES && !over && last > at ? last : end;
}

/* --- Llama 3 and Qwen 2: in this order,
 *
 *   's 't 're 've 'm 'll 'd in any case     one other than newline, letter, number, and letters
 *   numbers, at most 3 or 1     ?anything that is no space, letter or number, and newlines
 *   white space that ends with newlines     as GPT-2
 * ---------------------------------------------------------------------------------------------- */

static bool is_newline(char c) {
    return c == '\n' || c == '\r';
}

/* The letter at text[at] in lower case; "ſ" is an s in any case. 0 when it is none of a to z. */
static char folded(const char *text, size_t length, size_t *at) {
    if (*at >= length) return 0;
    const uint32_t c = kd_utf8_next(text, length, at);
    if (c == 0x17F) return 's';
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c >= 'a' && c <= 'z' ? c : 0);
}

static size_t contraction_any_case(const char *text, size_t length, size_t at) {
    if (text[at] != '\'') return 0;
    size_t one = at + 1, two;
    const char a = folded(text, length, &one);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return one;
    two = one;
    const char b = folded(text, length, &two);
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? two : 0;
}

/* Behind all characters of one kind from `at` on, at most `most`. */
static size_t pass(const char *text, size_t length, size_t at, kind of, size_t most) {
    for (size_t n = 0; at < length && n < most; n++) {
        size_t behind = at;
        if (next_kind(text, length, &behind) != of) break;
        at = behind;
    }
    return at;
}

static size_t space_piece(const char *text, size_t length, size_t at) {
    size_t end = at, last = at, newline = at;
    while (end < length) {
        size_t behind = end;
        if (next_kind(text, length, &behind) != SPACES) break;
        if (is_newline(text[end])) newline = behind;
        last = end;
        end = behind;
    }
    if (newline > at) return newline;
    return end < length && last > at ? last : end;
}

static size_t llama3_piece(const char *text, size_t length, size_t at, size_t digits) {
    const size_t short_form = contraction_any_case(text, length, at);
    if (short_form) return short_form;
    size_t end = at, behind;
    const kind first = next_kind(text, length, &end);
    if (first == LETTERS) return pass(text, length, end, LETTERS, SIZE_MAX);
    if (first == NUMBERS) return pass(text, length, end, NUMBERS, digits - 1);
    behind = end;
    const kind second = end < length ? next_kind(text, length, &behind) : SPACES;
    if (second == LETTERS && !is_newline(text[at]))
        return pass(text, length, behind, LETTERS, SIZE_MAX);
    if (first == SPACES && (text[at] != ' ' || second != OTHERS))
        return space_piece(text, length, at);
    end = pass(text, length, end, OTHERS, SIZE_MAX);
    while (end < length && is_newline(text[end])) end++;
    return end;
}

/* --- SentencePiece's words -------------------------------------------------------------------- */

static size_t word_piece(const char *text, size_t length, size_t at) {
    static const char space[] = "\xE2\x96\x81";
    for (size_t i = at + 1; i + 3 <= length; i++)
        if (memcmp(text + i, space, 3) == 0) return i;
    return length;
}

size_t kd_split_next(kd_split how, const char *text, size_t length, size_t at) {
    switch (how) {
    case KD_SPLIT_NONE:
        return length;
    case KD_SPLIT_GPT2:
        return gpt2_piece(text, length, at, false);
    case KD_SPLIT_DIGITS:
        return gpt2_piece(text, length, at, true);
    case KD_SPLIT_LLAMA3:
        return llama3_piece(text, length, at, 3);
    case KD_SPLIT_QWEN2:
        return llama3_piece(text, length, at, 1);
    case KD_SPLIT_WORDS:
        return word_piece(text, length, at);
    }
    return length;
}

#define SHORT_FORMS    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define BEHIND_NUMBERS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const char *kd_split_expression(kd_split how) {
    switch (how) {
    case KD_SPLIT_GPT2:
        return "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    case KD_SPLIT_LLAMA3:
        return SHORT_FORMS "\\p{N}{1,3}" BEHIND_NUMBERS;
    case KD_SPLIT_QWEN2:
        return SHORT_FORMS "\\p{N}" BEHIND_NUMBERS;
    default:
        return NULL;
    }
}

kd_split kd_split_of_expression(const char *expression) {
    static const kd_split all[] = {KD_SPLIT_GPT2, KD_SPLIT_LLAMA3, KD_SPLIT_QWEN2};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(expression, kd_split_expression(all[i])) == 0) return all[i];
    return KD_SPLIT_NONE;
}
