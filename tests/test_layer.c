/* Layers written as code: a small transformer block registers what it should, and its gradients are
 * those of finite differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "asserts.h"
#include "layers/layer.h"

enum { B = 2, T = 5, C = 6, V = 9, HEADS = 3 };

/* Convolution, embedding, norm, causal self-attention, cross-attention, linear. */
typedef struct {
    kd_params *params;
    kd_conv1d_layer conv;
    kd_embedding_layer tokens;
    kd_norm_layer norm;
    kd_attention_layer self, cross;
    kd_linear_layer head;
} block;

static const int32_t IDS[B * T] = {1, 4, 2, 8, 0, 3, 3, 7, 5, 6};

static void make(block *b) {
    assert_ok(kd_params_create(&b->params));
    assert_ok(kd_conv1d_layer_init(&b->conv, b->params, "conv", 3, C, 3, 2, 1));
    assert_ok(kd_embedding_layer_init(&b->tokens, b->params, "tokens", V, C));
    assert_ok(kd_norm_layer_init(&b->norm, b->params, "norm", C, KD_REAL(1e-5)));
    assert_ok(kd_attention_layer_init(&b->self, b->params, "self", C, HEADS, false));
    assert_ok(kd_attention_layer_init(&b->cross, b->params, "cross", C, HEADS, true));
    assert_ok(kd_linear_layer_init(&b->head, b->params, "head", C, V, false));
    assert_ok(kd_params_layout(b->params, 11));
    for (int64_t i = 0; i < b->params->trained_size; i++) /* nothing small hides an error */
        b->params->value[i] += (kd_real)(i % 7) * KD_REAL(0.05) - KD_REAL(0.15);
    kd_params_touch(b->params);
}

static kd_tensor *forward(const block *b, kd_tape *tape) {
    const int64_t sound[3] = {B, 7, 3}, text[3] = {B, T, C};
    kd_tensor *x = kd_tape_input(tape, 3, sound);
    for (int64_t i = 0; i < x->size; i++) x->value[i] = (kd_real)(i % 11) / 5 - 1;
    kd_tensor *memory = kd_gelu(tape, kd_conv1d_layer_forward(&b->conv, tape, x));
    kd_tensor *y = kd_embedding_layer_forward(&b->tokens, tape, IDS, B * T);
    y = kd_reshape(tape, y, 3, text);
    kd_tensor *normed = kd_norm_layer_forward(&b->norm, tape, y);
    y = kd_attention_layer_onto(&b->self, tape, y, normed, NULL, true, NULL);
    y = kd_attention_layer_onto(&b->cross, tape, y, y, memory, false, NULL);
    return kd_linear_layer_forward(&b->head, tape, y);
}

static double loss_of(const block *b, kd_tape *tape) {
    kd_tape_reset(tape);
    kd_tensor *z = forward(b, tape);
    return (double)kd_mean(tape, kd_mul(tape, z, z))->value[0];
}

static void gradients_are_right(void **state) {
    (void)state;
    block b;
    kd_tape *tape;
    make(&b);
    assert_ok(kd_tape_create(&tape, 1));
    kd_params_begin_step(b.params);
    kd_tensor *z = forward(&b, tape);
    kd_tape_backward(tape, kd_mean(tape, kd_mul(tape, z, z)));
    kd_params_finish_grads(b.params);
    const bool exact = sizeof(kd_real) == 8;
    const double h = exact ? 1e-6 : 1e-2, tolerance = exact ? 1e-6 : 2e-2;
    for (int p = 0; p < b.params->count; p++) {
        kd_tensor *t = &b.params->list[p]->tensor;
        for (int64_t i = 0; i < t->size; i += t->size / 5 + 1) {
            const kd_real kept = t->value[i];
            t->value[i] = kept + (kd_real)h;
            double above = loss_of(&b, tape);
            t->value[i] = kept - (kd_real)h;
            double below = loss_of(&b, tape);
            t->value[i] = kept;
            double expected = (above - below) / (2 * h), found = (double)t->grad[i];
            if (fabs(expected - found) > tolerance * (1 + fabs(expected)))
                fail_msg("%s[%lld]: %g by differences, %g backward", b.params->list[p]->name,
                         (long long)i, expected, found);
        }
    }
    kd_tape_free(tape);
    kd_params_free(b.params);
}

static void names_and_shapes(void **state) {
    (void)state;
    block b;
    make(&b);
    assert_non_null(kd_params_find(b.params, "self.query.bias"));
    assert_null(kd_params_find(b.params, "self.key.bias")); /* as asked */
    assert_non_null(kd_params_find(b.params, "cross.key.bias"));
    assert_null(kd_params_find(b.params, "head.bias"));
    assert_int_equal(kd_params_find(b.params, "conv.weight")->tensor.size, C * 3 * 3);
    assert_int_equal(kd_params_find(b.params, "tokens.weight")->tensor.size, V * C);
    assert_true(kd_params_find(b.params, "self.out.weight")->flags & KD_PARAM_DECAYED);
    assert_false(kd_params_find(b.params, "norm.weight")->flags & KD_PARAM_DECAYED);
    kd_params_free(b.params);
}

/* A causal layer's early outputs do not see later tokens. */
static void causal_sees_no_future(void **state) {
    (void)state;
    block b;
    kd_tape *tape;
    make(&b);
    assert_ok(kd_tape_create(&tape, 1));
    const int64_t shape[3] = {1, T, C};
    kd_tensor *x = kd_tape_input(tape, 3, shape);
    for (int64_t i = 0; i < x->size; i++) x->value[i] = (kd_real)(i % 5) / 3;
    kd_tensor *nothing = kd_tape_input(tape, 3, shape);
    memset(nothing->value, 0, (size_t)nothing->size * sizeof(kd_real));
    kd_tensor *before = kd_attention_layer_onto(&b.self, tape, nothing, x, NULL, true, NULL);
    for (int64_t i = (T - 1) * C; i < x->size; i++) x->value[i] += 1;
    kd_tensor *after = kd_attention_layer_onto(&b.self, tape, nothing, x, NULL, true, NULL);
    assert_memory_equal(before->value, after->value, (T - 1) * C * sizeof(kd_real));
    assert_memory_not_equal(before->value + (T - 1) * C, after->value + (T - 1) * C,
                            C * sizeof(kd_real));
    kd_tape_free(tape);
    kd_params_free(b.params);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_and_shapes),
                                       cmocka_unit_test(gradients_are_right),
                                       cmocka_unit_test(causal_sees_no_future)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
