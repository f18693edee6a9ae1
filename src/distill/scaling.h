/* What an update takes on R ranks, foreseen from what was measured on one machine.
 *
 *     t(R) = ⌈n/R⌉·m + u + (b + 1)·S·(R − 1)/R / B + 2·(R − 1)·⌈S / (R·256 KiB)⌉·α
 *
 * n micro-batches of m seconds, the optimizer's u, S bytes of gradient and running state, b blocks
 * of the tree that a rank has at most (reduction.h; 1 when the shares are powers of two), B bytes a
 * second out of a machine, α = 30 µs for a message. A machine has one rank; ranks on one share B.
 * Nothing is computed while something is sent, and nothing but the training is counted.
 */
#ifndef KD_DISTILL_SCALING_H
#define KD_DISTILL_SCALING_H

#include <stdint.h>

#include "base/text.h"

typedef struct {
    int64_t micro_batches; /* of an update: n                                    */
    double micro_seconds;  /* m                                                  */
    double update_seconds; /* u                                                  */
    double bytes;          /* S                                                  */
    double updates;        /* of the stage                                       */
} kd_update_costs;

typedef struct {
    int64_t idle;   /* ranks without a micro-batch                 */
    double compute; /* seconds of an update: micro-batches, update */
    double network; /* seconds of an update                        */
    double sent;    /* bytes out of a rank                         */
} kd_update_forecast;

/* `gigabits` a second; 0: nothing is known of the network, which then takes no time. */
kd_update_forecast kd_scaling_forecast(const kd_update_costs *costs, int64_t ranks,
                                       double gigabits);

/* A table of 1 to 64 machines, and a line that says where it bends and why. */
void kd_scaling_write(kd_text *out, const kd_update_costs *costs, double gigabits);

#endif
