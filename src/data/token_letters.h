/* GPT-2's letters: tokens are bytes, but vocabularies in files are texts, so every byte is written
 * as one character. The printable bytes of Latin-1 stand for themselves, the other 68, in their
 * order, are the characters from U+0100 on ("Ġ" is a space, "Ċ" a newline). */
#ifndef KD_DATA_TOKEN_LETTERS_H
#define KD_DATA_TOKEN_LETTERS_H

#include <stddef.h>
#include <stdint.h>

/* `length` bytes → UTF-8 in out, 0-terminated: at most 2·length + 1 bytes. */
void kd_letters_spell(char *out, const char *bytes, size_t length);

/* UTF-8 of `length` bytes → the bytes it stands for, never more of them; −1 when it holds another
 * character. `out` may be `text`. */
int64_t kd_letters_read(char *out, const char *text, size_t length);

#endif
