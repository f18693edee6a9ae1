/* WordPiece as BERT has it: words between white space, each punctuation mark alone; of a word the
 * longest token from its start, then the longest of "##" and what follows. A word that does not
 * come out, or is too long, is unknown. */
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "base/unicode.h"
#include "data/text_tokenizer_inside.h"

/* All that is neither letter nor digit in ASCII is punctuation for BERT. */
static bool is_punctuation(uint32_t c) {
    if (c >= 0x80) return kd_char_is_punctuation(c);
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
           (c >= 123 && c <= 126);
}

/* The longest token that bytes [at, length) begin with, "##" in front unless at the start; *end is
 * where it ends. −1: none. */
static int32_t longest(const kd_text_tokenizer *t, const char *word, size_t length, size_t at,
                       size_t *end) {
    const char *const front = at > 0 ? "##" : "";
    const uint64_t start = kd_token_hash(KD_TOKEN_HASH, front, strlen(front));
    char text[512];
    int32_t found = -1;
    size_t n = strlen(front), to = at;
    uint64_t hash = start;
    memcpy(text, front, n);
    while (to < length) {
        const size_t one = (size_t)kd_utf8_length(word + to, length - to);
        if (n + one > sizeof text || n + one > t->table.longest) break;
        memcpy(text + n, word + to, one);
        hash = kd_token_hash(hash, word + to, one);
        n += one;
        to += one;
        const int32_t id = kd_token_table_find_hashed(&t->table, hash, text, n);
        if (id < 0) continue;
        found = id;
        *end = to;
    }
    return found;
}

static int encode_word(kd_text_encoder *e, const char *word, size_t length, int32_t characters) {
    const int64_t before = e->count;
    int status = KD_OK;
    for (size_t at = 0, end = 0; at < length && status == KD_OK; at = end) {
        const int32_t id = characters > e->t->word_max ? -1 : longest(e->t, word, length, at, &end);
        if (id < 0) {
            e->count = before;
            return kd_text_encoder_unknown(e, word, length);
        }
        status = kd_text_encoder_put(e, id);
    }
    return status;
}

int kd_text_encode_wordpiece(kd_text_encoder *e, const char *text, size_t length) {
    size_t word = 0; /* where the word began that is being read */
    int32_t characters = 0;
    int status = KD_OK;
    for (size_t at = 0; at < length && status == KD_OK;) {
        const size_t start = at;
        const uint32_t c = kd_utf8_next(text, length, &at);
        const bool space = kd_char_class_of(c) == KD_CHAR_SPACE, mark = is_punctuation(c);
        if (!space && !mark) {
            if (characters++ == 0) word = start;
            continue;
        }
        if (characters > 0) status = encode_word(e, text + word, start - word, characters);
        characters = 0;
        if (mark && status == KD_OK) status = encode_word(e, text + start, at - start, 1);
    }
    if (characters > 0 && status == KD_OK)
        status = encode_word(e, text + word, length - word, characters);
    return status;
}
