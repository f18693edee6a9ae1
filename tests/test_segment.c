/* Segments: run twice, they give the bits of one run, and keep less. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "asserts.h"
#include "autograd/ops.h"
#include "autograd/segment.h"

enum { ROWS = 2048, WIDTH = 64, LAYERS = 12 };

typedef struct {
    kd_tape *tape;
    kd_params *params;
    kd_param *up[LAYERS], *down[LAYERS];
    kd_real input[ROWS * WIDTH], memory[ROWS * WIDTH];
} scene;

typedef struct {
    const scene *scene;
    int layer;
    int *calls;
} context;

/* x + down(dropout(gelu(up(x)))) + memory */
static kd_tensor *run_layer(kd_tape *tape, const void *what, kd_tensor *const *in) {
    const context *c = what;
    ++*c->calls;
    kd_tensor *h = kd_linear(tape, in[0], &c->scene->up[c->layer]->tensor, NULL, KD_ACT_NONE);
    h = kd_dropout(tape, kd_gelu(tape, h), KD_REAL(0.2));
    h = kd_linear_onto(tape, in[0], h, &c->scene->down[c->layer]->tensor, NULL);
    return kd_add(tape, h, in[1], KD_ACT_NONE);
}

static void create(scene *s) {
    const int64_t up[2] = {4 * WIDTH, WIDTH}, down[2] = {WIDTH, 4 * WIDTH};
    char name[32];
    assert_ok(kd_tape_create(&s->tape, 1));
    assert_ok(kd_params_create(&s->params));
    for (int i = 0; i < LAYERS; i++) {
        snprintf(name, sizeof name, "up%d", i);
        s->up[i] = kd_params_add(s->params, name, 2, up, KD_INIT_HE_NORMAL, WIDTH, 4 * WIDTH,
                                 KD_PARAM_TRAINED);
        snprintf(name, sizeof name, "down%d", i);
        s->down[i] = kd_params_add(s->params, name, 2, down, KD_INIT_NORMAL_002, 4 * WIDTH, WIDTH,
                                   KD_PARAM_TRAINED);
    }
    assert_ok(kd_params_layout(s->params, 3));
    kd_rng rng = kd_rng_init(5, 0);
    for (int i = 0; i < ROWS * WIDTH; i++) {
        s->input[i] = (kd_real)kd_rng_normal(&rng);
        s->memory[i] = (kd_real)kd_rng_normal(&rng);
    }
}

static void clear(scene *s) {
    kd_tape_free(s->tape);
    kd_params_free(s->params);
}

/* A step from the same inputs; the loss, and the gradients of the parameters, the input and the
 * memory that all layers share. Returns how often a layer was run. */
static int step(scene *s, bool recompute, kd_real *out) {
    const int64_t shape[2] = {ROWS, WIDTH}, size = ROWS * WIDTH;
    int calls = 0;
    context layer[LAYERS];
    s->tape->recompute = recompute;
    kd_tape_reset(s->tape);
    s->tape->rng = kd_rng_init(7, 0);
    if (kd_tape_guard(s->tape)) fail_msg("%s", kd_error());
    kd_params_begin_step(s->params);
    kd_tensor *x = kd_tape_input(s->tape, 2, shape), *memory = kd_tape_input(s->tape, 2, shape);
    kd_tensor *first = x;
    memcpy(x->value, s->input, sizeof s->input);
    memcpy(memory->value, s->memory, sizeof s->memory);
    x->needs_grad = memory->needs_grad = true;
    for (int i = 0; i < LAYERS; i++) {
        layer[i] = (context){s, i, &calls};
        x = kd_segment(s->tape, run_layer, &layer[i], 2, (kd_tensor *[]){x, memory});
    }
    kd_tensor *loss = kd_mean(s->tape, kd_mul(s->tape, x, x));
    out[0] = loss->value[0];
    kd_tape_backward(s->tape, loss);
    memcpy(out + 1, first->grad, sizeof s->input);
    memcpy(out + 1 + size, memory->grad, sizeof s->memory);
    memcpy(out + 1 + 2 * size, s->params->grad,
           (size_t)s->params->trained_size * sizeof *s->params->grad);
    return calls;
}

static void test_the_same_bits_in_less_memory(void **state) {
    (void)state;
    static scene s;
    create(&s);
    const size_t bytes = (size_t)(1 + 2 * ROWS * WIDTH + s.params->trained_size) * sizeof(kd_real);
    kd_real *kept = malloc(bytes), *again = malloc(bytes);
    assert_true(kept && again);
    s.tape->precision = KD_PRECISION_FLOAT32;
    assert_int_equal(step(&s, false, kept), LAYERS);
    const size_t whole = kd_tape_reserved(s.tape);
    kd_tape_free(s.tape);
    assert_ok(kd_tape_create(&s.tape, 1));
    for (int round = 0; round < 2; round++) {
        assert_int_equal(step(&s, true, again), 2 * LAYERS);
        assert_memory_equal(kept, again, bytes);
    }
    print_message("%d layers: %zu kB, run again %zu kB\n", LAYERS, whole / 1024,
                  kd_tape_reserved(s.tape) / 1024);
    assert_true(2 * kd_tape_reserved(s.tape) < whole);
    s.tape->precision = KD_PRECISION_BFLOAT16;
    step(&s, false, kept);
    step(&s, true, again);
    assert_memory_equal(kept, again, bytes);
    free(kept);
    free(again);
    clear(&s);
}

static kd_tensor *add_all(kd_tape *tape, const void *what, kd_tensor *const *in) {
    (void)what;
    kd_tensor *sum = in[0];
    for (int i = 1; i < KD_MAX_INPUTS; i++) sum = kd_add(tape, sum, in[i], KD_ACT_NONE);
    return sum;
}

static void nothing_goes_back(kd_tape *tape, kd_node *node) {
    (void)tape;
    (void)node;
}

static void test_as_many_inputs_as_a_node_has(void **state) {
    (void)state;
    kd_tape *tape;
    kd_tensor *in[KD_MAX_INPUTS];
    assert_ok(kd_tape_create(&tape, 1));
    if (kd_tape_guard(tape)) fail_msg("%s", kd_error());
    tape->recompute = true;
    for (int i = 0; i < KD_MAX_INPUTS; i++) {
        in[i] = kd_tape_input(tape, 1, (const int64_t[]){1});
        in[i]->value[0] = (kd_real)(1 << i);
        in[i]->needs_grad = true;
    }
    kd_tensor *sum = kd_segment(tape, add_all, NULL, KD_MAX_INPUTS, in);
    assert_true(sum->value[0] == (1 << KD_MAX_INPUTS) - 1);
    kd_tape_backward(tape, kd_mean(tape, sum));
    for (int i = 0; i < KD_MAX_INPUTS; i++) assert_true(in[i]->grad[0] == 1);
    kd_tensor *out = kd_tape_output(tape, 1, (const int64_t[]){1});
    assert_true(kd_tape_record(tape, "all", nothing_goes_back, out, NULL, KD_MAX_INPUTS, in));
    kd_tape_free(tape);
}

/* Of every parameter it is known before the way back how many nodes will be told of that have it as
 * an input, of those in segments, too. */
static void take_off(void *told, const kd_node *node) {
    *(int *)told += 1;
    for (int i = 0; i < KD_MAX_INPUTS; i++)
        if (node->in[i] && node->in[i]->param) node->in[i]->param->uses--;
}

static void test_uses_are_known(void **state) {
    (void)state;
    static scene s;
    int told = 0, uses = 0;
    create(&s);
    kd_real *numbers =
        malloc((size_t)(1 + 2 * ROWS * WIDTH + s.params->trained_size) * sizeof *numbers);
    assert_non_null(numbers);
    step(&s, true, numbers);
    for (const kd_node *node = s.tape->last; node; node = node->previous) {
        kd_param *const *inside;
        const int count = kd_segment_params(&inside, node);
        for (int i = 0; i < count; i++, uses++) inside[i]->uses++;
    }
    for (int p = 0; p < s.params->count; p++) assert_true(s.params->list[p]->uses > 0);
    s.tape->after = (kd_tape_after){take_off, &told};
    step(&s, true, numbers);
    assert_true(told > uses);
    for (int p = 0; p < s.params->count; p++) assert_int_equal(s.params->list[p]->uses, 0);
    free(numbers);
    clear(&s);
}

/* Without recording nothing is run twice; frozen inputs and parameters record nothing. */
static void test_nothing_to_learn(void **state) {
    (void)state;
    static scene s;
    int calls = 0;
    const int64_t shape[2] = {ROWS, WIDTH};
    create(&s);
    context layer = {&s, 0, &calls};
    s.tape->recompute = true;
    if (kd_tape_guard(s.tape)) fail_msg("%s", kd_error());
    kd_tensor *x = kd_tape_input(s.tape, 2, shape), *memory = kd_tape_input(s.tape, 2, shape);
    memcpy(x->value, s.input, sizeof s.input);
    memcpy(memory->value, s.memory, sizeof s.memory);
    s.tape->recording = false;
    kd_tensor *y = kd_segment(s.tape, run_layer, &layer, 2, (kd_tensor *[]){x, memory});
    assert_false(y->needs_grad);
    s.tape->recording = true;
    s.up[0]->tensor.needs_grad = s.down[0]->tensor.needs_grad = false;
    y = kd_segment(s.tape, run_layer, &layer, 2, (kd_tensor *[]){x, memory});
    assert_false(y->needs_grad);
    assert_null(s.tape->last);
    assert_int_equal(calls, 2);
    clear(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_bits_in_less_memory),
        cmocka_unit_test(test_as_many_inputs_as_a_node_has),
        cmocka_unit_test(test_uses_are_known),
        cmocka_unit_test(test_nothing_to_learn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
