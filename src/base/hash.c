#include "base/hash.h"

#include <stdio.h>
#include <xxhash.h>

kd_hash kd_hash_bytes(const void *bytes, size_t length) {
    XXH128_hash_t digest = XXH3_128bits(bytes, length);
    kd_hash hash;
    snprintf(hash.hex, sizeof hash.hex, "%016llx%016llx", (unsigned long long)digest.high64,
             (unsigned long long)digest.low64);
    return hash;
}

kd_hash kd_hash_join(const kd_hash *parts, int count) {
    return kd_hash_bytes(parts, (size_t)count * sizeof *parts);
}

uint64_t kd_checksum64(const void *bytes, size_t length) {
    return XXH3_64bits(bytes, length);
}
