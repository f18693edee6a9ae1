/* Learned step sizes: in QAT every scale of every kind of node learns. */
#include "quant_nets.h"

enum { BATCH = 12 };

static void every_scale_has_a_gradient(net_builder build, kd_extent extent) {
    const kd_quant_spec spec = {.weight_bits = 4,
                                .activation_bits = 4,
                                .method = KD_QUANT_LSQ,
                                .observer = KD_OBSERVER_MINMAX};
    quant_case c = case_create(build, extent, &spec);
    const int64_t size = BATCH * case_sample_size(&c);
    float *x = malloc((size_t)size * sizeof *x);
    assert_non_null(x);
    fill_uniform(x, size, 1, -1, 1);
    case_calibrate(&c);
    kd_tape_reset(c.tape);
    c.tape->recording = true;
    kd_params_begin_step(c.params);
    kd_tensor *z = kd_qnet_forward(c.qnet, c.tape, case_input(&c, BATCH, x), KD_QUANT_TRAIN, NULL);
    kd_tape_backward(c.tape, kd_mean(c.tape, kd_mul(c.tape, z, z)));
    kd_params_finish_grads(c.params);
    int scales = 0;
    for (int i = 0; i < c.params->count; i++) {
        const kd_param *p = c.params->list[i];
        const char *end = strrchr(p->name, '.');
        if (!end || (strcmp(end, ".scale") != 0 && strcmp(end, ".weight_scale") != 0)) continue;
        if (strcmp(p->name, "twice.scale") == 0) continue; /* x + x is exact: nothing to learn */
        double largest = 0;
        for (int64_t k = 0; k < p->tensor.size; k++)
            if (fabs((double)p->tensor.grad[k]) > largest)
                largest = fabs((double)p->tensor.grad[k]);
        if (!(largest > 0)) fail_msg("%s learns nothing", p->name);
        scales++;
    }
    assert_true(scales > 5);
    free(x);
    case_free(&c);
}

static void all_nodes_learn_their_scales(void **state) {
    (void)state;
    every_scale_has_a_gradient(build_cnn, (kd_extent){12, 10, 3});
    every_scale_has_a_gradient(build_resnet, (kd_extent){9, 9, 3});
    every_scale_has_a_gradient(build_grouped, (kd_extent){10, 10, 2});
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_nodes_learn_their_scales)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
