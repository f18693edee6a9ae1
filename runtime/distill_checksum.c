/* The checksum of a file: XXH3 with 64 bits, after its specification (Collet, xxHash 0.8), of any
 * length, with the seed 0. */
#include "distill_internal.h"

static const uint64_t P1 = 0x9E3779B185EBCA87u, P2 = 0xC2B2AE3D27D4EB4Fu, P3 = 0x165667B19E3779F9u,
                      P4 = 0x85EBCA77C2B2AE63u, P5 = 0x27D4EB2F165667C5u, MX1 = 0x165667919E3779F9u,
                      MX2 = 0x9FB21C651E98DF25u;
static const uint64_t Q1 = 0x9E3779B1u, Q2 = 0x85EBCA77u, Q3 = 0xC2B2AE3Du;

/* The specification's secret. */
enum { SECRET = 192, STRIPE = 64, STRIPES = (SECRET - STRIPE) / 8 };
static const uint8_t secret[SECRET] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e};

static uint64_t long_at(const uint8_t *from) {
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static uint64_t rotate(uint64_t x, int n) {
    return x << n | x >> (64 - n);
}

/* The halves of the 128-bit product, one over the other. */
static uint64_t fold(uint64_t a, uint64_t b) {
    const uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
    const uint64_t low = al * bl, cross = (low >> 32) + ah * bl;
    const uint64_t middle = (uint32_t)cross + al * bh;
    return (ah * bh + (cross >> 32) + (middle >> 32)) ^ (middle << 32 | (uint32_t)low);
}

static uint64_t avalanche(uint64_t h) {
    h = (h ^ h >> 37) * MX1;
    return h ^ h >> 32;
}

static uint64_t avalanche_old(uint64_t h) {
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}

static uint64_t mix(const uint8_t *in, uint32_t at) {
    return fold(long_at(in) ^ long_at(secret + at), long_at(in + 8) ^ long_at(secret + at + 8));
}

static uint64_t hash_16(const uint8_t *in, size_t n) {
    if (n > 8) {
        const uint64_t low = long_at(in) ^ long_at(secret + 24) ^ long_at(secret + 32);
        const uint64_t high = long_at(in + n - 8) ^ long_at(secret + 40) ^ long_at(secret + 48);
        uint64_t swapped = 0, i;
        for (i = 0; i < 64; i += 8) swapped = swapped << 8 | (low >> i & 255);
        return avalanche(n + swapped + high + fold(low, high));
    }
    if (n > 3) {
        uint64_t h = distill_word(in + n - 4) + ((uint64_t)distill_word(in) << 32);
        h ^= long_at(secret + 8) ^ long_at(secret + 16);
        h = (h ^ rotate(h, 49) ^ rotate(h, 24)) * MX2;
        h = (h ^ ((h >> 35) + n)) * MX2;
        return h ^ h >> 28;
    }
    if (n > 0) {
        const uint32_t all =
            (uint32_t)in[0] << 16 | (uint32_t)in[n / 2] << 24 | in[n - 1] | (uint32_t)(n << 8);
        return avalanche_old(all ^ distill_word(secret) ^ distill_word(secret + 4));
    }
    return avalanche_old(long_at(secret + 56) ^ long_at(secret + 64));
}

static uint64_t hash_240(const uint8_t *in, size_t n) {
    uint64_t h = n * P1;
    uint32_t i;
    if (n <= 128) {
        for (i = (uint32_t)(n - 1) / 32 + 1; i-- > 0;)
            h += mix(in + 16 * i, 32 * i) + mix(in + n - 16 * (i + 1), 32 * i + 16);
        return avalanche(h);
    }
    for (i = 0; i < 8; i++) h += mix(in + 16 * i, 16 * i);
    h = avalanche(h);
    for (; i < n / 16; i++) h += mix(in + 16 * i, 16 * (i - 8) + 3);
    return avalanche(h + mix(in + n - 16, 136 - 17));
}

static void add_stripe(uint64_t sum[8], const uint8_t *in, uint32_t at) {
    uint32_t i;
    for (i = 0; i < 8; i++) {
        const uint64_t value = long_at(in + 8 * i), key = value ^ long_at(secret + at + 8 * i);
        sum[i ^ 1] += value;
        sum[i] += (key & 0xffffffffu) * (key >> 32);
    }
}

static uint64_t hash(const uint8_t *in, size_t n) {
    uint64_t sum[8], h = n * P1;
    const size_t stripes = n > 0 ? (n - 1) / STRIPE : 0;
    size_t i;
    uint32_t k;
    if (n <= 16) return hash_16(in, n);
    if (n <= 240) return hash_240(in, n);
    sum[0] = Q3, sum[1] = P1, sum[2] = P2, sum[3] = P3;
    sum[4] = P4, sum[5] = Q2, sum[6] = P5, sum[7] = Q1;
    for (i = 0; i < stripes; i++) {
        add_stripe(sum, in + i * STRIPE, (uint32_t)(i % STRIPES) * 8);
        if (i % STRIPES != STRIPES - 1) continue;
        for (k = 0; k < 8; k++)
            sum[k] = (sum[k] ^ sum[k] >> 47 ^ long_at(secret + SECRET - STRIPE + 8 * k)) * Q1;
    }
    add_stripe(sum, in + n - STRIPE, SECRET - STRIPE - 7);
    for (k = 0; k < 4; k++)
        h += fold(sum[2 * k] ^ long_at(secret + 11 + 16 * k),
                  sum[2 * k + 1] ^ long_at(secret + 19 + 16 * k));
    return avalanche(h);
}

int distill_run_verify(const void *blob, size_t length) {
    enum { KEY_U64 = 10 };
    const uint8_t *bytes = blob;
    uint64_t count = 0, parts[2];
    const uint8_t *sum = distill_run_key(&count, blob, length, "distill.checksum", KEY_U64);
    if (!sum || count != 1) return DISTILL_RUN_DAMAGED;
    parts[0] = hash(bytes, (size_t)(sum - bytes));
    parts[1] = hash(sum + 8, length - (size_t)(sum - bytes) - 8);
    return hash((const uint8_t *)parts, sizeof parts) == long_at(sum) ? DISTILL_RUN_OK
                                                                      : DISTILL_RUN_CHECKSUM;
}
