/* One SIMD register of kd_real, through the compiler's vector extension: the arithmetic operators
 * work on it lane by lane on any processor, and a comparison gives a kd_vec_mask of 0 and −1. */
#ifndef KD_AUTOGRAD_VEC_H
#define KD_AUTOGRAD_VEC_H

#include <stdint.h>
#include <string.h>

#include "autograd/real.h"

#ifdef __AVX512F__
#define KD_VEC_BYTES 64
#else
#define KD_VEC_BYTES 32
#endif

enum { KD_VEC = KD_VEC_BYTES / sizeof(kd_real) }; /* lanes */

typedef kd_real kd_vec __attribute__((vector_size(KD_VEC_BYTES)));
#ifdef KD_DOUBLE
typedef int64_t kd_vec_lane;
#else
typedef int32_t kd_vec_lane;
#endif
typedef kd_vec_lane kd_vec_mask __attribute__((vector_size(KD_VEC_BYTES)));

#define KD_INLINE static inline __attribute__((always_inline))

/* The same register in memory that is aligned to its scalar only. */
typedef kd_vec kd_vec_memory __attribute__((aligned(sizeof(kd_real)), may_alias));

KD_INLINE kd_vec kd_vec_load(const kd_real *from) {
    return *(const kd_vec_memory *)from;
}

KD_INLINE void kd_vec_store(kd_real *to, kd_vec x) {
    *(kd_vec_memory *)to = x;
}

KD_INLINE kd_vec kd_vec_all(kd_real x) {
    return x - (kd_vec){0};
}

/* The first n lanes; the others are zero. n ≥ KD_VEC means all. */
KD_INLINE kd_vec kd_vec_load_part(const kd_real *from, int64_t n) {
    if (n >= KD_VEC) return kd_vec_load(from);
    kd_vec x = {0};
    memcpy(&x, from, (size_t)n * sizeof(kd_real));
    return x;
}

KD_INLINE void kd_vec_store_part(kd_real *to, kd_vec x, int64_t n) {
    if (n >= KD_VEC)
        kd_vec_store(to, x);
    else
        memcpy(to, &x, (size_t)n * sizeof(kd_real));
}

/* mask ? a : b */
KD_INLINE kd_vec kd_vec_select(kd_vec_mask mask, kd_vec a, kd_vec b) {
    return (kd_vec)(((kd_vec_mask)a & mask) | ((kd_vec_mask)b & ~mask));
}

/* max(x, 0); NaN stays NaN. */
KD_INLINE kd_vec kd_vec_relu(kd_vec x) {
    return (kd_vec)((kd_vec_mask)x & ~(x < 0));
}

#endif
