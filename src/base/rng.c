#include "base/rng.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

void kd_rng_block(uint64_t key, uint64_t index, uint32_t out[4]) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = 0, c3 = 0;
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

kd_rng kd_rng_init(uint64_t seed, uint64_t stream) {
    /* The pair is hashed into the key by the cipher itself. */
    uint32_t a[4], b[4];
    kd_rng_block(seed, stream, a);
    kd_rng_block(((uint64_t)a[1] << 32) | a[0], ((uint64_t)a[3] << 32) | a[2], b);
    return (kd_rng){.key = ((uint64_t)b[1] << 32) | b[0], .counter = 0};
}

uint32_t kd_rng_u32(kd_rng *rng) {
    uint32_t block[4];
    kd_rng_block(rng->key, rng->counter++, block);
    return block[0];
}

static uint64_t next_u64(kd_rng *rng) {
    uint32_t block[4];
    kd_rng_block(rng->key, rng->counter++, block);
    return ((uint64_t)block[1] << 32) | block[0];
}

double kd_rng_uniform(kd_rng *rng) {
    return (double)(next_u64(rng) >> 11) * 0x1p-53;
}

double kd_rng_normal(kd_rng *rng) {
    uint32_t block[4];
    kd_rng_block(rng->key, rng->counter++, block);
    double u = ((double)block[0] + 1.0) * 0x1p-32, v = (double)block[1] * 0x1p-32;
    return sqrt(-2.0 * log(u)) * cos(2.0 * PI * v);
}

uint64_t kd_rng_below(kd_rng *rng, uint64_t bound) {
    uint64_t reject = (UINT64_MAX - bound + 1) % bound; /* 2^64 mod bound */
    uint64_t value;
    do value = next_u64(rng);
    while (value < reject);
    return value % bound;
}

void kd_rng_permutation(kd_rng *rng, int64_t *order, int64_t n) {
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)kd_rng_below(rng, (uint64_t)i + 1), other = order[j];
        order[j] = order[i];
        order[i] = other;
    }
}
