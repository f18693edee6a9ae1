/* How GPT-2 splits a text before it joins bytes. In this order, at each place:
 *
 *   's 't 're 've 'm 'll 'd     ?letters     ?numbers     ?anything else that is no white space
 *   white space up to the last one before something else     white space
 *
 * where ? is at most one space. */
#include <string.h>

#include "base/unicode.h"
#include "data/tokenizer_internal.h"

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

static size_t contraction(const char *text, size_t length) {
    static const char *const ends[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    if (text[0] != '\'') return 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]);
        if (n <= length && memcmp(text, ends[i], n) == 0) return n;
    }
    return 0;
}

size_t kd_tokenizer_piece(const char *text, size_t length, size_t at) {
    size_t short_form = contraction(text + at, length - at);
    if (short_form) return at + short_form;
    size_t end = at, last = at;
    kind first = next_kind(text, length, &end);
    if (first == SPACES && text[at] == ' ' && end < length) {
        size_t behind = end;
        kind second = next_kind(text, length, &behind);
        if (second != SPACES) {
            first = second;
            end = behind;
        }
    }
    while (end < length) {
        size_t behind = end;
        if (next_kind(text, length, &behind) != first) break;
        last = end;
        end = behind;
    }
    /* The last white space goes with what follows, unless it is alone or nothing follows. */
    return first == SPACES && end < length && last > at ? last : end;
}
