#include "data/tokenizer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "base/unicode.h"
#include "data/tokenizer_internal.h"

/* --- the table of tokens ---------------------------------------------------------------------- */

/* FNV-1a, with its high bits folded in: tokens are a few bytes long. */
static uint32_t hash_bytes(const char *bytes, size_t length) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < length; i++) h = (h ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(h ^ h >> 32);
}

kd_token_bytes kd_tokenizer_token(const kd_tokenizer *t, int32_t id) {
    KD_CONTRACT(id >= 0 && id < t->ids.vocabulary, "token %d of %d", id, t->ids.vocabulary);
    return (kd_token_bytes){t->bytes + t->start[id], t->start[id + 1] - t->start[id]};
}

static bool is_token(const kd_tokenizer *t, int32_t id, const char *bytes, size_t length) {
    return t->start[id + 1] - t->start[id] == length &&
           memcmp(t->bytes + t->start[id], bytes, length) == 0;
}

int32_t kd_tokenizer_find(const kd_tokenizer *t, const char *bytes, size_t length) {
    if (length > t->longest) return -1;
    uint32_t at = hash_bytes(bytes, length);
    for (;; at++) {
        int32_t id = t->slot[at & (t->slots - 1)];
        if (id < 0 || is_token(t, id, bytes, length)) return id;
    }
}

static int add_slot(kd_tokenizer *t, int32_t id, const char *name) {
    kd_token_bytes token = kd_tokenizer_token(t, id);
    if (token.length == 0) return KD_OK; /* the multilingual vocabulary has an empty token */
    if (token.length > t->longest) t->longest = token.length;
    uint32_t at = hash_bytes(token.bytes, token.length);
    for (;; at++) {
        int32_t *slot = &t->slot[at & (t->slots - 1)];
        if (*slot < 0) {
            *slot = id;
            return KD_OK;
        }
        if (is_token(t, *slot, token.bytes, token.length))
            return kd_fail(KD_EDATA, "%s: tokens %d and %d are the same", name, *slot, id);
    }
}

static int make_slots(kd_tokenizer *t, const char *name) {
    t->slots = 1;
    while (t->slots < 2 * (uint32_t)t->ids.end + 2) t->slots *= 2;
    t->slot = malloc(t->slots * sizeof *t->slot);
    if (!t->slot) return kd_fail_memory(t->slots * sizeof *t->slot, name);
    memset(t->slot, 0xFF, t->slots * sizeof *t->slot); /* −1 */
    int status = KD_OK;
    for (int32_t id = 0; id < t->ids.end && status == KD_OK; id++) status = add_slot(t, id, name);
    for (int b = 0; b < 256 && status == KD_OK; b++) {
        char byte = (char)b;
        t->byte[b] = kd_tokenizer_find(t, &byte, 1);
        if (t->byte[b] < 0)
            status = kd_fail(KD_EDATA, "%s: no token for the byte 0x%02X", name, (unsigned)b);
    }
    return status;
}

/* Adds the lengths of count tokens to *total. */
static int add_lengths(size_t *total, const kd_token_bytes *token, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (token[i].length > UINT32_MAX / 2 - *total)
            return kd_fail(KD_EDATA, "%s: tokens of more than 2 GB", name);
        *total += token[i].length;
    }
    return KD_OK;
}

/* Copies the ordinary tokens' bytes, writes the special tokens' behind them, copies the added. */
static int copy_bytes(kd_tokenizer *t, const kd_token_bytes *token, const kd_token_bytes *added,
                      const char *name) {
    const size_t ordinary = (size_t)t->ids.end, all = (size_t)t->ids.vocabulary;
    const size_t own = (size_t)t->ids.added;
    size_t total = 0;
    int status = add_lengths(&total, token, ordinary, name);
    if (status == KD_OK) status = add_lengths(&total, added, all - own, name);
    if (status < 0) return status;
    total += (own - ordinary) * KD_SPECIAL_TEXT_MAX;
    t->bytes = malloc(total);
    t->start = malloc((all + 1) * sizeof *t->start);
    if (!t->bytes || !t->start) return kd_fail_memory(total, name);
    uint32_t at = 0;
    for (size_t i = 0; i < all; i++) {
        t->start[i] = at;
        const kd_token_bytes *from = i < ordinary ? &token[i] : i >= own ? &added[i - own] : NULL;
        if (!from) {
            char text[KD_SPECIAL_TEXT_MAX];
            int length = kd_token_special_text(text, &t->ids, (int32_t)i);
            memcpy(t->bytes + at, text, (size_t)length);
            at += (uint32_t)length;
        } else if (from->length) {
            memcpy(t->bytes + at, from->bytes, from->length);
            at += (uint32_t)from->length;
        }
    }
    t->start[all] = at;
    return KD_OK;
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
    if (status == KD_OK) status = copy_bytes(t, token, added->token, name);
    if (status == KD_OK) status = make_slots(t, name);
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
    free(t->bytes);
    free(t->start);
    free(t->slot);
    free(t);
}

const kd_token_ids *kd_tokenizer_ids(const kd_tokenizer *t) {
    return &t->ids;
}

kd_hash kd_tokenizer_hash(const kd_tokenizer *t) {
    size_t n = (size_t)t->ids.vocabulary + 1;
    kd_hash part[2] = {kd_hash_bytes(t->bytes, t->start[n - 1]),
                       kd_hash_bytes(t->start, n * sizeof *t->start)};
    return kd_hash_join(part, 2);
}

/* --- joining bytes ---------------------------------------------------------------------------- */

/* Two neighbouring parts, bytes [at, end), whose union is token `id`. */
typedef struct {
    int32_t id, at, end;
} pair;

/* The parts of a piece: part `at` is bytes [at, next[at]); the heap has the next pair on top. */
typedef struct {
    const kd_tokenizer *tokenizer;
    int32_t *next, *before, *token; /* (capacity + 1), by a part's first byte; token −1: no part */
    pair *heap; /* (2·capacity): a pair for each border, and one more for each join */
    int32_t heap_count, capacity;
} joiner;

static bool sooner(pair a, pair b) {
    return a.id != b.id ? a.id < b.id : a.at < b.at;
}

static void push(joiner *j, pair p) {
    int32_t i = j->heap_count++;
    for (; i > 0 && sooner(p, j->heap[(i - 1) / 2]); i = (i - 1) / 2)
        j->heap[i] = j->heap[(i - 1) / 2];
    j->heap[i] = p;
}

static pair pop(joiner *j) {
    pair top = j->heap[0], moved = j->heap[--j->heap_count];
    int32_t i = 0;
    for (;;) {
        int32_t child = 2 * i + 1;
        if (child >= j->heap_count) break;
        if (child + 1 < j->heap_count && sooner(j->heap[child + 1], j->heap[child])) child++;
        if (!sooner(j->heap[child], moved)) break;
        j->heap[i] = j->heap[child];
        i = child;
    }
    j->heap[i] = moved;
    return top;
}

static void offer(joiner *j, const char *piece, int32_t at, int32_t end) {
    int32_t id = kd_tokenizer_find(j->tokenizer, piece + at, (size_t)(end - at));
    if (id >= 0) push(j, (pair){id, at, end});
}

static int reserve(joiner *j, int32_t length) {
    if (length <= j->capacity) return KD_OK;
    size_t n = (size_t)length + 1;
    free(j->next);
    free(j->heap);
    j->capacity = 0;
    j->next = malloc(3 * n * sizeof *j->next);
    j->heap = malloc(2 * n * sizeof *j->heap);
    if (!j->next || !j->heap) return kd_fail_memory(2 * n * sizeof *j->heap, "encoding a text");
    j->before = j->next + n;
    j->token = j->before + n;
    j->capacity = length;
    return KD_OK;
}

/* Every join takes one pair off and puts at most two on: never more than 3·length in the heap. */
static int join_piece(joiner *j, int32_t *out, int32_t *count, const char *piece, int32_t length) {
    int status = reserve(j, length);
    if (status < 0) return status;
    j->heap_count = 0;
    for (int32_t i = 0; i < length; i++) {
        j->next[i] = i + 1;
        j->before[i] = i - 1;
        j->token[i] = j->tokenizer->byte[(unsigned char)piece[i]];
        if (i + 1 < length) offer(j, piece, i, i + 2);
    }
    while (j->heap_count > 0) {
        pair p = pop(j);
        int32_t middle = j->next[p.at];
        bool stands = j->token[p.at] >= 0 && middle < p.end && j->next[middle] == p.end;
        if (!stands) continue;
        j->token[p.at] = p.id;
        j->token[middle] = -1;
        j->next[p.at] = p.end;
        if (p.end < length) {
            j->before[p.end] = p.at;
            offer(j, piece, p.at, j->next[p.end]);
        }
        if (p.at > 0) offer(j, piece, j->before[p.at], p.end);
    }
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
    joiner j = {.tokenizer = t};
    int status = KD_OK;
    int64_t done = 0;
    for (size_t at = 0; at < length && status == KD_OK;) {
        size_t end = kd_tokenizer_piece(text, length, at);
        int32_t added = 1, whole = kd_tokenizer_find(t, text + at, end - at);
        if (whole >= 0)
            id[done] = whole;
        else
            status = join_piece(&j, id + done, &added, text + at, (int32_t)(end - at));
        done += added;
        at = end;
    }
    free(j.next);
    free(j.heap);
    if (status < 0) {
        free(id);
        return status;
    }
    *out = id;
    *count = done;
    return KD_OK;
}

/* Copies valid UTF-8, and U+FFFD for each broken character; returns the length. */
static size_t mend(char *out, const char *bytes, size_t length) {
    size_t to = 0;
    for (size_t at = 0; at < length;) {
        int n = kd_utf8_length(bytes + at, length - at);
        if (n > 0) {
            memcpy(out + to, bytes + at, (size_t)n);
            to += (size_t)n;
        } else {
            n = kd_utf8_broken(bytes + at, length - at);
            to += (size_t)kd_utf8_put(out + to, 0xFFFD);
        }
        at += (size_t)n;
    }
    return to;
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
    size_t written = mend(text, bytes, total);
    text[written] = '\0';
    free(bytes);
    if (length) *length = written;
    *out = text;
    return KD_OK;
}
