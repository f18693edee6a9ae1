/* Inside packed.h: its kernels, one for each level of the processor. */
#ifndef KD_AUTOGRAD_PACKED_KERNEL_H
#define KD_AUTOGRAD_PACKED_KERNEL_H

#include "autograd/packed.h"
#include "base/isa.h"

/* Rows of activations, rounded: (rows, columns) and so on. */
typedef struct {
    int64_t rows, columns;
    int8_t *step;
    float *scale;   /* (rows, columns / 32): a                                */
    float *total;   /* (rows, columns / 32): a·Σ step                         */
    int32_t *minus; /* (rows, columns / 16): −Σ step                          */
} kd_rounded_rows;

enum { KD_PACKED_ROWS = 8 /* at once */ };

typedef struct kd_packed_kernel {
    const char *name;
    /* out[r·16 + i] = row `first` + r of A times row i of the panel, r < rows; rows is 1, 2, 4 or 8
     */
    void (*tile)(const kd_packed *W, int64_t panel, const kd_rounded_rows *A, int64_t first,
                 int rows, float *out);
} kd_packed_kernel;

/* Rows begin … end − 1 of A. */
void kd_packed_round(kd_rounded_rows *out, const kd_real *A, int64_t lda, int64_t begin,
                     int64_t end);

/* NULL where it was not compiled or the processor lacks it. */
const kd_packed_kernel *kd_packed_kernel_of(kd_isa isa);
const kd_packed_kernel *kd_packed_kernel_avx2(void);
const kd_packed_kernel *kd_packed_kernel_avxvnni(void);
const kd_packed_kernel *kd_packed_kernel_avx512vnni(void);
/* The fastest that may be used. */
const kd_packed_kernel *kd_packed_kernel_choose(void);

#define KD_PACKED_INLINE static inline __attribute__((always_inline))

/* The kind numbered `which`, for those who compile a loop for each. */
#define KD_STEPS_NUMBER(name, bits, zero, offset, sub) KD_STEPS_##name,
enum { KD_STEPS_KINDS(KD_STEPS_NUMBER) KD_STEPS_COUNT };

/* Bytes of 32 columns' codes, and of a block's d and m and a sub-block's s and o, of a panel. */
KD_PACKED_INLINE int kd_steps_code_bytes(kd_steps_kind k) {
    return k.bits == 8 ? 512 : 256 + (k.bits == 5 ? 64 : k.bits == 6 ? 128 : 0);
}
KD_PACKED_INLINE int kd_steps_halves_bytes(kd_steps_kind k) {
    return (k.offset ? 2 : 1) * KD_PACKED_PANEL * (int)sizeof(uint16_t);
}
KD_PACKED_INLINE int kd_steps_small_bytes(kd_steps_kind k) {
    return (k.offset ? 2 : 1) * KD_PACKED_PANEL;
}
KD_PACKED_INLINE int kd_steps_block(kd_steps_kind k) {
    return k.sub ? KD_STEPS_SUPER : KD_STEPS_BLOCK;
}
/* Of a block with all its sub-blocks. */
KD_PACKED_INLINE int kd_steps_scale_bytes(kd_steps_kind k) {
    return kd_steps_halves_bytes(k) +
           (k.sub ? KD_STEPS_SUPER / k.sub * kd_steps_small_bytes(k) : 0);
}

/* −zero·Σ step as a shift of −Σ step. */
KD_PACKED_INLINE int kd_steps_shift(kd_steps_kind k) {
    return k.zero == 128 ? 7 : k.zero == 32 ? 5 : k.zero == 16 ? 4 : 3;
}

/* One loop for each kind and each number of rows, of tile(W, panel, A, first, out, kind, rows). */
#define KD_PACKED_CASE(tile, kind, rows)                                                           \
    if (rows == 8)                                                                                 \
        tile(W, panel, A, first, out, kind, 8);                                                    \
    else if (rows == 4)                                                                            \
        tile(W, panel, A, first, out, kind, 4);                                                    \
    else if (rows == 2)                                                                            \
        tile(W, panel, A, first, out, kind, 2);                                                    \
    else                                                                                           \
        tile(W, panel, A, first, out, kind, 1);

#endif
