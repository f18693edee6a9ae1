#include "data/token_table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"

/* The high bits are folded in: tokens are a few bytes long. */
static uint32_t fold(uint64_t hash) {
    return (uint32_t)(hash ^ hash >> 32);
}

static bool is_token(const kd_token_table *t, int32_t id, const char *bytes, size_t length) {
    return t->start[id + 1] - t->start[id] == length &&
           memcmp(t->bytes + t->start[id], bytes, length) == 0;
}

int32_t kd_token_table_find_hashed(const kd_token_table *t, uint64_t hash, const char *bytes,
                                   size_t length) {
    if (length > t->longest) return -1;
    uint32_t at = fold(hash);
    for (;; at++) {
        int32_t id = t->slot[at & (t->slots - 1)];
        if (id < 0 || is_token(t, id, bytes, length)) return id;
    }
}

int32_t kd_token_table_find(const kd_token_table *t, const char *bytes, size_t length) {
    if (length > t->longest) return -1;
    return kd_token_table_find_hashed(t, kd_token_hash(KD_TOKEN_HASH, bytes, length), bytes,
                                      length);
}

int kd_token_table_index(kd_token_table *t, int32_t id, const char *name) {
    kd_token_bytes token = kd_token_table_get(t, id);
    if (token.length == 0) return KD_OK;
    if (token.length > t->longest) t->longest = token.length;
    uint32_t at = fold(kd_token_hash(KD_TOKEN_HASH, token.bytes, token.length));
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

int kd_token_table_fill(kd_token_table *t, const kd_token_bytes *token, int64_t count,
                        const char *name) {
    size_t total = 0;
    *t = (kd_token_table){.count = (int32_t)count, .slots = 1};
    for (int64_t i = 0; i < count; i++) {
        if (token[i].length > UINT32_MAX / 2 - total)
            return kd_fail(KD_EDATA, "%s: tokens of more than 2 GB", name);
        total += token[i].length;
    }
    while (t->slots < 2 * (uint32_t)count + 2) t->slots *= 2;
    t->bytes = malloc(total + 1);
    t->start = malloc(kd_array_bytes(count + 1, sizeof *t->start));
    t->slot = malloc(t->slots * sizeof *t->slot);
    if (!t->bytes || !t->start || !t->slot)
        return kd_fail_memory(total + t->slots * sizeof *t->slot, name);
    memset(t->slot, 0xFF, t->slots * sizeof *t->slot); /* −1 */
    uint32_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        t->start[i] = at;
        if (token[i].length) memcpy(t->bytes + at, token[i].bytes, token[i].length);
        at += (uint32_t)token[i].length;
    }
    t->start[count] = at;
    return KD_OK;
}

void kd_token_table_clear(kd_token_table *t) {
    free(t->bytes);
    free(t->start);
    free(t->slot);
    *t = (kd_token_table){0};
}
