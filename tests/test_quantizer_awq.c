/* AWQ: scaled columns change nothing that is computed, of lists of nodes and of Whisper; outliers
 * among the inputs cost less than with the nearest numbers; the model has its own values again. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "asserts.h"
#include "autograd/ops.h"
#include "base/rng.h"
#include "files/whisper_file.h"
#include "quant/quantizer.h"

enum { VALUES_MOST = 8192 };

/* A model on a tape, with the answers that it gave first. */
typedef struct {
    kd_params *params;
    kd_net *net;
    kd_whisper *whisper;
    kd_tape *tape;
    double answer[VALUES_MOST];
    int64_t answers;
} model;

static const kd_number_format *all_matrices(const kd_param *param,
                                            const kd_number_format *matrices) {
    return param->tensor.rank > 1 ? matrices : &kd_format_f32;
}

/* Some channels of norms and rows of matrices are much louder than others, biases are something. */
static void make_loud(kd_params *params) {
    kd_rng rng = kd_rng_init(5, 5);
    for (int i = 0; i < params->count; i++) {
        kd_tensor *t = &params->list[i]->tensor;
        for (int64_t k = 0; k < t->size && t->rank == 1; k++)
            t->value[k] += (kd_real)((k % 7 == 0 ? 4 : 0.2) * kd_rng_uniform(&rng));
    }
    kd_params_touch(params);
}

static void make_net(model *m) {
    const kd_act relu = KD_ACT_RELU;
    const kd_conv_spec same = {.stride = {1, 1}, .padding = {1, 1}, .groups = 1};
    const kd_pool_spec two = {.kernel = {2, 2}, .stride = {2, 2}};
    *m = (model){0};
    assert_ok(kd_params_create(&m->params));
    assert_ok(kd_net_create(&m->net, m->params, (kd_extent){8, 8, 3}));
    int at = kd_net_conv(m->net, "first", 0, 32, (int[]){3, 3}, same, true, relu);
    const int before = at;
    at = kd_net_conv(m->net, "second", at, 32, (int[]){3, 3}, same, false, relu);
    at = kd_net_conv(m->net, "third", at, 32, (int[]){3, 3}, same, true, KD_ACT_NONE);
    at = kd_net_add(m->net, "sum", before, at, relu);
    at = kd_net_conv(m->net, "fourth", at, 32, (int[]){1, 1},
                     (kd_conv_spec){.stride = {1, 1}, .groups = 1}, true, relu);
    at = kd_net_pool(m->net, "pool", at, KD_NODE_MAX_POOL, two);
    at = kd_net_linear(m->net, "wide", at, 64, relu);
    kd_net_linear(m->net, "answer", at, 5, KD_ACT_NONE);
    assert_ok(m->net->failed);
    assert_ok(kd_params_layout(m->params, 3));
    make_loud(m->params);
    for (int i = 0; i < m->params->count; i++) /* of running statistics */
        if (strstr(m->params->list[i]->name, "running_var"))
            for (int k = 0; k < 32; k++) m->params->list[i]->tensor.value[k] = 1;
    assert_ok(kd_tape_create(&m->tape, 1));
    m->tape->recording = m->tape->training = false;
}

static void make_whisper(model *m) {
    const kd_whisper_spec spec = {.mels = 8,
                                  .width = 64,
                                  .vocabulary = 96,
                                  .audio_context = 12,
                                  .audio_layers = 2,
                                  .audio_heads = 2,
                                  .text_context = 8,
                                  .text_layers = 2,
                                  .text_heads = 2};
    *m = (model){0};
    assert_ok(kd_whisper_create(&m->whisper, &spec, KD_WHISPER_TRAIN_NOTHING));
    assert_ok(kd_whisper_layout(m->whisper, 3));
    m->params = m->whisper->params;
    make_loud(m->params);
    assert_ok(kd_tape_create(&m->tape, 1));
    m->tape->recording = m->tape->training = false;
}

static void free_model(model *m) {
    kd_tape_free(m->tape);
    if (m->whisper) {
        kd_whisper_free(m->whisper);
    } else {
        kd_net_free(m->net);
        kd_params_free(m->params);
    }
}

static kd_tensor *run(const model *m) {
    static const int32_t token[] = {3, 1, 4, 1, 5, 9};
    kd_tape_reset(m->tape);
    const int64_t sound[3] = {1, 24, 8}, images[4] = {6, 8, 8, 3};
    kd_tensor *x = m->net ? kd_tape_input(m->tape, 4, images) : kd_tape_input(m->tape, 3, sound);
    kd_rng rng = kd_rng_init(8, 1);
    for (int64_t i = 0; i < x->size; i++) x->value[i] = (kd_real)kd_rng_normal(&rng);
    if (m->net) return kd_net_forward(m->net, m->tape, x, NULL);
    kd_tensor *memory = kd_whisper_encoder(m->whisper, m->tape, x);
    return kd_whisper_logits(m->whisper, m->tape,
                             kd_whisper_decoder(m->whisper, m->tape, token, 1, 6, memory));
}

static void remember(model *m) {
    const kd_tensor *y = run(m);
    assert_true(y->size <= VALUES_MOST);
    m->answers = y->size;
    for (int64_t i = 0; i < y->size; i++) m->answer[i] = (double)y->value[i];
}

/* ‖y − y'‖ / ‖y‖ */
static double difference(const model *m) {
    const kd_tensor *y = run(m);
    double sum = 0, all = 0;
    for (int64_t i = 0; i < m->answers; i++) {
        sum += pow((double)y->value[i] - m->answer[i], 2);
        all += pow(m->answer[i], 2);
    }
    return sqrt(sum / all);
}

static kd_quantized *start(const model *m, const kd_quantizer *how, const kd_number_format *f) {
    const kd_quantizable quantizable = {.params = m->params,
                                        .rule = m->net ? all_matrices : kd_whisper_format_of,
                                        .scalings = m->net ? kd_net_scalings : kd_whisper_scalings,
                                        .layers = m->net ? (const void *)m->net
                                                         : (const void *)m->whisper};
    const kd_quantize_spec spec = {
        .how = how, .format = f, .gptq = {.damping = 0.01, .activation_order = true}};
    kd_quantized *q;
    assert_ok(kd_quantized_create(&q, &quantizable, &spec));
    assert_ok(kd_quantized_start(q));
    if (how->sees == KD_SEES_NOTHING) return q;
    kd_quantized_watch(q, m->tape);
    run(m);
    kd_quantized_unwatch(m->tape);
    assert_ok(kd_quantized_calibrated(q));
    return q;
}

static kd_real *copy_values(const kd_params *params) {
    const size_t bytes = (size_t)params->slab_size * sizeof(kd_real);
    kd_real *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, params->value, bytes);
    return copy;
}

/* Most places that the list names were scaled, and the float model says what it said. */
static void check_model(model *m, int places) {
    kd_scaling *place;
    int count;
    remember(m);
    kd_real *own = copy_values(m->params);
    assert_ok(m->net ? kd_net_scalings(&place, &count, m->net)
                     : kd_whisper_scalings(&place, &count, m->whisper));
    assert_int_equal(count, places);
    kd_quantized *q = start(m, &kd_quantizer_awq, &kd_format_q4_0);
    assert_ok(kd_quantized_round(q));
    assert_true(difference(m) > 1e-4); /* rounded */
    kd_quantized_leave(q);
    assert_true(difference(m) < (sizeof(kd_real) == 4 ? 2e-5 : 1e-10));
    int scaled = 0; /* where it helps */
    for (int i = 0; i < count; i++) {
        const kd_param *from = place[i].from[0];
        scaled += memcmp(from->tensor.value, own + from->offset,
                         (size_t)from->tensor.size * sizeof *own) != 0;
    }
    assert_true(2 * scaled > count);
    kd_quantized_free(q);
    assert_memory_equal(own, m->params->value, (size_t)m->params->slab_size * sizeof *own);
    free(place);
    free(own);
}

/* second → third, fourth → pool → wide, wide → answer; first and third end in a sum. */
static void nets_compute_the_same(void **state) {
    (void)state;
    model m;
    make_net(&m);
    check_model(&m, 3);
    free_model(&m);
}

/* A block: q k v, out, up, and in the decoder cross q, cross out; and what the encoder hands on. */
static void whisper_computes_the_same(void **state) {
    (void)state;
    model m;
    make_whisper(&m);
    check_model(&m, 2 * 3 + 1 + 2 * 5);
    free_model(&m);
}

static double loss_of(const model *m, const kd_quantizer *how, const kd_number_format *format) {
    kd_quantized *q = start(m, how, format);
    assert_ok(kd_quantized_round(q));
    const double found = difference(m);
    kd_quantized_free(q);
    return found;
}

static void loud_inputs_cost_less(void **state) {
    (void)state;
    model m;
    make_whisper(&m);
    remember(&m);
    const double nearest = loss_of(&m, &kd_quantizer_nearest, &kd_format_q4_0);
    const double awq = loss_of(&m, &kd_quantizer_awq, &kd_format_q4_0);
    if (!(awq < 0.8 * nearest)) fail_msg("AWQ loses %g, the nearest numbers %g", awq, nearest);
    const double both = loss_of(&m, &kd_quantizer_awq_gptq, &kd_format_q4_0);
    if (!(both < 0.6 * awq)) fail_msg("with GPTQ's codes it loses %g, without %g", both, awq);
    free_model(&m);
}

/* With any number of threads; halves have no blocks and are the nearest. */
static void bits_are_the_same(void **state) {
    (void)state;
    model m;
    make_net(&m);
    kd_quantized *q = start(&m, &kd_quantizer_awq, &kd_format_q4_1);
    assert_ok(kd_quantized_round(q));
    kd_real *first = copy_values(m.params);
    unsigned char bytes[32 * 180];
    const kd_param *third = kd_params_find(m.params, "third.weight");
    int at = 0;
    while (m.params->list[at] != third) at++;
    memcpy(bytes, kd_quantized_encodings(q)[at].bytes, sizeof bytes);
    kd_quantized_free(q);
    omp_set_num_threads(omp_get_max_threads() > 1 ? 1 : 3);
    q = start(&m, &kd_quantizer_awq, &kd_format_q4_1);
    assert_ok(kd_quantized_round(q));
    omp_set_num_threads(omp_get_num_procs());
    assert_memory_equal(first, m.params->value, (size_t)m.params->slab_size * sizeof *first);
    assert_memory_equal(bytes, kd_quantized_encodings(q)[at].bytes, sizeof bytes);
    kd_quantized_free(q);
    free(first);
    free_model(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nets_compute_the_same), cmocka_unit_test(whisper_computes_the_same),
        cmocka_unit_test(loud_inputs_cost_less), cmocka_unit_test(bits_are_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
