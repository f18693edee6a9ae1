/* Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011).
 *
 * A number is a pure function of (key, counter), so the i-th number of a stream can be made by any
 * thread in any order, and a generator's whole state is two integers that fit in a checkpoint.
 */
#ifndef KD_BASE_RNG_H
#define KD_BASE_RNG_H

#include <stdint.h>

typedef struct {
    uint64_t key;     /* which stream                                  */
    uint64_t counter; /* how many blocks of four numbers were consumed */
} kd_rng;

/* Streams with different (seed, stream) pairs are independent. */
kd_rng kd_rng_init(uint64_t seed, uint64_t stream);

/* Block `index` of stream `key`: four uniform 32-bit words. Stateless. */
void kd_rng_block(uint64_t key, uint64_t index, uint32_t out[4]);

/* The next value of the stream; each call consumes one block. */
uint32_t kd_rng_u32(kd_rng *rng);
double kd_rng_uniform(kd_rng *rng);                 /* [0, 1), 53 bits                   */
double kd_rng_normal(kd_rng *rng);                  /* mean 0, variance 1 (Box and Muller) */
uint64_t kd_rng_below(kd_rng *rng, uint64_t bound); /* {0 … bound−1}, unbiased; bound ≥ 1  */

/* Fisher-Yates: `order` becomes a uniformly random permutation of 0 … n−1. */
void kd_rng_permutation(kd_rng *rng, int64_t *order, int64_t n);

#endif
