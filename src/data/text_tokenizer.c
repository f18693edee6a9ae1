/* What a text tokenizer is made of, put together by its readers. */
#include "data/text_tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "data/text_tokenizer_inside.h"

int kd_text_tokenizer_start(kd_text_tokenizer **out, const kd_token_bytes *token, int64_t count,
                            const char *name) {
    *out = NULL;
    if (count < 1 || count > KD_TEXT_VOCABULARY_MAX)
        return kd_fail(KD_EDATA, "%s: %lld tokens, should be 1 to %d", name, (long long)count,
                       KD_TEXT_VOCABULARY_MAX);
    kd_text_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return kd_fail_memory(sizeof *t, name);
    t->ids = (kd_text_token_ids){(int32_t)count, -1, -1, -1, -1, -1, -1, -1};
    t->word_max = 100;
    t->kind = malloc((size_t)count);
    int status = t->kind ? KD_OK : kd_fail_memory((size_t)count, name);
    if (status == KD_OK) status = kd_token_table_fill(&t->table, token, count, name);
    if (status < 0) {
        kd_text_tokenizer_free(t);
        return status;
    }
    memset(t->kind, KD_TOKEN_NORMAL, (size_t)count);
    *out = t;
    return KD_OK;
}

void kd_text_tokenizer_free(kd_text_tokenizer *t) {
    if (!t) return;
    for (int64_t i = 0; i < t->added_count; i++) free(t->added[i].text);
    kd_token_table_clear(&t->table);
    kd_text_normal_clear(&t->normal);
    free(t->kind);
    free(t->score);
    free(t->rank);
    free(t->merge);
    free(t->slot);
    free(t->added);
    free(t->chat_template);
    free(t);
}

/* --- tokens by their bytes -------------------------------------------------------------------- */

static int hex_value(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of "<0x0A>", or −1. */
static int byte_of(kd_token_bytes token) {
    if (token.length != 6 || memcmp(token.bytes, "<0x", 3) != 0 || token.bytes[5] != '>') return -1;
    const int high = hex_value(token.bytes[3]), low = hex_value(token.bytes[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

/* Files may list an added token whose bytes an ordinary one has, too: the ordinary one is found. */
int kd_text_tokenizer_index(kd_text_tokenizer *t, const char *name) {
    int status = KD_OK;
    for (int32_t id = 0; id < t->table.count && status == KD_OK; id++)
        if (t->kind[id] == KD_TOKEN_NORMAL) status = kd_token_table_index(&t->table, id, name);
    for (int32_t id = 0; id < t->table.count && status == KD_OK; id++) {
        const kd_token_bytes token = kd_token_table_get(&t->table, id);
        if (t->kind[id] == KD_TOKEN_USER &&
            kd_token_table_find(&t->table, token.bytes, token.length) < 0)
            status = kd_token_table_index(&t->table, id, name);
    }
    for (int b = 0; b < 256; b++) {
        const char byte = (char)b;
        t->byte[b] = t->letters ? kd_token_table_find(&t->table, &byte, 1) : -1;
    }
    for (int32_t id = 0; id < t->table.count && status == KD_OK; id++) {
        if (t->kind[id] != KD_TOKEN_BYTE) continue;
        const int byte = byte_of(kd_token_table_get(&t->table, id));
        if (byte < 0 || t->byte[byte] >= 0)
            return kd_fail(KD_EDATA, "%s: the byte token %d should be one of <0x00> … <0xFF>", name,
                           (int)id);
        t->byte[byte] = id;
    }
    return status;
}

/* Doubles a list of `size`-byte entries when `count` of them are a power of two, or none. */
static int grow(void **list, int64_t count, size_t size) {
    if (count & (count - 1)) return KD_OK;
    const size_t bytes = (count ? 2 * (size_t)count : 1) * size;
    void *more = realloc(*list, bytes);
    if (!more) return kd_fail_memory(bytes, "a tokenizer");
    *list = more;
    return KD_OK;
}

int kd_text_tokenizer_add_token(kd_text_tokenizer *t, const kd_added_token *added) {
    int status = grow((void **)&t->added, t->added_count, sizeof *t->added);
    if (status == KD_OK) t->added[t->added_count++] = *added;
    return status;
}

/* --- merges ----------------------------------------------------------------------------------- */

int kd_text_tokenizer_add_merge(kd_text_tokenizer *t, int32_t left, int32_t right) {
    if (t->merges == INT32_MAX) return kd_fail(KD_EDATA, "too many merges");
    int status = grow((void **)&t->merge, t->merges, sizeof *t->merge);
    if (status == KD_OK) t->merge[t->merges++] = (uint64_t)left << 32 | (uint32_t)right;
    return status;
}

static uint64_t mix(uint64_t pair) {
    pair *= UINT64_C(0x9E3779B97F4A7C15);
    return pair ^ pair >> 29;
}

/* The token that merge `rank` makes; −1: none. */
static int32_t made_by(const kd_text_tokenizer *t, int64_t rank) {
    const kd_token_bytes left = kd_token_table_get(&t->table, (int32_t)(t->merge[rank] >> 32));
    const kd_token_bytes right = kd_token_table_get(&t->table, (int32_t)t->merge[rank]);
    char bytes[1024];
    if (left.length + right.length > sizeof bytes) return -1;
    memcpy(bytes, left.bytes, left.length);
    memcpy(bytes + left.length, right.bytes, right.length);
    return kd_token_table_find(&t->table, bytes, left.length + right.length);
}

static int index_merges(kd_text_tokenizer *t, const char *name) {
    t->slots = 1;
    while (t->slots < 2 * t->merges + 2) t->slots *= 2;
    t->slot = malloc(kd_array_bytes(t->slots, sizeof *t->slot));
    if (!t->slot) return kd_fail_memory((size_t)t->slots * sizeof *t->slot, name);
    memset(t->slot, 0xFF, (size_t)t->slots * sizeof *t->slot); /* KD_NO_MERGE */
    for (int64_t rank = 0; rank < t->merges; rank++) {
        const int32_t id = made_by(t, rank);
        if (id < 0)
            return kd_fail(KD_EDATA, "%s: merge %lld makes no token of the vocabulary", name,
                           (long long)rank);
        uint64_t at = mix(t->merge[rank]);
        kd_merge_slot *slot;
        for (;; at++) {
            slot = &t->slot[at & (uint64_t)(t->slots - 1)];
            if (slot->pair == KD_NO_MERGE || slot->pair == t->merge[rank]) break;
        }
        /* Of one that is there twice the later counts, as in `tokenizers`. */
        *slot = (kd_merge_slot){t->merge[rank], {.id = id, .rank = (int32_t)rank}};
    }
    return KD_OK;
}

/* --- the order of scores ---------------------------------------------------------------------- */

typedef struct {
    double score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b) {
    const scored *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

/* Equal scores have equal ranks: the one further left is joined first. */
static int rank_scores(kd_text_tokenizer *t, const char *name) {
    const size_t n = (size_t)t->ids.vocabulary;
    scored *list = malloc(n * sizeof *list);
    t->rank = malloc(n * sizeof *t->rank);
    if (!list || !t->rank) {
        free(list);
        return kd_fail_memory(n * sizeof *list, name);
    }
    for (size_t i = 0; i < n; i++) list[i] = (scored){t->score[i], (int32_t)i};
    qsort(list, n, sizeof *list, by_score);
    int32_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && list[i].score < list[i - 1].score) rank++;
        t->rank[list[i].id] = rank;
    }
    free(list);
    return KD_OK;
}

/* --- the end ---------------------------------------------------------------------------------- */

static kd_token_bytes text_of(const kd_text_tokenizer *t, const kd_added_token *added) {
    if (added->text) return (kd_token_bytes){added->text, added->length};
    return kd_token_table_get(&t->table, added->id);
}

typedef struct {
    kd_token_bytes text;
    kd_added_token added;
} sorted;

static int by_first_byte(const void *a, const void *b) {
    const sorted *x = a, *y = b;
    const int first = (unsigned char)x->text.bytes[0], second = (unsigned char)y->text.bytes[0];
    if (first != second) return first - second;
    return (x->text.length < y->text.length) - (x->text.length > y->text.length);
}

static int sort_added(kd_text_tokenizer *t, const char *name) {
    const size_t n = (size_t)t->added_count;
    sorted *list = malloc((n + 1) * sizeof *list);
    if (!list) return kd_fail_memory(n * sizeof *list, name);
    for (size_t i = 0; i < n; i++) list[i] = (sorted){text_of(t, &t->added[i]), t->added[i]};
    for (size_t i = 0; i < n; i++)
        if (list[i].text.length == 0) {
            free(list);
            return kd_fail(KD_EDATA, "%s: the added token %d is empty", name, t->added[i].id);
        }
    qsort(list, n, sizeof *list, by_first_byte);
    size_t at = 0;
    for (int byte = 0; byte <= 256; byte++) {
        while (at < n && (unsigned char)list[at].text.bytes[0] < byte) at++;
        t->added_from[byte] = (int64_t)at;
    }
    for (size_t i = 0; i < n; i++) t->added[i] = list[i].added;
    free(list);
    return KD_OK;
}

int kd_text_tokenizer_set_ends(kd_text_tokenizer *t, int32_t bos, int32_t eos) {
    if (bos >= t->ids.vocabulary || eos >= t->ids.vocabulary)
        return kd_fail(KD_EDATA, "a text begins with token %d and ends with %d, of %d tokens", bos,
                       eos, t->ids.vocabulary);
    if (bos >= 0) t->ids.bos = bos;
    if (eos >= 0) t->ids.eos = eos;
    return KD_OK;
}

static void find_range(kd_text_tokenizer *t) {
    bool first = true;
    for (int32_t id = 0; id < t->ids.vocabulary; id++) {
        if (t->kind[id] != KD_TOKEN_NORMAL) continue;
        if (first || t->score[id] < t->lowest) t->lowest = t->score[id];
        if (first || t->score[id] > t->highest) t->highest = t->score[id];
        first = false;
    }
}

static int check_bytes(const kd_text_tokenizer *t, const char *name) {
    for (int b = 0; b < 256 && t->byte_fallback; b++)
        if (t->byte[b] < 0)
            return kd_fail(KD_EDATA, "%s: no token for the byte 0x%02X", name, (unsigned)b);
    return KD_OK;
}

int kd_text_tokenizer_finish(kd_text_tokenizer *t, const char *name) {
    int status = check_bytes(t, name);
    if (status == KD_OK) status = sort_added(t, name);
    if (status == KD_OK && t->model == KD_MODEL_BPE)
        status = t->score ? rank_scores(t, name) : index_merges(t, name);
    if (t->model == KD_MODEL_UNIGRAM) find_range(t);
    if (status == KD_OK && t->model == KD_MODEL_WORDPIECE && t->ids.unknown < 0)
        status = kd_fail(KD_EDATA, "%s: WordPiece without a token for unknown words", name);
    return status;
}

const kd_text_token_ids *kd_text_tokenizer_ids(const kd_text_tokenizer *t) {
    return &t->ids;
}

const char *kd_text_tokenizer_template(const kd_text_tokenizer *t) {
    return t->chat_template;
}

kd_token_bytes kd_text_tokenizer_token(const kd_text_tokenizer *t, int32_t id) {
    KD_CONTRACT(id >= 0 && id < t->ids.vocabulary, "token %d of %d", id, t->ids.vocabulary);
    return kd_token_table_get(&t->table, id);
}

kd_token_kind kd_text_tokenizer_kind(const kd_text_tokenizer *t, int32_t id) {
    KD_CONTRACT(id >= 0 && id < t->ids.vocabulary, "token %d of %d", id, t->ids.vocabulary);
    return (kd_token_kind)t->kind[id];
}

int32_t kd_text_tokenizer_find(const kd_text_tokenizer *t, const char *text) {
    const size_t length = strlen(text);
    for (int64_t i = 0; i < t->added_count; i++) {
        const kd_token_bytes token = kd_token_table_get(&t->table, t->added[i].id);
        if (token.length == length && memcmp(token.bytes, text, length) == 0) return t->added[i].id;
    }
    return kd_token_table_find(&t->table, text, length);
}

/* Not of the tokens around a text, nor of which one pads: files say that differently. */
kd_hash kd_text_tokenizer_hash(const kd_text_tokenizer *t) {
    enum { PARTS = 6 };
    const size_t n = (size_t)t->ids.vocabulary;
    const int32_t flags[] = {(int32_t)t->model,
                             t->letters,
                             t->whole_first,
                             t->byte_fallback,
                             t->fuse_unknown,
                             t->user_first,
                             t->word_max,
                             (int32_t)t->spaces,
                             t->words_only,
                             (int32_t)t->split,
                             t->letters ? -1 : t->ids.unknown};
    kd_hash part[PARTS + KD_NORMAL_STEPS_MAX * 3];
    int parts = 0;
    part[parts++] = kd_hash_bytes(flags, sizeof flags);
    part[parts++] = kd_hash_bytes(t->table.bytes, t->table.start[n]);
    part[parts++] = kd_hash_bytes(t->table.start, (n + 1) * sizeof *t->table.start);
    part[parts++] = kd_hash_bytes(t->kind, n);
    part[parts++] = kd_hash_bytes(t->score, t->score ? n * sizeof *t->score : 0);
    part[parts++] = kd_hash_bytes(t->merge, (size_t)t->merges * sizeof *t->merge);
    for (int i = 0; i < t->normal.count; i++) {
        const kd_normal_step *step = &t->normal.step[i];
        part[parts++] = kd_hash_bytes(&step->kind, sizeof step->kind);
        part[parts++] = kd_hash_bytes(step->from, step->from_length);
        part[parts++] = kd_hash_bytes(step->to, step->to_length);
    }
    return kd_hash_join(part, parts);
}
