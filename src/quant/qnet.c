#include "quant/qnet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "quant/node.h"

#define ADDRESS_OF(KIND, name) [KD_NODE_##KIND] = &kd_qnode_##name,
static const kd_qnode_class *const CLASSES[] = {KD_NODE_KINDS(ADDRESS_OF)};

const kd_qnode_class *kd_qnode_class_of(kd_node_kind kind) {
    KD_CONTRACT((int)kind >= 0 && kind < KD_NODE_KIND_COUNT, "kind %d of a node", (int)kind);
    return CLASSES[kind];
}

/* --- creation --------------------------------------------------------------------------------- */

enum { RANGE, SCALE, WEIGHT_SCALE, SUFFIXES };
static const char *const SUFFIX[SUFFIXES] = {"range", "scale", "weight_scale"};

bool kd_qnet_is_state(const char *name) {
    const char *dot = strrchr(name, '.');
    bool found = false;
    for (int i = 0; dot && i < SUFFIXES; i++) found = found || strcmp(dot + 1, SUFFIX[i]) == 0;
    return found;
}

/* Registers "<node>.<suffix>" (n). */
static int add_state(kd_param **out, kd_qnet *qnet, int node, const char *suffix, int64_t n,
                     kd_init init, int flags) {
    char name[KD_NAME_MAX];
    snprintf(name, sizeof name, "%s.%s", qnet->net->node[node].name, suffix);
    *out = kd_params_add(qnet->net->params, name, 1, &n, init, 0, 0, flags);
    return *out ? KD_OK : KD_EINTERNAL;
}

static const kd_qnode_class *class_of(const kd_qnet *qnet, int i) {
    return kd_qnode_class_of(qnet->net->node[i].spec.kind);
}

/* Whose grid is the output of node i on? */
static int source_of(const kd_qnet *qnet, int i) {
    const kd_qnode_class *class = class_of(qnet, i);
    if (class->gives_logits && i == qnet->net->count - 1) return -1;
    return class->steps ? i : qnet->node[qnet->net->node[i].in[0]].source;
}

/* The first and the last layer, and what they read, keep 8 bits at least (Choi et al. 2018, PACT;
 * Esser et al. 2020, section 3). */
static void choose_bits(kd_qnet *qnet) {
    int first = -1, last = -1;
    for (int i = 0; i < qnet->net->count; i++) {
        qnet->node[i].bits = qnet->spec.activation_bits;
        qnet->node[i].weight_bits = qnet->spec.weight_bits;
        if (!class_of(qnet, i)->is_layer) continue;
        if (first < 0) first = i;
        last = i;
    }
    qnet->node[0].bits = 8;
    if (last < 0) return;
    qnet->node[first].weight_bits = qnet->node[last].weight_bits = 8;
    int read = qnet->node[qnet->net->node[last].in[0]].source;
    qnet->node[read].bits = 8;
}

/* Whether integers can do what the node does. */
static int check_node(const kd_qnet *qnet, int i) {
    const kd_qnode_class *class = class_of(qnet, i);
    const kd_net_node *node = &qnet->net->node[i];
    if (class->refused)
        return kd_fail(KD_ECONFIG, "%s: a node of kind \"%s\" %s: leave \"quantize\" out",
                       node->name, kd_node_kind_name(node->spec.kind), class->refused);
    return class->check ? class->check(qnet->net, i) : KD_OK;
}

static int add_node(kd_qnet *qnet, int i) {
    const kd_net_node *node = &qnet->net->node[i];
    kd_qnode *q = &qnet->node[i];
    const bool learned = qnet->spec.method == KD_QUANT_LSQ;
    int status = check_node(qnet, i);
    if (status == KD_OK && class_of(qnet, i)->is_layer && learned)
        status = add_state(&q->weight_scale, qnet, i, SUFFIX[WEIGHT_SCALE], node->out.c,
                           KD_INIT_ONE, KD_PARAM_TRAINED);
    if (status < 0 || q->source != i) return status;
    status =
        add_state(&q->range, qnet, i, SUFFIX[RANGE], KD_RANGE_SIZE, KD_INIT_ZERO, KD_PARAM_RUNNING);
    if (status == KD_OK && learned)
        status = add_state(&q->scale, qnet, i, SUFFIX[SCALE], 1, KD_INIT_ONE, KD_PARAM_TRAINED);
    if (status == KD_OK)
        status = kd_observer_create(&q->observer, qnet->spec.observer, qnet->spec.ema,
                                    qnet->spec.percentile);
    return status;
}

int kd_qnet_create(kd_qnet **out, kd_net *net, const kd_quant_spec *spec) {
    KD_CONTRACT(spec->weight_bits >= 2 && spec->weight_bits <= 8 && spec->activation_bits >= 2 &&
                    spec->activation_bits <= 8,
                "%d-bit weights, %d-bit activations", spec->weight_bits, spec->activation_bits);
    const size_t count = (size_t)net->count;
    kd_qnet *qnet = calloc(1, sizeof *qnet);
    if (qnet) *qnet = (kd_qnet){.net = net, .spec = *spec};
    if (qnet) qnet->node = calloc(count, sizeof *qnet->node);
    if (qnet) qnet->grid = calloc(count, sizeof *qnet->grid);
    int status = qnet && qnet->node && qnet->grid
                     ? KD_OK
                     : kd_fail_memory(count * sizeof(kd_qnode), "a quantized network");
    if (status == KD_OK) {
        for (int i = 0; i < net->count; i++) qnet->node[i].source = source_of(qnet, i);
        choose_bits(qnet);
        for (int i = 0; i < net->count && status == KD_OK; i++) status = add_node(qnet, i);
    }
    if (status < 0) {
        kd_qnet_free(qnet);
        return status;
    }
    *out = qnet;
    return KD_OK;
}

void kd_qnet_free(kd_qnet *qnet) {
    if (!qnet) return;
    for (int i = 0; qnet->node && i < qnet->net->count; i++)
        kd_observer_free(qnet->node[i].observer);
    free(qnet->node);
    free(qnet->grid);
    free(qnet);
}

/* --- grids ------------------------------------------------------------------------------------ */

kd_grid kd_qnet_grid(const kd_qnet *qnet, int i) {
    const kd_qnode *q = &qnet->node[i];
    const kd_real *range = q->range->tensor.value;
    KD_CONTRACT(range[KD_RANGE_BATCHES] > 0, "%s was never observed", qnet->net->node[i].name);
    kd_grid grid = kd_grid_from_range((double)range[KD_RANGE_MIN], (double)range[KD_RANGE_MAX],
                                      q->bits, qnet->spec.symmetric_activations);
    if (q->scale && (double)q->scale->tensor.value[0] >= 0x1p-60)
        grid.scale = (float)q->scale->tensor.value[0];
    return grid;
}

/* --- calibration ------------------------------------------------------------------------------ */

/* LSQ's start: s0 = 2·mean|w|/√Qp for each channel of the folded weights. */
static void start_weight_scales(const kd_qnet *qnet, kd_tape *tape, int i) {
    const kd_qnode *q = &qnet->node[i];
    const kd_tensor *weight = kd_qnet_fold(qnet, tape, i).weight;
    const int64_t O = weight->shape[0], n = weight->size / O;
    const double qmax = (1 << (q->weight_bits - 1)) - 1;
    for (int64_t c = 0; c < O; c++) {
        double sum = 0;
        for (int64_t k = 0; k < n; k++) sum += fabs((double)weight->value[c * n + k]);
        q->weight_scale->tensor.value[c] = (kd_real)(2 * sum / (double)n / sqrt(qmax));
    }
}

int kd_qnet_calibrated(kd_qnet *qnet) {
    kd_tape *tape;
    int status = kd_tape_create(&tape, 0);
    if (status < 0) return status;
    tape->recording = tape->training = false;
    if (kd_tape_guard(tape)) {
        kd_tape_free(tape);
        return KD_EINTERNAL;
    }
    for (int i = 0; i < qnet->net->count && status == KD_OK; i++) {
        kd_qnode *q = &qnet->node[i];
        if (q->weight_scale) start_weight_scales(qnet, tape, i);
        kd_tape_reset(tape);
        if (!q->range) continue;
        kd_real *range = q->range->tensor.value;
        if (range[KD_RANGE_BATCHES] == 0)
            status = kd_fail(KD_EDATA,
                             "%s: its output was never observed; calibrate with at "
                             "least one batch",
                             qnet->net->node[i].name);
        if (status < 0) break;
        kd_observer_finish(q->observer, range, q->bits, qnet->spec.symmetric_activations);
        if (!q->scale) continue;
        q->scale->tensor.value[0] = 0; /* so that the grid is the observed one */
        q->scale->tensor.value[0] = (kd_real)kd_qnet_grid(qnet, i).scale;
    }
    kd_params_touch(qnet->net->params);
    kd_tape_free(tape);
    return status;
}
