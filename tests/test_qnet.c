/* Quantized nets: folding, gradients, ranges, bits, LSQ's start. The export gate is in test_blob.c.
 */
#include "quant_nets.h"

#include <omp.h>

static void assert_near(const char *what, double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance * fmax(1, fabs(expected))))
        fail_msg("%s: %.9g, should be %.9g", what, found, expected);
}

static const kd_quant_spec INT8 = {
    .weight_bits = 8, .activation_bits = 8, .observer = KD_OBSERVER_EMA, .ema = 0.9};

enum { BATCH = 12 };

/* The gradients of Σ z²/2 in one of the forwards; `mode` −1 is the float net. */
static kd_real *gradients(quant_case *c, int mode, const float *x) {
    kd_tape_reset(c->tape);
    c->tape->recording = true;
    c->tape->training = false;
    kd_params_begin_step(c->params);
    kd_tensor *in = case_input(c, BATCH, x);
    kd_tensor *z = mode < 0 ? kd_net_forward(c->net, c->tape, in, NULL)
                            : kd_qnet_forward(c->qnet, c->tape, in, (kd_quant_mode)mode, NULL);
    kd_tensor *loss =
        kd_scale(c->tape, kd_mean(c->tape, kd_mul(c->tape, z, z)), (kd_real)z->size / 2);
    kd_tape_backward(c->tape, loss);
    kd_params_finish_grads(c->params);
    const size_t bytes = (size_t)c->params->trained_size * sizeof(kd_real);
    kd_real *copy = malloc(bytes);
    memcpy(copy, c->params->grad, bytes);
    return copy;
}

/* Folding batch norm changes nothing: logits and gradients of w, γ, β are those of the float net.
 */
static void test_folding(void **state) {
    (void)state;
    quant_case c = case_create(build_resnet, (kd_extent){9, 9, 3}, &INT8);
    float x[BATCH * 243];
    fill_uniform(x, BATCH * 243, 1, -1, 1);
    kd_real *plain = gradients(&c, -1, x), *folded = gradients(&c, KD_QUANT_OBSERVE, x);
    double largest = 0;
    for (int64_t i = 0; i < c.params->trained_size; i++)
        if (fabs((double)plain[i]) > largest) largest = fabs((double)plain[i]);
    const double tolerance = sizeof(kd_real) == 8 ? 1e-12 : 2e-6;
    for (int64_t i = 0; i < c.params->trained_size; i++)
        assert_near("gradient", (double)folded[i] / largest, (double)plain[i] / largest,
                    10 * tolerance);
    free(plain);
    free(folded);
    case_free(&c);
}

/* With 8 bits the straight-through gradients point where the float ones do, parameter by parameter:
 * a wrong factor anywhere in the chain of steps would show. */
static void check_gradients_agree(net_builder build, kd_extent extent, kd_quant_method method) {
    kd_quant_spec spec = INT8;
    spec.method = method;
    quant_case c = case_create(build, extent, &spec);
    case_calibrate(&c);
    const int64_t size = BATCH * case_sample_size(&c);
    float *x = malloc((size_t)size * sizeof *x);
    fill_uniform(x, size, 1, -1, 1);
    kd_real *plain = gradients(&c, -1, x), *quantized = gradients(&c, KD_QUANT_TRAIN, x);
    for (int p = 0; p < c.params->count; p++) {
        const kd_param *param = c.params->list[p];
        if (!(param->flags & KD_PARAM_TRAINED) || strstr(param->name, "scale")) continue;
        double dot = 0, aa = 0, bb = 0;
        for (int64_t i = param->offset; i < param->offset + param->tensor.size; i++) {
            dot += (double)plain[i] * (double)quantized[i];
            aa += (double)plain[i] * (double)plain[i];
            bb += (double)quantized[i] * (double)quantized[i];
        }
        if (dot < 0.97 * sqrt(aa * bb) || bb < 0.9 * aa || bb > 1.1 * aa)
            fail_msg("%s: cosine %g, norms %g and %g", param->name, dot / sqrt(aa * bb), sqrt(aa),
                     sqrt(bb));
    }
    free(plain);
    free(quantized);
    free(x);
    case_free(&c);
}

static void test_gradients_agree_with_float(void **state) {
    (void)state;
    check_gradients_agree(build_cnn, (kd_extent){12, 10, 3}, KD_QUANT_STE);
    check_gradients_agree(build_resnet, (kd_extent){9, 9, 3}, KD_QUANT_STE);
    check_gradients_agree(build_grouped, (kd_extent){8, 7, 5}, KD_QUANT_STE);
}

/* Taps hand on real numbers, close to the float net's. */
static void test_taps(void **state) {
    (void)state;
    quant_case c = case_create(build_cnn, (kd_extent){12, 10, 3}, &INT8);
    case_calibrate(&c);
    float x[BATCH * 360];
    fill_uniform(x, BATCH * 360, 1, -1, 1);
    kd_tensor *real[16], *quantized[16];
    kd_tape_reset(c.tape);
    kd_net_forward(c.net, c.tape, case_input(&c, BATCH, x), real);
    kd_qnet_forward(c.qnet, c.tape, case_input(&c, BATCH, x), KD_QUANT_EVAL, quantized);
    for (int i = 0; i < c.net->count; i++) {
        double error = 0, sum = 0;
        assert_true(kd_same_shape(real[i], quantized[i]));
        for (int64_t k = 0; k < real[i]->size; k++) {
            error += pow((double)(real[i]->value[k] - quantized[i]->value[k]), 2);
            sum += pow((double)real[i]->value[k], 2);
        }
        if (!(error < 0.001 * sum)) fail_msg("%s: %g of %g", c.net->node[i].name, error, sum);
    }
    case_free(&c);
}

/* Ranges follow the data in training, and only there. */
static void test_ranges_move_in_training_only(void **state) {
    (void)state;
    quant_case c = case_create(build_cnn, (kd_extent){12, 10, 3}, &INT8);
    case_calibrate(&c);
    float x[BATCH * 360];
    fill_uniform(x, BATCH * 360, 1, -5, 5);
    const kd_real *range = kd_params_find(c.params, "conv1.range")->tensor.value;
    const kd_real *input = kd_params_find(c.params, "input.range")->tensor.value;
    const kd_real before = range[KD_RANGE_MAX], input_before = input[KD_RANGE_MIN];
    kd_qnet_forward(c.qnet, c.tape, case_input(&c, BATCH, x), KD_QUANT_EVAL, NULL);
    assert_true(range[KD_RANGE_MAX] == before);
    kd_qnet_forward(c.qnet, c.tape, case_input(&c, BATCH, x), KD_QUANT_TRAIN, NULL);
    assert_true(range[KD_RANGE_MAX] > before * KD_REAL(1.01));
    /* The fourth batch: three calibrated. */
    assert_near("input", (double)input[KD_RANGE_MIN], (3 * (double)input_before - 5) / 4, 0.01);
    case_free(&c);
}

/* In a delayed QAT the float forward records: percentiles, once taken, are not undone by it. */
static void test_finished_ranges_stay(void **state) {
    (void)state;
    for (int kind = KD_OBSERVER_EMA; kind <= KD_OBSERVER_PERCENTILE; kind += 2) {
        kd_quant_spec spec = INT8;
        spec.observer = (kd_observer_kind)kind;
        spec.percentile = 99;
        quant_case c = case_create(build_cnn, (kd_extent){12, 10, 3}, &spec);
        case_calibrate(&c);
        float x[BATCH * 360];
        fill_uniform(x, BATCH * 360, 1, -5, 5);
        const kd_real *range = kd_params_find(c.params, "input.range")->tensor.value;
        const kd_real before = range[KD_RANGE_MAX];
        c.tape->recording = true;
        kd_qnet_forward(c.qnet, c.tape, case_input(&c, BATCH, x), KD_QUANT_OBSERVE, NULL);
        assert_int_equal(range[KD_RANGE_MAX] == before, kind == KD_OBSERVER_PERCENTILE);
        case_free(&c);
    }
}

/* The first and last layers and what they read keep 8 bits. */
static void test_bits(void **state) {
    (void)state;
    kd_quant_spec spec = INT8;
    spec.weight_bits = spec.activation_bits = 4;
    quant_case c = case_create(build_cnn, (kd_extent){12, 10, 3}, &spec);
    const kd_qnode *q = c.qnet->node;
    assert_int_equal(q[0].bits, 8);
    assert_int_equal(q[kd_net_find(c.net, "conv1")].weight_bits, 8);
    assert_int_equal(q[kd_net_find(c.net, "conv1")].bits, 4);
    assert_int_equal(q[kd_net_find(c.net, "conv2")].weight_bits, 4);
    assert_int_equal(q[kd_net_find(c.net, "fc1")].weight_bits, 4);
    assert_int_equal(q[kd_net_find(c.net, "fc1")].bits, 8);
    assert_int_equal(q[kd_net_find(c.net, "fc2")].weight_bits, 8);
    assert_int_equal(q[kd_net_find(c.net, "fc2")].source, -1);
    assert_int_equal(q[kd_net_find(c.net, "pool1")].source, kd_net_find(c.net, "conv1"));
    assert_int_equal(q[kd_net_find(c.net, "drop")].source, kd_net_find(c.net, "pool2"));
    case_free(&c);
}

/* s0 = 2·mean|w|/√Qp, and the observed scale for activations. */
static void test_lsq_start(void **state) {
    (void)state;
    kd_quant_spec spec = INT8;
    spec.method = KD_QUANT_LSQ;
    spec.weight_bits = 4;
    quant_case c = case_create(build_cnn, (kd_extent){12, 10, 3}, &spec);
    case_calibrate(&c);
    const kd_param *w = kd_params_find(c.params, "fc1.weight");
    const int64_t n = w->tensor.shape[1];
    double sum = 0;
    for (int64_t k = 0; k < n; k++) sum += fabs((double)w->tensor.value[n + k]);
    assert_near("weight scale",
                (double)kd_params_find(c.params, "fc1.weight_scale")->tensor.value[1],
                2 * sum / (double)n / sqrt(7), 1e-6);
    const kd_real *range = kd_params_find(c.params, "fc1.range")->tensor.value;
    assert_near("activation scale", (double)kd_params_find(c.params, "fc1.scale")->tensor.value[0],
                (double)range[KD_RANGE_MAX] / 255, 1e-6);
    case_free(&c);
}

/* Same bits of logits and gradients at any thread count, and no memory after the first step. */
static void test_threads_and_memory(void **state) {
    (void)state;
    float x[BATCH * 243];
    fill_uniform(x, BATCH * 243, 1, -1, 1);
    kd_real *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        kd_quant_spec spec = INT8;
        spec.method = KD_QUANT_LSQ;
        quant_case c = case_create(build_resnet, (kd_extent){9, 9, 3}, &spec);
        case_calibrate(&c);
        kd_real *g = gradients(&c, KD_QUANT_TRAIN, x);
        if (first) assert_memory_equal(first, g, (size_t)c.params->trained_size * sizeof *g);
        const size_t chunks = kd_arena_chunk_count(c.tape->arena);
        for (int step = 0; step < 3; step++) free(gradients(&c, KD_QUANT_TRAIN, x));
        assert_int_equal(kd_arena_chunk_count(c.tape->arena), chunks);
        if (first)
            free(g);
        else
            first = g;
        case_free(&c);
    }
    free(first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folding),
        cmocka_unit_test(test_gradients_agree_with_float),
        cmocka_unit_test(test_taps),
        cmocka_unit_test(test_ranges_move_in_training_only),
        cmocka_unit_test(test_finished_ranges_stay),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_lsq_start),
        cmocka_unit_test(test_threads_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
