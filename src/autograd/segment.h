/* A stretch of the forward pass that may be run twice: where memory is short, nothing of it is kept
 * for the way back, and it is run again when its gradients are due (Chen, Xu, Zhang, Guestrin 2016,
 * arXiv:1604.06174). What is kept are its inputs; what it costs is a forward pass more. */
#ifndef KD_AUTOGRAD_SEGMENT_H
#define KD_AUTOGRAD_SEGMENT_H

#include "autograd/param.h"
#include "autograd/tape.h"

/* Records ops on `tape`, from in[0] … to the result. The same from the same, each time: it may draw
 * from the tape's generator, and moves no running state. */
typedef kd_tensor *kd_segment_run(kd_tape *tape, const void *context, kd_tensor *const *in);

/* run(tape, context, in), kept or not as tape->recompute says, with the same bits. The n inputs are
 * different tensors, `context` lives until the tape's reset. */
kd_tensor *kd_segment(kd_tape *tape, kd_segment_run *run, const void *context, int n,
                      kd_tensor *const *in);

/* The parameters that a segment's nodes have as inputs, one for each such input → *out; how many, 0
 * for any other node. Whoever is told after each node (tape.h) is told after these when they ran.
 */
int kd_segment_params(kd_param *const **out, const kd_node *node);

#endif
