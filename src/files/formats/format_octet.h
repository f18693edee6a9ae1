/* Inside the searches for scales: eight blocks side by side, a lane each, so that sums over a block
 * stay in ggml's order and eight of them cost as much as one. Value i of the blocks is x[i]. */
#ifndef KD_FILES_FORMAT_OCTET_H
#define KD_FILES_FORMAT_OCTET_H

#include <stdint.h>

enum { KD_OCTET = 8, KD_OCTET_VALUES = 32 /* the most values of a block */ };

typedef float kd_octet __attribute__((vector_size(4 * KD_OCTET)));
typedef int32_t kd_octet_int __attribute__((vector_size(4 * KD_OCTET)));

#define KD_OCTET_INLINE static inline __attribute__((always_inline))

KD_OCTET_INLINE kd_octet kd_octet_all(float x) {
    return x - (kd_octet){0};
}

/* mask ? a : b, where a comparison made the mask. */
KD_OCTET_INLINE kd_octet kd_octet_pick(kd_octet_int mask, kd_octet a, kd_octet b) {
    return (kd_octet)(((kd_octet_int)a & mask) | ((kd_octet_int)b & ~mask));
}
KD_OCTET_INLINE kd_octet_int kd_octet_pick_int(kd_octet_int mask, kd_octet_int a, kd_octet_int b) {
    return (a & mask) | (b & ~mask);
}

KD_OCTET_INLINE kd_octet kd_octet_magnitude(kd_octet x) {
    return (kd_octet)((kd_octet_int)x & 0x7fffffff);
}

KD_OCTET_INLINE kd_octet kd_octet_float(kd_octet_int x) {
    return __builtin_convertvector(x, kd_octet);
}

/* kd_format_nearest, and that between two bounds. */
KD_OCTET_INLINE kd_octet_int kd_octet_nearest(kd_octet x) {
    return ((kd_octet_int)(x + 12582912.0f) & 0x007fffff) - 0x00400000;
}
KD_OCTET_INLINE kd_octet_int kd_octet_step(kd_octet x, int low, int high) {
    const kd_octet_int step = kd_octet_nearest(x), zero = {0};
    const kd_octet_int above = kd_octet_pick_int(step < low, zero + low, step);
    return kd_octet_pick_int(above > high, zero + high, above);
}

/* `count` blocks of n values behind each other → lanes 0 … count − 1; the others are zero. */
KD_OCTET_INLINE void kd_octet_gather(kd_octet *out, const float *x, int n, int count) {
    for (int i = 0; i < n; i++) out[i] = (kd_octet){0};
    for (int k = 0; k < count; k++)
        for (int i = 0; i < n; i++) out[i][k] = x[k * n + i];
}

/* The steps of lanes 0 … count − 1, block by block. */
KD_OCTET_INLINE void kd_octet_scatter(uint8_t *out, const kd_octet_int *q, int n, int count) {
    for (int k = 0; k < count; k++)
        for (int i = 0; i < n; i++) out[k * n + i] = (uint8_t)q[i][k];
}

#endif
