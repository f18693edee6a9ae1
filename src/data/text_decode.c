/* Tokens back to text. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/unicode.h"
#include "data/text_tokenizer_inside.h"

static bool is_special(const kd_text_tokenizer *t, int32_t id) {
    return t->kind[id] == KD_TOKEN_CONTROL || t->kind[id] == KD_TOKEN_UNKNOWN;
}

/* Marks become spaces, byte tokens bytes. Returns the length. */
static size_t put_marked(char *out, const kd_text_tokenizer *t, int32_t id) {
    const kd_token_bytes token = kd_token_table_get(&t->table, id);
    size_t n = 0;
    if (t->kind[id] == KD_TOKEN_BYTE) {
        out[0] = (char)strtol(token.bytes + 3, NULL, 16);
        return 1;
    }
    for (size_t i = 0; i < token.length; i++) {
        const bool mark = i + 3 <= token.length && memcmp(token.bytes + i, "\xE2\x96\x81", 3) == 0;
        out[n++] = mark ? ' ' : token.bytes[i];
        if (mark) i += 2;
    }
    return n;
}

/* Punctuation and short forms that stand right behind a word once it is tidied. */
static bool stands_close(kd_token_bytes token) {
    static const char *const close[] = {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"};
    for (size_t i = 0; i < sizeof close / sizeof *close; i++) {
        const size_t n = strlen(close[i]);
        if (token.length >= n && memcmp(token.bytes, close[i], n) == 0) return true;
    }
    return false;
}

static size_t put_wordpiece(char *out, const kd_text_tokenizer *t, int32_t id, bool first) {
    kd_token_bytes token = kd_token_table_get(&t->table, id);
    size_t n = 0;
    if (!first && token.length >= 2 && memcmp(token.bytes, "##", 2) == 0) {
        token.bytes += 2;
        token.length -= 2;
    } else if (!first && !(t->tidy && stands_close(token))) {
        out[n++] = ' ';
    }
    if (token.length) memcpy(out + n, token.bytes, token.length);
    return n + token.length;
}

/* `first`: nothing stands before it. */
static size_t put_token(char *out, const kd_text_tokenizer *t, int32_t id, bool first) {
    const kd_token_bytes token = kd_token_table_get(&t->table, id);
    switch (t->decode) {
    case KD_DECODE_SPACES:
        return put_marked(out, t, id);
    case KD_DECODE_WORDPIECE:
        return put_wordpiece(out, t, id, first);
    case KD_DECODE_BYTES:
        break;
    }
    if (token.length) memcpy(out, token.bytes, token.length);
    return token.length;
}

int kd_text_tokenizer_decode(char **out, size_t *length, const kd_text_tokenizer *t,
                             const int32_t *id, int64_t count, bool specials) {
    size_t room = 1, at = 0;
    *out = NULL;
    for (int64_t i = 0; i < count; i++) {
        if (id[i] < 0 || id[i] >= t->ids.vocabulary)
            return kd_fail(KD_EDATA, "token %d at place %lld, should be below %d", id[i],
                           (long long)i, t->ids.vocabulary);
        room += kd_token_table_get(&t->table, id[i]).length + 1;
    }
    char *bytes = malloc(room), *text = malloc(3 * room);
    if (!bytes || !text) {
        free(bytes);
        free(text);
        return kd_fail_memory(4 * room, "a text");
    }
    bool first = true;
    for (int64_t i = 0; i < count; i++) {
        if (!specials && is_special(t, id[i])) continue;
        at += put_token(bytes + at, t, id[i], first);
        first = false;
    }
    const size_t skip = t->strip_first && at > 0 && bytes[0] == ' ' ? 1 : 0;
    const size_t written = kd_utf8_mend(text, bytes + skip, at - skip);
    text[written] = '\0';
    free(bytes);
    if (length) *length = written;
    *out = text;
    return KD_OK;
}
