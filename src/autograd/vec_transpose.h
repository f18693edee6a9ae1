/* A square of KD_VEC registers, transposed. */
#ifndef KD_AUTOGRAD_VEC_TRANSPOSE_H
#define KD_AUTOGRAD_VEC_TRANSPOSE_H

#include "autograd/vec.h"

/* By exchanging blocks of 1, 2, 4 … lanes: of a pair of registers `s` apart, KD_LOWER are the lanes
 * the first one ends with, KD_UPPER those of the second. */
#define KD_LOWER(lane, s)   ((lane) & (s) ? (lane) - (s) + KD_VEC : (lane))
#define KD_UPPER(lane, s)   (KD_LOWER(lane, s) + (s))
#define KD_LANES4(f, at, s) f((at), s), f((at) + 1, s), f((at) + 2, s), f((at) + 3, s)
#define KD_LANES8(f, at, s) KD_LANES4(f, at, s), KD_LANES4(f, (at) + 4, s)
#if KD_VEC_BYTES == 64 && !defined(KD_DOUBLE)
#define KD_LANES(f, s) KD_LANES8(f, 0, s), KD_LANES8(f, 8, s)
#elif KD_VEC_BYTES == 64 || !defined(KD_DOUBLE)
#define KD_LANES(f, s) KD_LANES8(f, 0, s)
#else
#define KD_LANES(f, s) KD_LANES4(f, 0, s)
#endif
#define KD_EXCHANGE(v, s)                                                                          \
    for (int i = 0; i < KD_VEC; i++) {                                                             \
        if (i & (s)) continue;                                                                     \
        const kd_vec a = (v)[i], b = (v)[i + (s)];                                                 \
        (v)[i] = __builtin_shufflevector(a, b, KD_LANES(KD_LOWER, s));                             \
        (v)[i + (s)] = __builtin_shufflevector(a, b, KD_LANES(KD_UPPER, s));                       \
    }

KD_INLINE void kd_vec_transpose(kd_vec v[KD_VEC]) {
#pragma GCC unroll 16
    KD_EXCHANGE(v, 1)
#pragma GCC unroll 16
    KD_EXCHANGE(v, 2)
#if KD_VEC_BYTES == 64 || !defined(KD_DOUBLE)
#pragma GCC unroll 16
    KD_EXCHANGE(v, 4)
#endif
#if KD_VEC_BYTES == 64 && !defined(KD_DOUBLE)
#pragma GCC unroll 16
    KD_EXCHANGE(v, 8)
#endif
}

#endif
