/* The forward of a qnet: in real numbers while observing, in steps (fake_quant.h) otherwise. */
#include "base/error.h"
#include "quant/qnet_internal.h"

typedef struct {
    kd_qnet *qnet;
    kd_tape *tape;
    bool exact;       /* KD_QUANT_EVAL                                    */
    bool averaging;   /* KD_QUANT_TRAIN with ranges that go on moving     */
    kd_tensor **step; /* every node's output in steps                     */
} run;

/* Do ranges go on moving in training? Learned scales and finished ranges stay as calibrated. */
static bool follows_training(const kd_qnet *qnet) {
    return qnet->spec.observer == KD_OBSERVER_EMA && qnet->spec.method == KD_QUANT_STE;
}

static kd_learned learned_scale(const kd_qnet *qnet, int i) {
    const kd_qnode *q = &qnet->node[i];
    if (!q->scale) return (kd_learned){0};
    const kd_extent e = qnet->net->node[i].out;
    double n = (double)(e.h * e.w * e.c) * kd_grid_reach(&qnet->grid[i]);
    return (kd_learned){&q->scale->tensor, 1 / sqrt(n)};
}

/* Lets the range of node i follow, then puts its grid into use. */
static const kd_grid *use_grid(const run *r, int i, double min, double max) {
    kd_qnet *qnet = r->qnet;
    if (r->averaging) {
        if (qnet->net->node[i].act == KD_ACT_RELU) {
            min = min > 0 ? min : 0;
            max = max > 0 ? max : 0;
        }
        kd_range_average(qnet->node[i].range->tensor.value, qnet->spec.ema, min, max);
    }
    qnet->grid[i] = kd_qnet_grid(qnet, i);
    return &qnet->grid[i];
}

static const kd_grid *input_grid(const run *r, int i, int which) {
    const kd_qnet *qnet = r->qnet;
    return &qnet->grid[qnet->node[qnet->net->node[i].in[which]].source];
}

static kd_tensor *forward_input(const run *r, kd_tensor *x) {
    double min = 0, max = 0;
    if (r->averaging) kd_extrema(x->value, x->size, &min, &max);
    const kd_grid *grid = use_grid(r, 0, min, max);
    float *scale = kd_tape_alloc(r->tape, sizeof *scale);
    *scale = grid->scale;
    return kd_quantize(r->tape, x, 1, scale, grid, learned_scale(r->qnet, 0));
}

/* Real extrema of a layer's output before relu, from its accumulators. */
static void layer_extrema(kd_tape *tape, const kd_tensor *acc, const kd_qlayer *layer,
                          float scale_in, double *min, double *max) {
    const int64_t C = layer->channels;
    kd_real *low = kd_tape_take(tape, 2 * (size_t)C * sizeof *low), *high = low + C;
    kd_channel_extrema(tape, acc, low, high);
    *min = INFINITY;
    *max = -INFINITY;
    for (int64_t c = 0; c < C; c++) {
        double step = (double)scale_in * (double)layer->scale[c];
        *min = fmin(*min, step * ((double)low[c] + layer->bias[c]));
        *max = fmax(*max, step * ((double)high[c] + layer->bias[c]));
    }
    kd_tape_give(tape, low);
}

static kd_tensor *forward_layer(const run *r, int i, kd_tensor *x) {
    kd_qnet *qnet = r->qnet;
    const kd_net_node *node = &qnet->net->node[i];
    const kd_grid *in = input_grid(r, i, 0);
    const kd_qlayer layer = kd_qnet_layer(qnet, r->tape, i, in->scale);
    const kd_accumulator acc =
        kd_qnet_accumulate(node, r->tape, x, &layer, kd_grid_reach(in), r->exact);
    if (qnet->node[i].source != i)
        return kd_dequantize(r->tape, &acc, layer.bias, in->scale, layer.scale, layer.real_bias,
                             node->act == KD_ACT_RELU);
    double min = 0, max = 0;
    if (r->averaging) layer_extrema(r->tape, acc.digit[0], &layer, in->scale, &min, &max);
    const kd_grid *out = use_grid(r, i, min, max);
    kd_rescale how = kd_qlayer_rescale(r->tape, &layer, in->scale, out, node->act);
    how.learned = learned_scale(qnet, i);
    return kd_requantize_steps(r->tape, &acc, &how);
}

static kd_tensor *forward_mean(const run *r, int i, kd_tensor *x) {
    const kd_net_node *node = &r->qnet->net->node[i];
    const kd_grid *in = input_grid(r, i, 0);
    kd_tensor *mean;
    if (node->kind == KD_NODE_AVG_POOL)
        mean = kd_avg_pool2d(r->tape, x, node->pool);
    else
        mean = kd_reshape(r->tape, kd_global_avg_pool(r->tape, x), 4,
                          (int64_t[]){x->shape[0], 1, 1, node->out.c});
    double min = 0, max = 0;
    if (r->averaging) kd_extrema(mean->value, mean->size, &min, &max);
    const kd_grid *out = use_grid(r, i, min * (double)in->scale, max * (double)in->scale);
    kd_rescale how =
        kd_mean_rescale(r->tape, node->out.c, kd_pool_window(r->qnet->net, i), in->scale, out);
    how.learned = learned_scale(r->qnet, i);
    return kd_requantize_steps(r->tape, &(kd_accumulator){.count = 1, .digit = {mean}}, &how);
}

static kd_tensor *forward_add(const run *r, int i, kd_tensor *a, kd_tensor *b) {
    const kd_grid *grid_a = input_grid(r, i, 0), *grid_b = input_grid(r, i, 1);
    double min = 0, max = 0;
    if (r->averaging) kd_sum_extrema(a, grid_a->scale, b, grid_b->scale, &min, &max);
    const kd_grid *out = use_grid(r, i, min, max);
    return kd_add_quantized(r->tape, a, grid_a, b, grid_b, out,
                            r->qnet->net->node[i].act == KD_ACT_RELU, learned_scale(r->qnet, i));
}

static kd_tensor *second_input(const run *r, const kd_net_node *node) {
    return node->in[1] >= 0 ? r->step[node->in[1]] : NULL;
}

static kd_tensor *forward_steps(const run *r, int i) {
    const kd_net_node *node = &r->qnet->net->node[i];
    kd_tensor *x = r->step[node->in[0]], *second = second_input(r, node);
    switch (node->kind) {
    case KD_NODE_CONV:
    case KD_NODE_LINEAR:
        return forward_layer(r, i, x);
    case KD_NODE_AVG_POOL:
    case KD_NODE_GLOBAL_AVG_POOL:
        return forward_mean(r, i, x);
    case KD_NODE_ADD:
        return forward_add(r, i, x, second);
    case KD_NODE_MAX_POOL:
    case KD_NODE_SHORTCUT:
    case KD_NODE_DROPOUT:
    case KD_NODE_INPUT:
    case KD_NODE_KIND_COUNT:
        break;
    }
    /* No new numbers are made: steps go through as real numbers do. */
    return kd_net_node_forward(r->qnet->net, node, r->tape, x, second);
}

/* --- observing: the same net in real numbers, batch norm folded --------------------------------
 */

static kd_tensor *forward_real(const run *r, int i) {
    const kd_net_node *node = &r->qnet->net->node[i];
    kd_tensor *x = r->step[node->in[0]];
    if (node->kind != KD_NODE_CONV)
        return kd_net_node_forward(r->qnet->net, node, r->tape, x, second_input(r, node));
    kd_folded folded = kd_qnet_fold(r->qnet, r->tape, i);
    return kd_conv2d(r->tape, x, folded.weight, folded.bias, node->conv, node->act);
}

static kd_tensor *flat(kd_tape *tape, kd_tensor *x) {
    return kd_reshape(tape, x, 2, (int64_t[]){x->shape[0], x->size / x->shape[0]});
}

static kd_tensor *forward_observing(run *r, kd_tensor *x, kd_tensor **taps) {
    const kd_qnet *qnet = r->qnet;
    const bool watching = follows_training(qnet) || !r->tape->recording;
    for (int i = 0; i < qnet->net->count; i++) {
        const kd_qnode *q = &qnet->node[i];
        kd_tensor *y = i == 0 ? x : forward_real(r, i);
        if (q->observer && watching)
            kd_observer_watch(q->observer, q->range->tensor.value, y->value, y->size);
        r->step[i] = y;
        if (taps) taps[i] = y;
    }
    return flat(r->tape, r->step[qnet->net->count - 1]);
}

/* --- all modes -------------------------------------------------------------------------------- */

/* Node i's output as real numbers. */
static kd_tensor *real_value(const run *r, int i) {
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
    run r = {.qnet = qnet, .tape = tape, .exact = mode == KD_QUANT_EVAL};
    r.averaging = mode == KD_QUANT_TRAIN && follows_training(qnet);
    r.step = kd_tape_alloc(tape, (size_t)net->count * sizeof *r.step);
    if (mode == KD_QUANT_OBSERVE) return forward_observing(&r, x, taps);
    for (int i = 0; i < net->count; i++) {
        r.step[i] = i == 0 ? forward_input(&r, x) : forward_steps(&r, i);
        if (taps) taps[i] = real_value(&r, i);
    }
    return flat(tape, taps ? taps[net->count - 1] : real_value(&r, net->count - 1));
}
