/* 128-bit content hashes (XXH3): they key a stage's result by what went into it. They catch
 * accidents and mix-ups, not an adversary. */
#ifndef KD_BASE_HASH_H
#define KD_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    char hex[33]; /* 32 lower-case digits and a 0 byte */
} kd_hash;

kd_hash kd_hash_bytes(const void *bytes, size_t length);

/* The hash of several hashes in order. */
kd_hash kd_hash_join(const kd_hash *parts, int count);

/* kd_hash_bytes of bytes that come in pieces. The caller frees. */
typedef struct kd_hasher kd_hasher;
int kd_hasher_create(kd_hasher **out);
void kd_hasher_add(kd_hasher *hasher, const void *bytes, size_t length);
kd_hash kd_hasher_value(const kd_hasher *hasher); /* of all pieces so far */
void kd_hasher_free(kd_hasher *hasher);

/* 64 bits of the same family, for checksums inside files. */
uint64_t kd_checksum64(const void *bytes, size_t length);

/* The same of bytes that come in pieces. The caller frees. */
typedef struct kd_checksum kd_checksum;
int kd_checksum_create(kd_checksum **out);
void kd_checksum_add(kd_checksum *checksum, const void *bytes, size_t length);
uint64_t kd_checksum_value(const kd_checksum *checksum); /* of all pieces so far */
void kd_checksum_free(kd_checksum *checksum);

#endif
