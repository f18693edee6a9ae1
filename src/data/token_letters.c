#include "data/token_letters.h"

#include "base/unicode.h"

/* Bytes that do not print: 0x00 … 0x20, 0x7F … 0xA0, 0xAD. */
enum { FIRST = 0x21, SECOND = 0x22, LETTERS = 0x100 };

static uint32_t letter_of(unsigned char byte) {
    if (byte <= 0x20) return LETTERS + byte;
    if (byte >= 0x7F && byte <= 0xA0) return LETTERS + FIRST + byte - 0x7F;
    return byte == 0xAD ? LETTERS + FIRST + SECOND : byte;
}

/* −1: no letter */
static int byte_of(uint32_t letter) {
    if (letter < LETTERS) return letter_of((unsigned char)letter) == letter ? (int)letter : -1;
    const uint32_t place = letter - LETTERS;
    if (place < FIRST) return (int)place;
    if (place < FIRST + SECOND) return (int)(place - FIRST + 0x7F);
    return place == FIRST + SECOND ? 0xAD : -1;
}

void kd_letters_spell(char *out, const char *bytes, size_t length) {
    char *at = out;
    for (size_t i = 0; i < length; i++) at += kd_utf8_put(at, letter_of((unsigned char)bytes[i]));
    *at = '\0';
}

int64_t kd_letters_read(char *out, const char *text, size_t length) {
    int64_t n = 0;
    for (size_t at = 0; at < length;) {
        const int byte = byte_of(kd_utf8_next(text, length, &at));
        if (byte < 0) return -1;
        out[n++] = (char)byte;
    }
    return n;
}
