/* A tensor: a shape and where its numbers are. It owns nothing; see tape.h and param.h for who
 * does.
 *
 * Everything is row-major and dense, and the last axis is channels: images are (B,H,W,C), sequences
 * (B,T,C), rows (N,C). So bias, norms, softmax and losses always work on the last axis.
 */
#ifndef KD_AUTOGRAD_TENSOR_H
#define KD_AUTOGRAD_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/real.h"

enum { KD_MAX_RANK = 5 };

struct kd_param;

/* The numbers of a matrix that is only read, made when they are read: weights that lie in a file in
 * another format. */
typedef struct kd_constant {
    /* Rows first … first + count − 1 → out, dense; from any thread. */
    void (*read)(const struct kd_constant *constant, kd_real *out, int64_t first, int64_t count);
    int64_t bytes;        /* that they take where they lie */
    const uint16_t *half; /* where they lie as IEEE halves, dense, maybe unaligned; else NULL */
    const struct kd_constant_steps
        *steps; /* where they are small whole numbers (packed.h), or NULL */
} kd_constant;

typedef struct kd_tensor {
    int rank;                    /* 1 … KD_MAX_RANK                                   */
    int64_t shape[KD_MAX_RANK];  /* each ≥ 1                                          */
    int64_t size;                /* product of the shape                              */
    kd_real *value;              /* (size); NULL of a constant                        */
    kd_real *grad;               /* (size), or NULL until backward reaches it         */
    bool grad_written;           /* false: the next contribution overwrites `grad`    */
    bool needs_grad;             /* backward must fill `grad`                         */
    struct kd_param *param;      /* the parameter this is the tensor of, or NULL      */
    const kd_constant *constant; /* in place of `value`: kd_linear, kd_linear_onto and kd_embedding
                                    take such a matrix, no other op does; NULL otherwise */
} kd_tensor;

/* The size of the last axis, and the number of rows in front of it. */
static inline int64_t kd_channels(const kd_tensor *x) {
    return x->shape[x->rank - 1];
}
static inline int64_t kd_rows(const kd_tensor *x) {
    return x->size / kd_channels(x);
}

/* "(128, 28, 28, 1)" into `out`; returns `out`. */
const char *kd_shape_text(char *out, int capacity, const kd_tensor *x);

/* Rows first … first + count − 1 of all that is in front of the last axis → out, constant or not.
 */
void kd_tensor_read(const kd_tensor *x, kd_real *out, int64_t first, int64_t count);

bool kd_same_shape(const kd_tensor *a, const kd_tensor *b);

#endif
