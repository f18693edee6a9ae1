/* The parameters of a model: registered by the layers, then laid out in parallel slabs.
 *
 * Values, gradients and the optimizer's moments are one array each, so an update, a gradient norm,
 * a checkpoint and an all-reduce are each one pass over one array. State that is saved but not
 * trained lies in the same value slab behind the trained part: first what a forward pass moves
 * (running statistics, observed ranges), then what nothing moves (frozen weights).
 */
#ifndef KD_AUTOGRAD_PARAM_H
#define KD_AUTOGRAD_PARAM_H

#include <stddef.h>

#include "autograd/tensor.h"
#include "base/rng.h"

enum { KD_NAME_MAX = 64 };

typedef enum {
    KD_INIT_ZERO,
    KD_INIT_ONE,
    KD_INIT_HE_NORMAL,      /* N(0, 2/fan_in): He et al. 2015, equation 10          */
    KD_INIT_XAVIER_UNIFORM, /* U(±√(6/(fan_in+fan_out))): Glorot and Bengio 2010, 16 */
    KD_INIT_NORMAL_002      /* N(0, 0.02²), embeddings                              */
} kd_init;

typedef enum {
    KD_PARAM_TRAINED = 1, /* the optimizer updates it                 */
    KD_PARAM_DECAYED = 2, /* weight decay applies (weights, not biases or norms) */
    KD_PARAM_RUNNING = 4, /* state that forward passes of training move */
    KD_PARAM_STATE = 0    /* saved and restored, never trained        */
} kd_param_flags;

typedef struct kd_param {
    char name[KD_NAME_MAX]; /* "stem.conv.weight"                                   */
    kd_tensor tensor;       /* value and grad point into the slabs once laid out    */
    kd_init init;
    int flags;               /* kd_param_flags, or-ed                                */
    bool by_rows;            /* only products and lookups read it: it may be a constant */
    int head_rows;           /* rows of a head that rotary positions turn, or 0      */
    int64_t fan_in, fan_out; /* for the initialisation                              */
    int64_t offset;          /* of the first element in the slab                     */
    const int64_t *version;  /* of the list's values                                 */
    void *packed;            /* gemm_bf16.c: the rounded copy that products use, or NULL */
    int64_t packed_version;  /* of the values `packed` was made from                 */
    int uses;                /* distill/gradient.c: nodes that may still add to the gradient */
} kd_param;

typedef struct kd_params {
    kd_param **list; /* in order of registration; the pointers never move    */
    int count, capacity;
    kd_real *value, *grad;           /* slabs of `slab_size` and `trained_size`              */
    int64_t slab_size, trained_size; /* trained parameters come first                    */
    int64_t running_size;            /* of the running state behind them                 */
    int64_t version;                 /* bumped whenever values change; packed copies check it */
    bool laid_out;
} kd_params;

int kd_params_create(kd_params **out);
void kd_params_free(kd_params *params);

/* Registers a parameter before the layout. The returned pointer lives as long as `params`; NULL
 * when memory is out (kd_error is set). Names must be unique and shorter than KD_NAME_MAX
 * (contract). */
kd_param *kd_params_add(kd_params *params, const char *name, int rank, const int64_t *shape,
                        kd_init init, int64_t fan_in, int64_t fan_out, int flags);

/* Allocates the slabs, points every tensor into them and initialises the values from `seed`; the
 * values of one parameter depend only on the seed and its name. State whose tensor is a constant
 * takes no place (contract: by_rows). */
int kd_params_layout(kd_params *params, uint64_t seed);

kd_param *kd_params_find(const kd_params *params, const char *name); /* or NULL */

/* Marks every gradient as unwritten: the next backward pass overwrites. */
void kd_params_begin_step(kd_params *params);
/* Zeroes the gradients no backward pass wrote since kd_params_begin_step; or one of them. */
void kd_params_finish_grads(kd_params *params);
void kd_param_finish_grad(kd_param *param);
/* Call after changing values. */
void kd_params_touch(kd_params *params);

#endif
