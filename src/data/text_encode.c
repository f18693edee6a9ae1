/* Text to tokens: added tokens, the normaliser, pieces, byte-pair encoding. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "base/text.h"
#include "base/unicode.h"
#include "data/text_tokenizer_inside.h"

static const char MARK[] = "\xE2\x96\x81"; /* "▁", SentencePiece's space */
enum { MARK_LENGTH = 3 };

int kd_text_encoder_put(kd_text_encoder *e, int32_t id) {
    if (e->count == e->capacity) {
        const int64_t capacity = e->capacity ? 2 * e->capacity : 256;
        int32_t *more = realloc(e->id, kd_array_bytes(capacity, sizeof *more));
        if (!more) return kd_fail_memory((size_t)capacity * sizeof *more, "tokens");
        e->id = more;
        e->capacity = capacity;
    }
    e->id[e->count++] = id;
    return KD_OK;
}

int kd_text_encoder_unknown(kd_text_encoder *e, const char *text, size_t length) {
    if (e->t->ids.unknown < 0)
        return kd_fail(KD_EDATA, "no token for '%.*s', and none for what is unknown",
                       (int)(length < 32 ? length : 32), text);
    return kd_text_encoder_put(e, e->t->ids.unknown);
}

/* --- byte-pair encoding ----------------------------------------------------------------------- */

static kd_join join_by_merges(const void *tokenizer, const char *bytes, size_t length, int32_t left,
                              int32_t right) {
    const kd_text_tokenizer *t = tokenizer;
    (void)bytes;
    (void)length;
    const uint64_t pair = (uint64_t)left << 32 | (uint32_t)right;
    uint64_t at = pair * UINT64_C(0x9E3779B97F4A7C15);
    for (at ^= at >> 29;; at++) {
        const kd_merge_slot *slot = &t->slot[at & (uint64_t)(t->slots - 1)];
        if (slot->pair == pair) return slot->join;
        if (slot->pair == KD_NO_MERGE) return (kd_join){.id = -1};
    }
}

static kd_join join_by_score(const void *tokenizer, const char *bytes, size_t length, int32_t left,
                             int32_t right) {
    const kd_text_tokenizer *t = tokenizer;
    (void)left;
    (void)right;
    const int32_t id = kd_token_table_find(&t->table, bytes, length);
    return (kd_join){.id = id, .rank = id < 0 ? 0 : t->rank[id]};
}

/* By merges a character without a token is its bytes from the start on; by scores it may still be
 * part of a join, and becomes bytes at the end. */
static void add_characters(kd_text_encoder *e, const char *piece, int32_t length) {
    const kd_text_tokenizer *t = e->t;
    int32_t unknown = -1; /* where the symbols of unknown characters began */
    for (int32_t at = 0, end; at < length; at = end) {
        end = at + kd_utf8_length(piece + at, (size_t)(length - at));
        int32_t id = kd_token_table_find(&t->table, piece + at, (size_t)(end - at));
        if (id < 0 && t->byte_fallback && !t->rank) {
            for (int32_t i = at; i < end; i++)
                kd_joiner_add(&e->joiner, i, i + 1, t->byte[(unsigned char)piece[i]]);
        } else if (id >= 0 || !t->fuse_unknown || t->rank || unknown < 0) {
            kd_joiner_add(&e->joiner, at, end, id < 0 ? KD_UNKNOWN_SYMBOL : id);
        } else {
            kd_joiner_extend(&e->joiner, end);
        }
        unknown = id >= 0 ? -1 : at;
    }
}

/* SmolLM's vocabulary lacks a few bytes (0x04, 0x06 …): they leave nothing, and what stands around
 * them becomes neighbours, as in `tokenizers` and llama.cpp. False when nothing is left. */
static bool add_bytes(kd_text_encoder *e, const char *piece, int32_t length) {
    kd_joiner *j = &e->joiner;
    int32_t from = 0;
    for (int32_t i = 0; i < length; i++) {
        const int32_t id = e->t->byte[(unsigned char)piece[i]];
        if (id < 0) continue;
        kd_joiner_add(j, from, i + 1, id);
        from = i + 1;
    }
    if (from == 0) return false;
    kd_joiner_extend(j, length);
    return true;
}

/* What no token was found for: its bytes, or the unknown token, one for neighbours where they are
 * fused. */
static int put_unknown(kd_text_encoder *e, const char *text, size_t length, bool behind_unknown) {
    if (!e->t->byte_fallback) {
        if (behind_unknown && e->t->fuse_unknown) return KD_OK;
        return kd_text_encoder_unknown(e, text, length);
    }
    int status = KD_OK;
    for (size_t i = 0; i < length && status == KD_OK; i++)
        status = kd_text_encoder_put(e, e->t->byte[(unsigned char)text[i]]);
    return status;
}

static int encode_bpe(kd_text_encoder *e, const char *piece, size_t length) {
    const kd_text_tokenizer *t = e->t;
    const int32_t n = (int32_t)length;
    const int32_t whole = t->whole_first ? kd_token_table_find(&t->table, piece, length) : -1;
    if (whole >= 0) return kd_text_encoder_put(e, whole);
    kd_joiner *j = &e->joiner;
    int status = kd_joiner_begin(j, n);
    if (status < 0) return status;
    if (!t->letters)
        add_characters(e, piece, n);
    else if (!add_bytes(e, piece, n))
        return KD_OK;
    kd_joiner_run(j, piece, t->rank ? join_by_score : join_by_merges, t);
    bool unknown = false;
    for (int32_t at = 0; at < n && status == KD_OK; at = j->next[at]) {
        if (j->token[at] >= 0)
            status = kd_text_encoder_put(e, j->token[at]);
        else
            status = put_unknown(e, piece + at, (size_t)(j->next[at] - at), unknown);
        unknown = j->token[at] < 0;
    }
    return status;
}

/* --- pieces ----------------------------------------------------------------------------------- */

static int encode_pieces(kd_text_encoder *e, const char *text, size_t length) {
    int status = KD_OK;
    for (size_t at = 0, end; at < length && status == KD_OK; at = end) {
        end = kd_split_next(e->t->split, text, length, at);
        if (e->t->model == KD_MODEL_UNIGRAM)
            status = kd_text_encode_unigram(e, text + at, end - at);
        else
            status = encode_bpe(e, text + at, end - at);
    }
    return status;
}

/* Spaces become marks, and one comes in front. */
static int encode_marked(kd_text_encoder *e, const char *text, size_t length, bool first) {
    const kd_space_rule rule = e->t->spaces;
    const bool front = (rule == KD_SPACES_ALWAYS || (rule == KD_SPACES_FIRST && first)) &&
                       text[0] != ' ' &&
                       (length < MARK_LENGTH || memcmp(text, MARK, MARK_LENGTH) != 0);
    char *marked = malloc(MARK_LENGTH * (length + 1));
    if (!marked) return kd_fail_memory(MARK_LENGTH * (length + 1), "a text");
    size_t n = 0;
    if (front) memcpy(marked, MARK, MARK_LENGTH), n = MARK_LENGTH;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == ' ') {
            memcpy(marked + n, MARK, MARK_LENGTH);
            n += MARK_LENGTH;
        } else {
            marked[n++] = text[i];
        }
    }
    const int status = encode_pieces(e, marked, n);
    free(marked);
    return status;
}

/* Each run of characters other than white space is a text of its own. */
static int encode_words(kd_text_encoder *e, const char *text, size_t length) {
    int status = KD_OK;
    for (size_t at = 0, end; at < length && status == KD_OK; at = end) {
        size_t start = at;
        end = at;
        bool space = kd_char_class_of(kd_utf8_next(text, length, &end)) == KD_CHAR_SPACE;
        while (!space && end < length) {
            size_t behind = end;
            if (kd_char_class_of(kd_utf8_next(text, length, &behind)) == KD_CHAR_SPACE) break;
            end = behind;
        }
        if (!space) status = encode_marked(e, text + start, end - start, start == 0);
    }
    return status;
}

/* Text without added tokens, normalised. */
static int encode_plain(kd_text_encoder *e, const char *text, size_t length, bool first) {
    if (length == 0) return KD_OK;
    if (e->t->model == KD_MODEL_WORDPIECE) return kd_text_encode_wordpiece(e, text, length);
    if (e->t->words_only) return encode_words(e, text, length);
    if (e->t->spaces != KD_SPACES_KEPT) return encode_marked(e, text, length, first);
    return encode_pieces(e, text, length);
}

/* --- added tokens ----------------------------------------------------------------------------- */

/* The longest added token of the set that stands at text[at], or NULL. */
static const kd_added_token *added_at(const kd_text_tokenizer *t, const char *text, size_t length,
                                      size_t at, bool normalized) {
    const int first = (unsigned char)text[at];
    for (int64_t i = t->added_from[first]; i < t->added_from[first + 1]; i++) {
        const kd_added_token *added = &t->added[i];
        const kd_token_bytes own = kd_token_table_get(&t->table, added->id);
        const char *looked = added->text ? added->text : own.bytes;
        const size_t n = added->text ? added->length : own.length;
        if (added->normalized == normalized && n <= length - at &&
            memcmp(looked, text + at, n) == 0)
            return added;
    }
    return NULL;
}

static bool is_space(const char *text, size_t length, size_t at, size_t *end) {
    *end = at;
    return kd_char_class_of(kd_utf8_next(text, length, end)) == KD_CHAR_SPACE;
}

/* Where the white space begins that stands in front of `at`, not before `from`. */
static size_t space_before(const char *text, size_t from, size_t at) {
    while (at > from) {
        size_t start = at - 1, end;
        while (start > from && ((unsigned char)text[start] & 0xC0) == 0x80) start--;
        if (!is_space(text, at, start, &end)) break;
        at = start;
    }
    return at;
}

static int encode_normalized(kd_text_encoder *e, const char *text, size_t length, bool first);

/* Looks for added tokens, raw ones or those of normalised text, and hands on what is between. */
static int encode_between(kd_text_encoder *e, const char *text, size_t length, bool normalized,
                          bool first) {
    const kd_text_tokenizer *t = e->t;
    size_t from = 0;
    int status = KD_OK;
    for (size_t at = 0; at <= length && status == KD_OK;) {
        const kd_added_token *added =
            at < length ? added_at(t, text, length, at, normalized) : NULL;
        if (!added && at < length) {
            at++;
            continue;
        }
        const size_t end = added && added->left ? space_before(text, from, at) : at;
        if (end > from && normalized)
            status = encode_plain(e, text + from, end - from, first && from == 0);
        else if (end > from)
            status = encode_normalized(e, text + from, end - from, first && from == 0);
        if (!added || status < 0) break;
        status = kd_text_encoder_put(e, added->id);
        at += added->text ? added->length : kd_token_table_get(&t->table, added->id).length;
        for (size_t behind; added->right && at < length && is_space(text, length, at, &behind);)
            at = behind;
        from = at;
    }
    return status;
}

static int encode_normalized(kd_text_encoder *e, const char *text, size_t length, bool first) {
    char *normal;
    if (e->t->normal.count == 0) return encode_between(e, text, length, true, first);
    int status = kd_text_normal_apply(&normal, &length, &e->t->normal, text, length);
    if (status < 0) return status;
    status = encode_between(e, normal, length, true, first);
    free(normal);
    return status;
}

/* --- a text ----------------------------------------------------------------------------------- */

static int check_text(const char *text, size_t length) {
    if (length > KD_TEXT_BYTES_MAX)
        return kd_fail(KD_EDATA, "a text of %zu bytes, should be at most %d", length,
                       KD_TEXT_BYTES_MAX);
    for (size_t at = 0; at < length;) {
        const int n = kd_utf8_length(text + at, length - at);
        if (n == 0)
            return kd_fail(KD_EDATA, "byte %zu, 0x%02X, is not UTF-8", at, (unsigned char)text[at]);
        at += (size_t)n;
    }
    return KD_OK;
}

int kd_text_tokenizer_encode(int32_t **out, int64_t *count, const kd_text_tokenizer *t,
                             const char *text, size_t length, bool ends) {
    *out = NULL;
    *count = 0;
    kd_text_encoder e = {.t = t};
    int status = check_text(text, length);
    for (int i = 0; ends && i < t->before_count && status == KD_OK; i++)
        status = kd_text_encoder_put(&e, t->before[i]);
    if (status == KD_OK) status = encode_between(&e, text, length, false, true);
    for (int i = 0; ends && i < t->after_count && status == KD_OK; i++)
        status = kd_text_encoder_put(&e, t->after[i]);
    if (status == KD_OK && !e.id) { /* an empty list is one, too */
        e.id = malloc(sizeof *e.id);
        if (!e.id) status = kd_fail_memory(sizeof *e.id, "tokens");
    }
    kd_joiner_clear(&e.joiner);
    free(e.best);
    free(e.from);
    free(e.token);
    if (status < 0) {
        free(e.id);
        return status;
    }
    *out = e.id;
    *count = e.count;
    return KD_OK;
}
