/* What the files of the text normalisers share: passes over characters. Private to src/data. */
#ifndef KD_DATA_TEXT_PASS_H
#define KD_DATA_TEXT_PASS_H

#include <stdbool.h>

#include "base/error.h"
#include "base/unicode.h"

/* What a pass writes. After a failure the rest is harmless; the status is looked at once. */
typedef struct {
    kd_chars chars;
    int status;
} kd_pass_out;

static inline void kd_pass_put(kd_pass_out *out, uint32_t c) {
    if (out->status == KD_OK) out->status = kd_chars_add(&out->chars, c);
}

static inline void kd_pass_put_chars(kd_pass_out *out, const uint32_t *at, size_t count) {
    for (size_t i = 0; i < count; i++) kd_pass_put(out, at[i]);
}

static inline void kd_pass_put_text(kd_pass_out *out, const char *ascii) {
    for (; *ascii; ascii++) kd_pass_put(out, (unsigned char)*ascii);
}

typedef void kd_pass(kd_pass_out *out, const kd_chars *in);

/* Replaces the text by what the pass makes of it. */
int kd_pass_run(kd_chars *text, kd_pass *pass);

/* White space as Python's str sees it. */
bool kd_pass_is_space(uint32_t c);
static inline bool kd_pass_is_ascii_digit(uint32_t c) {
    return c >= '0' && c <= '9';
}
/* Is there a border between a word and something else in front of position i ≤ count? */
bool kd_pass_at_border(const kd_chars *text, size_t i);
/* Does the ASCII text stand at position i? */
bool kd_pass_starts(const kd_chars *text, size_t i, const char *ascii);

/* The words of a text: [start, end) of the next one from *at on; false when there is none. */
bool kd_pass_next_word(const kd_chars *text, size_t *at, size_t *start, size_t *end);

/* The passes of english_number_text.c, in order: numbers written as words → digits. */
extern kd_pass *const kd_number_passes[];
extern const int kd_number_pass_count;

#endif
