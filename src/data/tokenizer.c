#include "data/tokenizer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "base/unicode.h"
#include "data/bpe.h"
#include "data/text_split.h"
#include "data/tokenizer_internal.h"

/* --- the table of tokens ---------------------------------------------------------------------- */

kd_token_bytes kd_tokenizer_token(const kd_tokenizer *t, int32_t id) {
    KD_CONTRACT(id >= 0 && id < t->ids.vocabulary, "token %d of %d", id, t->ids.vocabulary);
    return kd_token_table_get(&t->table, id);
}

int32_t kd_tokenizer_find(const kd_tokenizer *t, const char *bytes, size_t length) {
    return kd_token_table_find(&t->table, bytes, length);
}

/* The multilingual vocabulary has an empty token, which is not found. */
static int index_ordinary(kd_tokenizer *t, const char *name) {
    int status = KD_OK;
    for (int32_t id = 0; id < t->ids.end && status == KD_OK; id++)
        status = kd_token_table_index(&t->table, id, name);
    for (int b = 0; b < 256 && status == KD_OK; b++) {
        char byte = (char)b;
        t->byte[b] = kd_tokenizer_find(t, &byte, 1);
        if (t->byte[b] < 0)
            status = kd_fail(KD_EDATA, "%s: no token for the byte 0x%02X", name, (unsigned)b);
    }
    return status;
}

/* Copies the ordinary tokens, the special ones by their text, and the added. */
static int fill_table(kd_tokenizer *t, const kd_token_bytes *token, const kd_token_bytes *added,
                      const char *name) {
    const int32_t ordinary = t->ids.end, all = t->ids.vocabulary, own = t->ids.added;
    kd_token_bytes *list = malloc((size_t)all * sizeof *list);
    char(*text)[KD_SPECIAL_TEXT_MAX] = malloc((size_t)(own - ordinary) * sizeof *text);
    if (!list || !text) {
        free(list);
        free(text);
        return kd_fail_memory((size_t)all * sizeof *list, name);
    }
    for (int32_t i = 0; i < all; i++) {
        char *special = text[i >= ordinary && i < own ? i - ordinary : 0];
        if (i < ordinary)
            list[i] = token[i];
        else if (i >= own)
            list[i] = added[i - own];
        else
            list[i] = (kd_token_bytes){special, (size_t)kd_token_special_text(special, &t->ids, i)};
    }
    const int status = kd_token_table_fill(&t->table, list, all, name);
    free(list);
    free(text);
    return status;
}

int kd_tokenizer_create(kd_tokenizer **out, const kd_token_bytes *token, int64_t count,
                        int64_t vocabulary, const char *name) {
    return kd_tokenizer_create_added(out, token, count, vocabulary, &(kd_added_tokens){0}, name);
}

int kd_tokenizer_create_added(kd_tokenizer **out, const kd_token_bytes *token, int64_t count,
                              int64_t vocabulary, const kd_added_tokens *added, const char *name) {
    static const char end[] = "<|endoftext|>";
    *out = NULL;
    for (int64_t i = 0; i < count; i++)
        if (token[i].length == sizeof end - 1 && memcmp(token[i].bytes, end, sizeof end - 1) == 0)
            count = i;
    kd_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return kd_fail_memory(sizeof *t, name);
    int status = kd_token_ids_layout(&t->ids, count, vocabulary, added->count, name);
    if (status == KD_OK) status = fill_table(t, token, added->token, name);
    if (status == KD_OK) status = index_ordinary(t, name);
    if (status < 0) {
        kd_tokenizer_free(t);
        return status;
    }
    *out = t;
    return KD_OK;
}

int kd_tokenizer_copy(kd_tokenizer **out, const kd_tokenizer *t) {
    const size_t V = (size_t)t->ids.vocabulary;
    *out = NULL;
    kd_token_bytes *token = malloc(V * sizeof *token);
    if (!token) return kd_fail_memory(V * sizeof *token, "a tokenizer");
    for (int32_t i = 0; i < t->ids.vocabulary; i++) token[i] = kd_tokenizer_token(t, i);
    const kd_added_tokens added = {.token = token + t->ids.added,
                                   .count = t->ids.vocabulary - t->ids.added};
    const int status =
        kd_tokenizer_create_added(out, token, t->ids.end, (int64_t)V, &added, "a tokenizer");
    free(token);
    return status;
}

void kd_tokenizer_free(kd_tokenizer *t) {
    if (!t) return;
    kd_token_table_clear(&t->table);
    free(t);
}

const kd_token_ids *kd_tokenizer_ids(const kd_tokenizer *t) {
    return &t->ids;
}

kd_hash kd_tokenizer_hash(const kd_tokenizer *t) {
    size_t n = (size_t)t->ids.vocabulary + 1;
    kd_hash part[2] = {kd_hash_bytes(t->table.bytes, t->table.start[n - 1]),
                       kd_hash_bytes(t->table.start, n * sizeof *t->table.start)};
    return kd_hash_join(part, 2);
}

/* --- joining bytes ---------------------------------------------------------------------------- */

/* All whose union is a token, the lowest id first. */
static kd_join join_by_id(const void *tokenizer, const char *bytes, size_t length, int32_t left,
                          int32_t right) {
    (void)left;
    (void)right;
    const int32_t id = kd_tokenizer_find(tokenizer, bytes, length);
    return (kd_join){.id = id, .rank = id};
}

static int join_piece(kd_joiner *j, const kd_tokenizer *t, int32_t *out, int32_t *count,
                      const char *piece, int32_t length) {
    int status = kd_joiner_begin(j, length);
    if (status < 0) return status;
    for (int32_t i = 0; i < length; i++)
        kd_joiner_add(j, i, i + 1, t->byte[(unsigned char)piece[i]]);
    kd_joiner_run(j, piece, join_by_id, t);
    *count = 0;
    for (int32_t at = 0; at < length; at = j->next[at]) out[(*count)++] = j->token[at];
    return KD_OK;
}

/* --- text to tokens and back ------------------------------------------------------------------ */

int kd_tokenizer_encode(int32_t **out, int64_t *count, const kd_tokenizer *t, const char *text,
                        size_t length) {
    *out = NULL;
    *count = 0;
    if (length > INT32_MAX / 4)
        return kd_fail(KD_EDATA, "a text of %zu bytes, should be at most %d", length,
                       INT32_MAX / 4);
    int32_t *id = malloc((length + 1) * sizeof *id); /* never more tokens than bytes */
    if (!id) return kd_fail_memory((length + 1) * sizeof *id, "tokens");
    kd_joiner j = {0};
    int status = KD_OK;
    int64_t done = 0;
    for (size_t at = 0; at < length && status == KD_OK;) {
        size_t end = kd_split_next(KD_SPLIT_GPT2, text, length, at);
        int32_t added = 1, whole = kd_tokenizer_find(t, text + at, end - at);
        if (whole >= 0)
            id[done] = whole;
        else
            status = join_piece(&j, t, id + done, &added, text + at, (int32_t)(end - at));
        done += added;
        at = end;
    }
    kd_joiner_clear(&j);
    if (status < 0) {
        free(id);
        return status;
    }
    *out = id;
    *count = done;
    return KD_OK;
}

static int check_ids(const kd_tokenizer *t, const int32_t *id, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (id[i] < 0 || id[i] >= t->ids.vocabulary)
            return kd_fail(KD_EDATA, "token %d at place %lld, should be below %d", id[i],
                           (long long)i, t->ids.vocabulary);
    return KD_OK;
}

/* Whether a token is part of the text: an ordinary one, or an added one that looks not special. */
static bool is_text(const kd_tokenizer *t, int32_t id) {
    if (id < t->ids.added) return id < t->ids.end;
    const kd_token_bytes token = kd_tokenizer_token(t, id);
    return token.length < 2 || memcmp(token.bytes, "<|", 2) != 0;
}

int kd_tokenizer_decode(char **out, size_t *length, const kd_tokenizer *t, const int32_t *id,
                        int64_t count, bool specials) {
    *out = NULL;
    int status = check_ids(t, id, count);
    if (status < 0) return status;
    size_t total = 0, at = 0;
    for (int64_t i = 0; i < count; i++)
        if (specials || is_text(t, id[i])) total += kd_tokenizer_token(t, id[i]).length;
    char *bytes = malloc(total + 1), *text = malloc(3 * total + 1);
    if (!bytes || !text) {
        free(bytes);
        free(text);
        return kd_fail_memory(4 * total, "a text");
    }
    for (int64_t i = 0; i < count; i++) {
        if (!specials && !is_text(t, id[i])) continue;
        kd_token_bytes token = kd_tokenizer_token(t, id[i]);
        memcpy(bytes + at, token.bytes, token.length);
        at += token.length;
    }
    size_t written = kd_utf8_mend(text, bytes, total);
    text[written] = '\0';
    free(bytes);
    if (length) *length = written;
    *out = text;
    return KD_OK;
}
