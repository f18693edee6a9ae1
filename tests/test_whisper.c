/* Whisper: the parts are there, the tape and the session agree, gradients are right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "layers/whisper_session.h"
#include "whisper_tiny.h"

enum { B = 2, FRAMES = 40, HEARD = FRAMES / 2, T = 5, ROWS = 3 };

static const int32_t IDS[B * T] = {257, 72, 105, 32, 33, 257, 1, 2, 3, 256};

static kd_tensor *input(kd_tape *tape) {
    const int64_t shape[3] = {B, FRAMES, TINY_SPEC.mels};
    kd_tensor *mel = kd_tape_input(tape, 3, shape);
    tiny_mel(mel->value, mel->size);
    return mel;
}

static kd_tensor *forward(const kd_whisper *m, kd_tape *tape) {
    kd_tensor *memory = kd_whisper_encoder(m, tape, input(tape));
    return kd_whisper_logits(m, tape, kd_whisper_decoder(m, tape, IDS, B, T, memory));
}

static void names_and_shapes(void **state) {
    (void)state;
    kd_whisper *m = tiny_whisper(KD_WHISPER_TRAIN_ALL);
    const kd_params *p = m->params;
    assert_int_equal(p->count, 11 + 15 * 2 + 24 * 3);
    assert_non_null(kd_params_find(p, "encoder.blocks.1.attn.query.bias"));
    assert_null(kd_params_find(p, "encoder.blocks.1.attn.key.bias"));
    assert_null(kd_params_find(p, "encoder.blocks.0.cross_attn.key.weight"));
    assert_non_null(kd_params_find(p, "decoder.blocks.2.cross_attn_ln.weight"));
    assert_int_equal(kd_params_find(p, "decoder.blocks.0.mlp.0.weight")->tensor.shape[0], 128);
    assert_int_equal(kd_params_find(p, "encoder.conv1.weight")->tensor.size, 32 * 3 * 80);
    assert_int_equal(kd_params_find(p, "encoder.positional_embedding")->flags, KD_PARAM_STATE);
    kd_whisper_free(m);
}

static void senseless_sizes_are_refused(void **state) {
    (void)state;
    kd_whisper_spec s = TINY_SPEC;
    s.width = 33;
    assert_refused(kd_whisper_spec_check(&s, "x"), KD_EDATA, "x: width 33");
    s = TINY_SPEC;
    s.text_heads = 5;
    assert_refused(kd_whisper_spec_check(&s, "x"), KD_EDATA, "multiple");
    s = TINY_SPEC;
    s.vocabulary = 1 << 30;
    assert_refused(kd_whisper_spec_check(&s, "x"), KD_EDATA, "vocabulary");
    s = TINY_SPEC;
    s.text_layers = 0;
    assert_refused(kd_whisper_spec_check(&s, "x"), KD_EDATA, "decoder layers");
}

/* Only what is trained has gradients and a place among the trained parameters. */
static void what_is_frozen_takes_no_gradient(void **state) {
    (void)state;
    kd_whisper *nothing = tiny_whisper(KD_WHISPER_TRAIN_NOTHING);
    kd_whisper *decoder = tiny_whisper(KD_WHISPER_TRAIN_DECODER);
    assert_int_equal(nothing->params->trained_size, 0);
    assert_null(kd_params_find(decoder->params, "encoder.conv1.weight")->tensor.grad);
    assert_non_null(kd_params_find(decoder->params, "decoder.ln.weight")->tensor.grad);
    kd_tape *tape;
    assert_ok(kd_tape_create(&tape, 1));
    kd_tensor *memory = kd_whisper_encoder(decoder, tape, input(tape));
    assert_null(tape->last); /* nothing to go back through */
    kd_tensor *h = kd_whisper_decoder(decoder, tape, IDS, B, T, memory);
    kd_params_begin_step(decoder->params);
    kd_tape_backward(tape, kd_mean(tape, kd_mul(tape, h, h)));
    assert_true(
        kd_params_find(decoder->params, "decoder.positional_embedding")->tensor.grad_written);
    kd_tape_free(tape);
    kd_whisper_free(nothing);
    kd_whisper_free(decoder);
}

static void encoder_without_a_tape_gives_the_same(void **state) {
    (void)state;
    kd_whisper *m = tiny_whisper(KD_WHISPER_TRAIN_ALL);
    kd_tape *tape, *scratch;
    assert_ok(kd_tape_create(&tape, 1));
    assert_ok(kd_tape_create(&scratch, 1));
    kd_tensor *mel = input(tape), *y = kd_whisper_encoder(m, tape, mel);
    assert_int_equal(y->shape[1], HEARD);
    kd_real *out = malloc((size_t)y->size * sizeof *out);
    assert_ok(kd_whisper_encode(m, scratch, out, mel->value, B, FRAMES));
    assert_memory_equal(out, y->value, (size_t)y->size * sizeof *out);
    free(out);
    kd_tape_free(tape);
    kd_tape_free(scratch);
    kd_whisper_free(m);
}

static void assert_near(const kd_real *a, const kd_real *b, int64_t n) {
    const double tolerance = sizeof(kd_real) == 8 ? 1e-12 : 2e-5;
    for (int64_t i = 0; i < n; i++)
        if (fabs((double)a[i] - (double)b[i]) > tolerance * (1 + fabs((double)b[i])))
            fail_msg("%lld: %.9g, should be %.9g", (long long)i, (double)a[i], (double)b[i]);
}

/* Token by token through the caches, the logits are those of the whole text at once. */
static void session_follows_the_decoder(void **state) {
    (void)state;
    kd_whisper *m = tiny_whisper(KD_WHISPER_TRAIN_ALL);
    const int64_t V = m->spec.vocabulary;
    kd_tape *tape;
    kd_whisper_session *s;
    assert_ok(kd_tape_create(&tape, 1));
    assert_ok(kd_whisper_session_create(&s, m, B, 1));
    kd_real *z = malloc((size_t)(B * V) * sizeof *z);
    const kd_tensor *whole = forward(m, tape), *mel = input(tape);
    assert_ok(kd_whisper_session_listen(s, mel->value, B, FRAMES));
    for (int first = 1; first <= T; first += 2) { /* so many tokens at once, then singly */
        kd_whisper_session_restart(s);
        for (int t = 0; t < T; t += t ? 1 : first) {
            const int n = t ? 1 : first;
            int32_t id[B * T];
            for (int b = 0; b < B; b++) memcpy(id + b * n, IDS + b * T + t, (size_t)n * sizeof *id);
            assert_ok(kd_whisper_session_step(s, id, n));
            kd_whisper_session_logits(s, z, n - 1);
            for (int b = 0; b < B; b++)
                assert_near(z + b * V, whole->value + (b * T + t + n - 1) * V, V);
        }
        assert_int_equal(kd_whisper_session_length(s), T);
    }
    free(z);
    kd_whisper_session_free(s);
    kd_tape_free(tape);
    kd_whisper_free(m);
}

/* Rows that grow out of others go on as if they had been there from the beginning. */
static void session_rows_can_be_reordered(void **state) {
    (void)state;
    kd_whisper *m = tiny_whisper(KD_WHISPER_TRAIN_NOTHING);
    const int64_t V = m->spec.vocabulary, shape[3] = {1, FRAMES, TINY_SPEC.mels};
    kd_tape *tape;
    kd_whisper_session *s;
    assert_ok(kd_tape_create(&tape, 1));
    assert_ok(kd_whisper_session_create(&s, m, 1, ROWS));
    kd_real *z = malloc((size_t)(ROWS * V) * sizeof *z);
    kd_tensor *mel = kd_tape_input(tape, 3, shape);
    tiny_mel(mel->value, mel->size);
    assert_ok(kd_whisper_session_listen(s, mel->value, 1, FRAMES));
    const int32_t start[2] = {257, 70}, second[ROWS] = {10, 11, 12}, third[ROWS] = {20, 21, 22};
    const int all[ROWS] = {0, 0, 0}, from[ROWS] = {2, 0, 2};
    assert_ok(kd_whisper_session_step(s, start, 2));
    kd_whisper_session_select(s, ROWS, all);
    assert_ok(kd_whisper_session_step(s, second, 1));
    kd_whisper_session_select(s, ROWS, from);
    assert_ok(kd_whisper_session_step(s, third, 1));
    kd_whisper_session_logits(s, z, 0);
    kd_tensor *memory = kd_whisper_encoder(m, tape, mel);
    for (int row = 0; row < ROWS; row++) {
        const int32_t text[4] = {257, 70, second[from[row]], third[row]};
        const kd_tensor *whole =
            kd_whisper_logits(m, tape, kd_whisper_decoder(m, tape, text, 1, 4, memory));
        assert_near(z + row * V, whole->value + 3 * V, V);
    }
    free(z);
    kd_whisper_session_free(s);
    kd_tape_free(tape);
    kd_whisper_free(m);
}

static double loss_of(const kd_whisper *m, kd_tape *tape) {
    kd_tape_reset(tape);
    kd_tensor *z = forward(m, tape);
    return (double)kd_mean(tape, kd_mul(tape, z, z))->value[0];
}

static void gradients_are_right(void **state) {
    (void)state;
    kd_whisper *m = tiny_whisper(KD_WHISPER_TRAIN_ALL);
    kd_tape *tape;
    assert_ok(kd_tape_create(&tape, 1));
    kd_params_begin_step(m->params);
    kd_tensor *z = forward(m, tape);
    kd_tape_backward(tape, kd_mean(tape, kd_mul(tape, z, z)));
    kd_params_finish_grads(m->params);
    const bool exact = sizeof(kd_real) == 8;
    const double h = exact ? 1e-5 : 1e-2, tolerance = exact ? 1e-6 : 2e-2;
    for (int p = 0; p < m->params->count; p++) {
        kd_tensor *t = &m->params->list[p]->tensor;
        if (!t->grad) continue;
        /* The largest of a few, so that the difference means something. */
        int64_t i = 0;
        for (int64_t k = 0; k < t->size; k += t->size / 7 + 1)
            if (fabs((double)t->grad[k]) > fabs((double)t->grad[i])) i = k;
        const kd_real kept = t->value[i];
        t->value[i] = kept + (kd_real)h;
        const double above = loss_of(m, tape);
        t->value[i] = kept - (kd_real)h;
        const double below = loss_of(m, tape);
        t->value[i] = kept;
        const double expected = (above - below) / (2 * h), found = (double)t->grad[i];
        if (fabs(expected - found) > tolerance * (1e-2 + fabs(expected)))
            fail_msg("%s[%lld]: %g by differences, %g backward", m->params->list[p]->name,
                     (long long)i, expected, found);
    }
    kd_tape_free(tape);
    kd_whisper_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_and_shapes),
                                       cmocka_unit_test(senseless_sizes_are_refused),
                                       cmocka_unit_test(what_is_frozen_takes_no_gradient),
                                       cmocka_unit_test(encoder_without_a_tape_gives_the_same),
                                       cmocka_unit_test(session_follows_the_decoder),
                                       cmocka_unit_test(session_rows_can_be_reordered),
                                       cmocka_unit_test(gradients_are_right)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
