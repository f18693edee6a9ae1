/* What the tokenizers and the text normalisers need of Unicode (version 14). */
#ifndef KD_BASE_UNICODE_H
#define KD_BASE_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* By general category; tools/make_unicode.py writes these numbers. */
typedef enum {
    KD_CHAR_OTHER,  /* controls, formats, unassigned                      */
    KD_CHAR_LETTER, /* L*                                                 */
    KD_CHAR_DIGIT,  /* Nd                                                 */
    KD_CHAR_NUMBER, /* Nl, No                                             */
    KD_CHAR_ACCENT, /* Mn: marks that take no room                        */
    KD_CHAR_MARK,   /* Mc, Me                                             */
    KD_CHAR_SYMBOL, /* S*, P*: symbols and punctuation                    */
    KD_CHAR_SPACE   /* the property White_Space, whatever the category is */
} kd_char_class;

kd_char_class kd_char_class_of(uint32_t c);

/* The value of a decimal digit of any script (KD_CHAR_DIGIT), else −1. */
int kd_char_digit(uint32_t c);

/* Whether its category is one of P*: symbols ("+", "€") are not. */
bool kd_char_is_punctuation(uint32_t c);
/* Whether its category is Cf: joiners, marks of direction, the soft hyphen. */
bool kd_char_is_format(uint32_t c);

/* The lower case of one character by itself; "İ", whose lower case is two, stays. */
uint32_t kd_char_lower(uint32_t c);

/* Not a character: what kd_utf8_next says of bytes that are not UTF-8. */
#define KD_CHAR_INVALID UINT32_MAX

/* The character at text[*at], *at < length; *at moves behind it, or behind one byte that begins no
 * character. */
uint32_t kd_utf8_next(const char *text, size_t length, size_t *at);

/* Writes c (≤ 0x10FFFF) as UTF-8; the number of bytes. */
int kd_utf8_put(char out[4], uint32_t c);

/* The length of the bytes at the start of `text`, 1 to 3, that make one broken character: those of
 * a character that ends too early, else one. text[0] must not begin a valid character. */
int kd_utf8_broken(const char *text, size_t length);

/* Copies valid UTF-8, and U+FFFD for each broken character, at most 3·length bytes; returns how
 * many. */
size_t kd_utf8_mend(char *out, const char *bytes, size_t length);

/* Characters that grow. Start with {0}; free(at). */
typedef struct {
    uint32_t *at;
    size_t count, capacity;
} kd_chars;

/* KD_OK or KD_EINTERNAL, as the other functions below. */
int kd_chars_add(kd_chars *chars, uint32_t c);
/* UTF-8 → characters; what is not UTF-8 becomes U+FFFD. */
int kd_chars_decode(kd_chars *out, const char *text, size_t length);

/* Lower case in place, with the special cases of Unicode that depend on no language. */
int kd_chars_lower(kd_chars *chars);

/* In place: canonical decomposition (NFD), or that by compatibility (NFKD); composed again where
 * `compose` (NFC, NFKC). */
int kd_chars_normalize(kd_chars *chars, bool compose, bool compatible);

#endif
