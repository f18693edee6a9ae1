/* The tape: what was computed, in order, so that it can be walked backwards.
 *
 * An op computes its result, then records a node with its backward function. Recording order is
 * topological order, so backward is one loop from the end to the start.
 *
 * Memory. Values and saved data live in the tape's arena until kd_tape_reset. Gradients of
 * intermediate tensors and scratch come from a pool on the same arena: a gradient goes back to the
 * pool as soon as its node has run backward. After the first step, steps of the same shape ask the
 * system for nothing.
 *
 * When memory is out, the op escapes to the kd_tape_guard of the step (longjmp); nothing leaks,
 * since everything an op takes belongs to the arena. Without a guard it is a broken contract.
 */
#ifndef KD_AUTOGRAD_TAPE_H
#define KD_AUTOGRAD_TAPE_H

#include <setjmp.h>
#include <stddef.h>

#include "autograd/tensor.h"
#include "base/arena.h"
#include "base/rng.h"

enum { KD_MAX_INPUTS = 6 };

typedef enum {
    KD_PRECISION_FLOAT32,
    KD_PRECISION_BFLOAT16 /* products take bfloat16 inputs and accumulate in float32 */
} kd_precision;

typedef struct kd_tape kd_tape;

typedef struct kd_node {
    void (*backward)(kd_tape *tape, struct kd_node *node);
    const char *op;               /* name, for messages and profiles         */
    kd_tensor *out;               /* out->grad is complete when backward runs */
    kd_tensor *in[KD_MAX_INPUTS]; /* some may be NULL                        */
    void *saved;                  /* the op's own record, in the arena       */
    struct kd_node *previous;
} kd_node;

/* Who is told of the inputs that are multiplied by parameters, before they are: x (…,K) by a matrix
 * (M,K); or, with `stride`, the windows of images x (B,H,W,C) by a kernel (O,KH,KW,C/groups). */
typedef struct {
    void (*tell)(void *context, const kd_tensor *weight, const kd_tensor *x, const int *stride,
                 const int *padding, int groups);
    void *context;
} kd_tape_watch;

/* Who is told after each node has run backward, or was passed over. */
typedef struct {
    void (*tell)(void *context, const kd_node *node);
    void *context;
} kd_tape_after;

struct kd_tape {
    kd_arena *arena;
    kd_node *last;          /* newest node                                           */
    bool training;          /* dropout drops, batch norm uses the batch's statistics */
    bool recording;         /* false: forward only, no nodes                         */
    kd_precision precision; /* of matrix products                                    */
    int64_t full_batch;     /* samples of a full batch, for batch norm; 0: each is full */
    kd_rng rng;             /* dropout                                               */
    kd_tape_watch watch;    /* tell NULL: nobody                                     */
    kd_tape_after after;    /* the same                                              */
    jmp_buf escape;
    bool guarded;
    struct kd_pool_block *pool; /* free blocks, largest last                         */
};

int kd_tape_create(kd_tape **out, uint64_t seed);
void kd_tape_free(kd_tape *tape);

/* Forgets all nodes and tensors; memory is kept for the next step. */
void kd_tape_reset(kd_tape *tape);

/* `if (kd_tape_guard(tape)) return KD_EINTERNAL;` - true only when an op later escapes for want of
 * memory (kd_error is set). Must be written in the function that runs the step. */
#define kd_tape_guard(tape) ((tape)->guarded = true, setjmp((tape)->escape) != 0)

/* Seeds the gradient of the scalar `loss` with 1 and runs every node backward. */
void kd_tape_backward(kd_tape *tape, kd_tensor *loss);

/* --- for whoever feeds the tape ------------------------------------------------------------- */

/* An uninitialised leaf of this shape; fill ->value. Set ->needs_grad to get its gradient. */
kd_tensor *kd_tape_input(kd_tape *tape, int rank, const int64_t *shape);

/* --- for ops -------------------------------------------------------------------------------- */

/* An uninitialised tensor for an op's result. */
kd_tensor *kd_tape_output(kd_tape *tape, int rank, const int64_t *shape);

/* Records `out` as computed from `in` (n ≤ KD_MAX_INPUTS entries, NULLs allowed). Does nothing when
 * the tape does not record or no input needs a gradient; returns whether it recorded. */
bool kd_tape_record(kd_tape *tape, const char *op, void (*backward)(kd_tape *, kd_node *),
                    kd_tensor *out, void *saved, int n, kd_tensor *const *in);

/* Memory that lives until the reset. Aligned to 64, uninitialised. */
void *kd_tape_alloc(kd_tape *tape, size_t bytes);

/* Scratch: taken and given back within one forward or backward function. */
void *kd_tape_take(kd_tape *tape, size_t bytes);
void kd_tape_give(kd_tape *tape, void *memory);

/* The gradient of `x` to add into (zeroed when nothing was written yet); NULL when x needs none. */
kd_real *kd_tape_grad(kd_tape *tape, kd_tensor *x);

/* The same for ops that can overwrite: *beta is 0 when the buffer is uninitialised and must be
 * overwritten, 1 when the contribution must be added. The caller writes every element. */
kd_real *kd_tape_grad_beta(kd_tape *tape, kd_tensor *x, kd_real *beta);

#endif
