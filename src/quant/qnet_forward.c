/* The forward of a qnet: in real numbers while observing, in steps (fake_quant.h) otherwise. */
#include "base/error.h"
#include "quant/node.h"

/* Do ranges go on moving in training? Learned scales and finished ranges stay as calibrated. */
static bool follows_training(const kd_qnet *qnet) {
    return qnet->spec.observer == KD_OBSERVER_EMA && qnet->spec.method == KD_QUANT_STE;
}

kd_learned kd_qrun_learned(const kd_qrun *r, int i) {
    const kd_qnet *qnet = r->qnet;
    const kd_qnode *q = &qnet->node[i];
    if (!q->scale) return (kd_learned){0};
    const kd_extent e = qnet->net->node[i].out;
    double n = (double)(e.h * e.w * e.c) * kd_grid_reach(&qnet->grid[i]);
    return (kd_learned){&q->scale->tensor, 1 / sqrt(n)};
}

const kd_grid *kd_qrun_use_grid(const kd_qrun *r, int i, double min, double max) {
    kd_qnet *qnet = r->qnet;
    if (r->averaging) {
        if (qnet->net->node[i].spec.relu) {
            min = min > 0 ? min : 0;
            max = max > 0 ? max : 0;
        }
        kd_range_average(qnet->node[i].range->tensor.value, qnet->spec.ema, min, max);
    }
    qnet->grid[i] = kd_qnet_grid(qnet, i);
    return &qnet->grid[i];
}

const kd_grid *kd_qrun_input_grid(const kd_qrun *r, int i, int which) {
    const kd_qnet *qnet = r->qnet;
    return &qnet->grid[qnet->node[qnet->net->node[i].in[which]].source];
}

static const kd_qnode_class *class_of(const kd_qrun *r, int i) {
    return kd_qnode_class_of(r->qnet->net->node[i].spec.kind);
}

/* Of a node; of the input, what the network is given. */
static kd_tensor *read_by(const kd_qrun *r, int i, int which, kd_tensor *given) {
    const int in = r->qnet->net->node[i].in[which];
    return in >= 0 ? r->step[in] : which == 0 ? given : NULL;
}

/* Where no new numbers are made, steps go through as real numbers do. */
static kd_tensor *forward_steps(const kd_qrun *r, int i, kd_tensor *given) {
    const kd_qnode_class *class = class_of(r, i);
    kd_tensor *x = read_by(r, i, 0, given), *second = read_by(r, i, 1, given);
    if (class->steps) return class->steps(r, i, x, second);
    return kd_net_node_forward(r->qnet->net, &r->qnet->net->node[i], r->tape, x, second);
}

/* --- observing: the same net in real numbers, batch norm folded --------------------------------
 */

static kd_tensor *forward_real(const kd_qrun *r, int i, kd_tensor *given) {
    const kd_qnode_class *class = class_of(r, i);
    kd_tensor *x = read_by(r, i, 0, given), *second = read_by(r, i, 1, given);
    if (class->observe) return class->observe(r, i, x);
    return kd_net_node_forward(r->qnet->net, &r->qnet->net->node[i], r->tape, x, second);
}

static kd_tensor *flat(kd_tape *tape, kd_tensor *x) {
    return kd_reshape(tape, x, 2, (int64_t[]){x->shape[0], x->size / x->shape[0]});
}

static kd_tensor *forward_observing(kd_qrun *r, kd_tensor *x, kd_tensor **taps) {
    const kd_qnet *qnet = r->qnet;
    const bool watching = follows_training(qnet) || !r->tape->recording;
    for (int i = 0; i < qnet->net->count; i++) {
        const kd_qnode *q = &qnet->node[i];
        kd_tensor *y = forward_real(r, i, x);
        if (q->observer && watching)
            kd_observer_watch(q->observer, q->range->tensor.value, y->value, y->size);
        r->step[i] = y;
        if (taps) taps[i] = y;
    }
    return flat(r->tape, r->step[qnet->net->count - 1]);
}

/* --- all modes -------------------------------------------------------------------------------- */

/* Node i's output as real numbers. */
static kd_tensor *real_value(const kd_qrun *r, int i) {
    const int source = r->qnet->node[i].source;
    if (source < 0) return r->step[i];
    return kd_scale(r->tape, r->step[i], (kd_real)r->qnet->grid[source].scale);
}

kd_tensor *kd_qnet_forward(kd_qnet *qnet, kd_tape *tape, kd_tensor *x, kd_quant_mode mode,
                           kd_tensor **taps) {
    const kd_net *net = qnet->net;
    const kd_extent in = net->node[0].out;
    KD_CONTRACT(x->rank == 4 && x->shape[1] == in.h && x->shape[2] == in.w && x->shape[3] == in.c,
                "the input does not have the net's shape");
    kd_qrun r = {.qnet = qnet, .tape = tape, .exact = mode == KD_QUANT_EVAL};
    r.averaging = mode == KD_QUANT_TRAIN && follows_training(qnet);
    r.step = kd_tape_alloc(tape, (size_t)net->count * sizeof *r.step);
    if (mode == KD_QUANT_OBSERVE) return forward_observing(&r, x, taps);
    for (int i = 0; i < net->count; i++) {
        r.step[i] = forward_steps(&r, i, x);
        if (taps) taps[i] = real_value(&r, i);
    }
    return flat(tape, taps ? taps[net->count - 1] : real_value(&r, net->count - 1));
}
