/* The tokens of a vocabulary: bytes by id, and ids by bytes. */
#ifndef KD_DATA_TOKEN_TABLE_H
#define KD_DATA_TOKEN_TABLE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *bytes; /* any bytes; not 0-terminated */
    size_t length;
} kd_token_bytes;

typedef struct {
    int32_t count;
    char *bytes;     /* of all tokens, one behind the other          */
    uint32_t *start; /* (count + 1) where each token's bytes begin   */
    int32_t *slot;   /* (slots) ids by the hash of bytes, −1: empty  */
    uint32_t slots;  /* a power of two                               */
    size_t longest;  /* of the tokens that are indexed               */
} kd_token_table;

/* Copies count tokens, which kd_token_table_find does not find before they are indexed. KD_EDATA
 * when they come to more than 2 GB; `name` is for messages. kd_token_table_clear frees, after an
 * error, too. */
int kd_token_table_fill(kd_token_table *out, const kd_token_bytes *token, int64_t count,
                        const char *name);
/* From here on the token is found by its bytes; an empty one never. KD_EDATA when another one of
 * the same bytes is there. */
int kd_token_table_index(kd_token_table *table, int32_t id, const char *name);
void kd_token_table_clear(kd_token_table *table);

/* Valid until the clear; 0 ≤ id < count. */
static inline kd_token_bytes kd_token_table_get(const kd_token_table *table, int32_t id) {
    return (kd_token_bytes){table->bytes + table->start[id],
                            table->start[id + 1] - table->start[id]};
}

/* The hash of bytes that come one after the other: start with KD_TOKEN_HASH. */
#define KD_TOKEN_HASH UINT64_C(0xcbf29ce484222325)
static inline uint64_t kd_token_hash(uint64_t hash, const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    return hash;
}

/* The indexed token of these bytes, whose hash is known; or −1. */
int32_t kd_token_table_find_hashed(const kd_token_table *table, uint64_t hash, const char *bytes,
                                   size_t length);
/* The indexed token of these bytes, or −1. */
int32_t kd_token_table_find(const kd_token_table *table, const char *bytes, size_t length);

#endif
