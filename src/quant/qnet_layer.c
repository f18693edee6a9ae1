/* Layers in integers: batch norm folded, weights on their grids, biases at the accumulator's scale,
 * and products that stay exact. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "quant/qnet_internal.h"

/* Biases are kept below 2^28 accumulator steps, so that accumulator + bias fits an int32: a channel
 * whose weights are tiny beside its bias gets a coarser weight scale. */
static const double BIAS_STEPS_MAX = 0x1p28;

/* Σ|w| of a channel in steps: with stored activations of 0 … 255, a zero-point among them and a
 * bias of 2^29 steps at most, its sums stay below 2^31. */
static const double WEIGHT_STEPS_MAX = (0x1p31 - 0x1p29) / (2 * 255) - 1;

/* Sums of whole numbers below this are exact in a kd_real. */
static const double EXACT_BELOW = sizeof(kd_real) == 8 ? 0x1p53 : 0x1p24;

/* Sums of 255 times the 0s and 1s of so many weights stay below 2^24, so that the fake-quantized
 * network's products are exact in float32 whatever the weights are. Rounded to the scales that
 * kd_qnet_layer chooses, such a layer's sums stay below 2^31 too. */
enum { INPUTS_MAX = (1 << 24) / 255 };

int kd_qnet_check_layer(const kd_net *net, int index) {
    const kd_net_node *node = &net->node[index];
    const int64_t inputs = node->weight->tensor.size / node->out.c;
    if (inputs <= INPUTS_MAX) return KD_OK;
    return kd_fail(KD_ECONFIG,
                   "%s: each output is a sum of %lld products; in integers its sums can pass 2^31 "
                   "and are exact up to %d products: put a pool or a stride in front of it, or "
                   "leave \"quantize\" out",
                   node->name, (long long)inputs, (int)INPUTS_MAX);
}

/* --- folding ---------------------------------------------------------------------------------- */

/* With f = γ/√(σ² + ε): w' = w·f per output channel, b' = β − μ·f. Running statistics, constant;
 * gradients reach w, γ and β. */
kd_folded kd_qnet_fold(const kd_qnet *qnet, kd_tape *tape, int index) {
    const kd_net_node *node = &qnet->net->node[index];
    if (!node->gamma)
        return (kd_folded){&node->weight->tensor, node->bias ? &node->bias->tensor : NULL};
    const int64_t O = node->gamma->tensor.size;
    kd_tensor *inverse = kd_tape_input(tape, 1, &O), *minus_mean = kd_tape_input(tape, 1, &O);
    for (int64_t c = 0; c < O; c++) {
        inverse->value[c] = 1 / kd_sqrt(node->var->tensor.value[c] + qnet->net->bn_epsilon);
        minus_mean->value[c] = -node->mean->tensor.value[c];
    }
    kd_tensor *factor = kd_mul(tape, &node->gamma->tensor, inverse);
    return (kd_folded){
        kd_scale_rows(tape, &node->weight->tensor, factor),
        kd_add(tape, &node->beta->tensor, kd_mul(tape, factor, minus_mean), KD_ACT_NONE)};
}

/* --- integers --------------------------------------------------------------------------------- */

static double largest_magnitude(const kd_real *x, int64_t n) {
    kd_real most = 0;
    for (int64_t i = 0; i < n; i++) most = kd_fabs(x[i]) > most ? kd_fabs(x[i]) : most;
    return (double)most;
}

/* Rounding adds at most n/2 steps to Σ|w|/scale. */
static double scale_for_sums(const kd_real *weight, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += fabs((double)weight[i]);
    return sum / (WEIGHT_STEPS_MAX - (double)n / 2);
}

/* The scale of one channel: learned, or from its largest weight; never so small that the bias or
 * the sums overflow, never 0. */
static float channel_scale(const kd_real *weight, int64_t n, double learned, double bias,
                           double scale_in, int32_t qmax) {
    const double least = 0x1p-60;
    double scale = learned;
    if (!(scale >= least)) scale = largest_magnitude(weight, n) / qmax;
    if (!(scale >= least)) scale = 1.0 / qmax;
    const double for_bias = fabs(bias) / (scale_in * BIAS_STEPS_MAX);
    const double for_sums = (double)n * qmax > WEIGHT_STEPS_MAX ? scale_for_sums(weight, n) : 0;
    return (float)fmax(scale, fmax(for_bias, for_sums));
}

kd_qlayer kd_qnet_layer(const kd_qnet *qnet, kd_tape *tape, int index, float scale_in) {
    const kd_qnode *q = &qnet->node[index];
    const kd_folded folded = kd_qnet_fold(qnet, tape, index);
    const int64_t O = folded.weight->shape[0], n = folded.weight->size / O;
    const int32_t qmax = (1 << (q->weight_bits - 1)) - 1;
    kd_qlayer layer = {.real_bias = folded.bias, .channels = O};
    layer.scale = kd_tape_alloc(tape, kd_array_bytes(O, sizeof *layer.scale));
    layer.bias = kd_tape_alloc(tape, kd_array_bytes(O, sizeof *layer.bias));
    for (int64_t c = 0; c < O; c++) {
        double bias = folded.bias ? (double)folded.bias->value[c] : 0;
        double learned = q->weight_scale ? (double)q->weight_scale->tensor.value[c] : 0;
        layer.scale[c] =
            channel_scale(folded.weight->value + c * n, n, learned, bias, (double)scale_in, qmax);
        double steps = rint(bias / ((double)scale_in * (double)layer.scale[c]));
        steps = steps < 2 * BIAS_STEPS_MAX ? steps : 2 * BIAS_STEPS_MAX; /* NaN too */
        layer.bias[c] = (int32_t)(steps > -2 * BIAS_STEPS_MAX ? steps : -2 * BIAS_STEPS_MAX);
    }
    kd_grid grid = {.qmin = -qmax, .qmax = qmax};
    kd_learned learned = {0};
    if (q->weight_scale)
        learned = (kd_learned){&q->weight_scale->tensor, 1 / sqrt((double)n * qmax)};
    layer.steps = kd_quantize(tape, folded.weight, O, layer.scale, &grid, learned);
    return layer;
}

/* --- products --------------------------------------------------------------------------------- */

/* Digit j of a whole number |w| < 128, with w's sign. */
static inline kd_real digit_of(kd_real w, int j, int bits) {
    int32_t whole = (int32_t)kd_fabs(w);
    kd_real digit = (kd_real)((whole >> (j * bits)) & ((1 << bits) - 1));
    return w < 0 ? -digit : digit;
}

/* Can no sum of steps (|x| ≤ reach) times digits become inexact? */
static bool digits_are_exact(const kd_tensor *steps, int bits, int32_t reach) {
    const int64_t O = steps->shape[0], n = steps->size / O;
    for (int64_t c = 0; c < O; c++)
        for (int j = 0; j * bits < 7; j++) {
            double sum = 0;
            for (int64_t i = 0; i < n; i++)
                sum += fabs((double)digit_of(steps->value[c * n + i], j, bits));
            if (sum * reach >= EXACT_BELOW) return false;
        }
    return true;
}

/* x (N…,C) steps and the layer's integer weights → the accumulator, exact when `exact` (which may
 * take several products), else exact as long as sums stay below 2^24. */
static kd_accumulator accumulate(const kd_net_node *node, kd_tape *tape, kd_tensor *x,
                                 const kd_qlayer *layer, int32_t reach, bool exact,
                                 kd_product product) {
    int bits = 7;
    while (exact && bits > 1 && !digits_are_exact(layer->steps, bits, reach)) bits = (bits + 1) / 2;
    kd_accumulator acc = {.count = (7 + bits - 1) / bits, .bits = bits};
    if (acc.count == 1) {
        acc.digit[0] = product(tape, node, x, layer->steps);
        return acc;
    }
    for (int j = 0; j < acc.count; j++) {
        kd_tensor *digits = kd_tape_input(tape, layer->steps->rank, layer->steps->shape);
        for (int64_t i = 0; i < digits->size; i++)
            digits->value[i] = digit_of(layer->steps->value[i], j, bits);
        acc.digit[j] = product(tape, node, x, digits);
    }
    return acc;
}

/* --- rounding to the next grid ---------------------------------------------------------------- */

/* One multiplier for each ratio. */
static kd_rescale rescale_create(kd_tape *tape, int64_t C, const double *ratio,
                                 const kd_grid *out) {
    kd_rescale how = {.channels = C, .ratio = ratio, .unit = 1, .grid = *out};
    int32_t *factor = kd_tape_alloc(tape, kd_array_bytes(C, sizeof *factor));
    int32_t *shift = kd_tape_alloc(tape, kd_array_bytes(C, sizeof *shift));
    for (int64_t c = 0; c < C; c++) {
        kd_multiplier m = kd_multiplier_from(ratio[c]);
        factor[c] = m.factor;
        shift[c] = m.shift;
    }
    how.factor = factor;
    how.shift = shift;
    return how;
}

kd_rescale kd_qlayer_rescale(kd_tape *tape, const kd_qlayer *layer, float scale_in,
                             const kd_grid *out, kd_act act) {
    double *ratio = kd_tape_alloc(tape, kd_array_bytes(layer->channels, sizeof *ratio));
    for (int64_t c = 0; c < layer->channels; c++)
        ratio[c] = (double)scale_in * (double)layer->scale[c] / (double)out->scale;
    kd_rescale how = rescale_create(tape, layer->channels, ratio, out);
    how.bias = layer->bias;
    how.bias_tensor = layer->real_bias;
    how.relu = act == KD_ACT_RELU;
    return how;
}

kd_rescale kd_mean_rescale(kd_tape *tape, int64_t C, int64_t window, float scale_in,
                           const kd_grid *out) {
    double *ratio = kd_tape_alloc(tape, kd_array_bytes(C, sizeof *ratio));
    int32_t *bias = kd_tape_alloc(tape, kd_array_bytes(C, sizeof *bias));
    for (int64_t c = 0; c < C; c++)
        ratio[c] = (double)scale_in / ((double)window * (double)out->scale);
    memset(bias, 0, (size_t)C * sizeof *bias);
    kd_rescale how = rescale_create(tape, C, ratio, out);
    how.bias = bias;
    how.unit = (double)window;
    return how;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Real extrema of a layer's output before relu, from its accumulators. */
static void layer_extrema(kd_tape *tape, const kd_tensor *acc, const kd_qlayer *layer,
                          float scale_in, double *min, double *max) {
    const int64_t C = layer->channels;
    kd_real *low = kd_tape_take(tape, 2 * (size_t)C * sizeof *low), *high = low + C;
    kd_channel_extrema(tape, acc, low, high);
    *min = INFINITY;
    *max = -INFINITY;
    for (int64_t c = 0; c < C; c++) {
        const double step = (double)scale_in * (double)layer->scale[c];
        const double least = step * ((double)low[c] + layer->bias[c]);
        const double most = step * ((double)high[c] + layer->bias[c]);
        *min = least < *min ? least : *min;
        *max = most > *max ? most : *max;
    }
    kd_tape_give(tape, low);
}

kd_tensor *kd_qrun_layer(const kd_qrun *r, int i, kd_tensor *x, kd_product product) {
    kd_qnet *qnet = r->qnet;
    const kd_net_node *node = &qnet->net->node[i];
    const kd_act act = kd_node_act(&node->spec);
    const kd_grid *in = kd_qrun_input_grid(r, i, 0);
    const kd_qlayer layer = kd_qnet_layer(qnet, r->tape, i, in->scale);
    const kd_accumulator acc =
        accumulate(node, r->tape, x, &layer, kd_grid_reach(in), r->exact, product);
    if (qnet->node[i].source != i)
        return kd_dequantize(r->tape, &acc, layer.bias, in->scale, layer.scale, layer.real_bias,
                             act == KD_ACT_RELU);
    double min = 0, max = 0;
    if (r->averaging) layer_extrema(r->tape, acc.digit[0], &layer, in->scale, &min, &max);
    const kd_grid *out = kd_qrun_use_grid(r, i, min, max);
    kd_rescale how = kd_qlayer_rescale(r->tape, &layer, in->scale, out, act);
    how.learned = kd_qrun_learned(r, i);
    return kd_requantize_steps(r->tape, &acc, &how);
}
