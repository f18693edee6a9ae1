/* Weights that are small whole numbers in their file: d·s·(code − zero) + m·o, see packed.h. */
#ifndef KD_AUTOGRAD_STEPS_H
#define KD_AUTOGRAD_STEPS_H

#include <stdbool.h>
#include <stdint.h>

enum { KD_STEPS_BLOCK = 32, KD_STEPS_SUPER = 256 };

typedef struct {
    int bits;    /* of a code: 4, 5, 6, 8                                            */
    int zero;    /* the code of 0; 0 or a power of two                               */
    bool offset; /* whether there are m and o                                        */
    int sub;     /* 0: blocks of 32 without s and o; else values of a sub-block of a
                    block of 256: 16 or 32                                           */
} kd_steps_kind;

/* Every kind there is. */
#define KD_STEPS_KINDS(X)                                                                          \
    X(q8_0, 8, 128, false, 0)                                                                      \
    X(q4_0, 4, 8, false, 0)                                                                        \
    X(q4_1, 4, 0, true, 0)                                                                         \
    X(q5_0, 5, 16, false, 0)                                                                       \
    X(q5_1, 5, 0, true, 0)                                                                         \
    X(q4_K, 4, 0, true, 32)                                                                        \
    X(q5_K, 5, 0, true, 32)                                                                        \
    X(q6_K, 6, 32, false, 16)

/* A row of n values; the caller's arrays. */
typedef struct {
    uint8_t *code;   /* (n)                                          */
    uint16_t *d, *m; /* (n / 32), with sub-blocks (n / 256); m only with offsets */
    int8_t *s, *o;   /* (n / sub); o only with offsets               */
} kd_row_steps;

/* What a constant (tensor.h) has whose rows are of such a kind. */
struct kd_constant;

typedef struct kd_constant_steps {
    kd_steps_kind kind;
    void (*row)(const struct kd_constant *constant, kd_row_steps *out, int64_t row);
} kd_constant_steps;

#endif
