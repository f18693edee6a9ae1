#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/error.h"

static kd_hash hash_of(XXH128_hash_t digest) {
    kd_hash hash;
    snprintf(hash.hex, sizeof hash.hex, "%016llx%016llx", (unsigned long long)digest.high64,
             (unsigned long long)digest.low64);
    return hash;
}

kd_hash kd_hash_bytes(const void *bytes, size_t length) {
    return hash_of(XXH3_128bits(bytes, length));
}

kd_hash kd_hash_join(const kd_hash *parts, int count) {
    return kd_hash_bytes(parts, (size_t)count * sizeof *parts);
}

/* --- in pieces ------------------------------------------------------------------------------ */

struct kd_hasher {
    XXH3_state_t *state;
};

int kd_hasher_create(kd_hasher **out) {
    kd_hasher *hasher = *out = calloc(1, sizeof *hasher);
    if (hasher) hasher->state = XXH3_createState();
    if (hasher && hasher->state && XXH3_128bits_reset(hasher->state) == XXH_OK) return KD_OK;
    kd_hasher_free(hasher);
    *out = NULL;
    return kd_fail_memory(sizeof *hasher, "a hash");
}

void kd_hasher_add(kd_hasher *hasher, const void *bytes, size_t length) {
    XXH3_128bits_update(hasher->state, bytes, length);
}

kd_hash kd_hasher_value(const kd_hasher *hasher) {
    return hash_of(XXH3_128bits_digest(hasher->state));
}

void kd_hasher_free(kd_hasher *hasher) {
    if (!hasher) return;
    XXH3_freeState(hasher->state);
    free(hasher);
}

uint64_t kd_checksum64(const void *bytes, size_t length) {
    return XXH3_64bits(bytes, length);
}

struct kd_checksum {
    XXH3_state_t *state;
};

int kd_checksum_create(kd_checksum **out) {
    kd_checksum *checksum = *out = calloc(1, sizeof *checksum);
    if (checksum) checksum->state = XXH3_createState();
    if (checksum && checksum->state && XXH3_64bits_reset(checksum->state) == XXH_OK) return KD_OK;
    kd_checksum_free(checksum);
    *out = NULL;
    return kd_fail_memory(sizeof *checksum, "a checksum");
}

void kd_checksum_add(kd_checksum *checksum, const void *bytes, size_t length) {
    XXH3_64bits_update(checksum->state, bytes, length);
}

uint64_t kd_checksum_value(const kd_checksum *checksum) {
    return XXH3_64bits_digest(checksum->state);
}

void kd_checksum_free(kd_checksum *checksum) {
    if (!checksum) return;
    XXH3_freeState(checksum->state);
    free(checksum);
}
