/* The gradient of an update from its micro-batches, which the ranks of a job share (reduction.h),
 * and what the micro-batches do to the running state: each begins with the state of before the
 * update, and the state after it is the mean of what they made of it,
 *
 *     g = Σ_i g_i        s' = 1/n · Σ_i f(s, micro-batch i)
 *
 * so that neither depends on who computed which.
 */
#ifndef KD_DISTILL_GRADIENT_H
#define KD_DISTILL_GRADIENT_H

#include "autograd/param.h"
#include "autograd/tape.h"
#include "distill/reduction.h"

typedef struct {
    kd_params *params;
    kd_reduction *gradients, *states;
    kd_real *before; /* the running state */
    int64_t n;       /* micro-batches of this update */
    kd_deal state_deal;
    int waiting; /* of the parameters in their order, those whose gradient may still change */
} kd_gradient;

/* For updates of `full` micro-batches, or `last`; `deal` says whose numbers are whose. Both are
 * borrowed. The caller clears, also after an error. */
int kd_gradient_init(kd_gradient *out, kd_params *params, const kd_deal *deal, int64_t full,
                     int64_t last);
void kd_gradient_clear(kd_gradient *gradient);

/* One update of n micro-batches, called by all ranks: begin gives this rank's, first … end − 1;
 * each of them, in order, computes its loss after enter and goes back from it by backward, during
 * which the last one's gradients leave for other ranks layer by layer; then exchange, and if all is
 * well on all ranks finish, put gradient (of this rank's blocks) and running state of the whole
 * update into the parameters. A rank that fails on the way calls exchange, too, with `failed`. */
void kd_gradient_begin(kd_gradient *gradient, int64_t n, int64_t *first, int64_t *end);
void kd_gradient_enter(kd_gradient *gradient);
void kd_gradient_backward(kd_gradient *gradient, kd_tape *tape, kd_tensor *loss);
void kd_gradient_exchange(kd_gradient *gradient, bool failed);
void kd_gradient_finish(kd_gradient *gradient);

#endif
