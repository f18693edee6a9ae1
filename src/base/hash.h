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

/* The same of bytes that come in pieces. The caller frees. */
typedef struct kd_hashing kd_hashing;
int kd_hashing_create(kd_hashing **out);
void kd_hashing_add(kd_hashing *hashing, const void *bytes, size_t length);
kd_hash kd_hashing_value(const kd_hashing *hashing); /* of all pieces so far */
void kd_hashing_free(kd_hashing *hashing);

/* The hash of several hashes in order. */
kd_hash kd_hash_join(const kd_hash *parts, int count);

/* 64 bits of the same family, for checksums inside files. */
uint64_t kd_checksum64(const void *bytes, size_t length);

/* The same of bytes that come in pieces. The caller frees. */
typedef struct kd_checksum kd_checksum;
int kd_checksum_create(kd_checksum **out);
void kd_checksum_add(kd_checksum *checksum, const void *bytes, size_t length);
uint64_t kd_checksum_value(const kd_checksum *checksum); /* of all pieces so far */
void kd_checksum_free(kd_checksum *checksum);

#endif
