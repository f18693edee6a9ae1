/* Rounded weights, with Whisper: what the model computes is what the file will compute, and
 * gradients pass straight through. */
#include "test_data.h"

#include <omp.h>

#include "distill/loss.h"
#include "distill/optimizer.h"
#include "quant/quantizer.h"
#include "whisper_tiny.h"

enum { B = 2, T = 7, FRAMES = 40, STEPS = 40 };

static const int32_t IDS[B * T] = {260, 72,  101, 108, 108, 111, 0,
                                   260, 119, 111, 114, 108, 100, 33};
static const int32_t LABELS[B * T] = {72,  101, 108, 108, 111, 0,  256,
                                      119, 111, 114, 108, 100, 33, 256};
static const char *const NAMES[] = {"f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "int8"};
enum { FORMATS = 7 };

/* The model with its weights to be rounded; nothing is yet. */
static kd_quantized *quantized(kd_whisper *m, const kd_number_format *format) {
    kd_quantized *q;
    const kd_quantizable model = {.params = m->params, .rule = kd_whisper_format_of};
    const kd_quantize_spec spec = {.how = &kd_quantizer_nearest, .format = format};
    assert_ok(kd_quantized_create(&q, &model, &spec));
    assert_ok(kd_quantized_start(q));
    return q;
}

/* The decoder's last hidden state, on an empty tape. */
static kd_tensor *hidden_of(const kd_whisper *m, kd_tape *tape) {
    kd_tape_reset(tape);
    kd_tensor *mel = kd_tape_input(tape, 3, (int64_t[]){B, FRAMES, m->spec.mels});
    tiny_mel(mel->value, mel->size);
    return kd_whisper_decoder(m, tape, IDS, B, T, kd_whisper_encoder(m, tape, mel));
}

static kd_real *copy(const kd_real *from, int64_t n) {
    kd_real *to = malloc((size_t)n * sizeof *to);
    assert_non_null(to);
    memcpy(to, from, (size_t)n * sizeof *to);
    return to;
}

/* The logits, B·T·V. The caller frees. */
static kd_real *logits_of(const kd_whisper *m) {
    kd_tape *tape;
    assert_ok(kd_tape_create(&tape, 1));
    const kd_tensor *z = kd_whisper_logits(m, tape, hidden_of(m, tape));
    kd_real *logits = copy(z->value, z->size);
    kd_tape_free(tape);
    return logits;
}

enum { LOGITS = B * T * TINY_VOCABULARY };

static void assert_same(const kd_real *a, const kd_real *b, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("[%lld]: %.9g and %.9g", (long long)i, (double)a[i], (double)b[i]);
}

/* What a file holds in f32 is a float in the double build, too. */
static void as_floats(kd_params *params) {
    for (int64_t i = 0; i < params->slab_size; i++)
        params->value[i] = (kd_real)(float)params->value[i];
    kd_params_touch(params);
}

/* A model that trains everything, with what goes into files. */
static kd_whisper_file *trained_file(void) {
    kd_whisper_file *file = tiny_whisper_file();
    kd_whisper_free(file->model);
    file->model = tiny_whisper(KD_WHISPER_TRAIN_ALL);
    as_floats(file->model->params);
    return file;
}

/* The model written and read back; int8 is a matter of GGUF. */
static kd_whisper_file *through_file(const char *path, const kd_whisper_file *file,
                                     const kd_number_format *format) {
    kd_whisper_file *back;
    const bool gguf = format == &kd_format_int8;
    assert_ok((gguf ? kd_whisper_gguf_write : kd_whisper_bin_write)(path, file, format));
    assert_ok(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_ALL));
    return back;
}

/* Every bit of the logits; also after the weights have changed, and float again after leaving. */
static void forward_is_that_of_the_file(void **state) {
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *format = kd_number_format_named(NAMES[i]);
        kd_whisper_file *file = trained_file();
        kd_whisper *m = file->model;
        kd_real *plain = logits_of(m);
        kd_quantized *qat = quantized(m, format);
        for (int round = 0; round < 2; round++) {
            assert_ok(kd_quantized_round(qat));
            kd_real *rounded = logits_of(m);
            assert_true(memcmp(rounded, plain, LOGITS * sizeof *plain) != 0);
            kd_quantized_leave(qat);
            kd_whisper_file *back = through_file(test_path(*state, "qat.file"), file, format);
            kd_real *read = logits_of(back->model), *own = logits_of(m);
            assert_same(rounded, read, LOGITS);
            if (round == 0) assert_same(own, plain, LOGITS);
            for (int64_t k = 0; k < m->params->slab_size; k++)
                m->params->value[k] += (kd_real)(k % 13) * KD_REAL(0.003) - KD_REAL(0.02);
            as_floats(m->params);
            kd_whisper_file_free(back);
            free(rounded);
            free(read);
            free(own);
        }
        kd_quantized_free(qat);
        kd_whisper_file_free(file);
        free(plain);
    }
}

/* The loss on the labels, with its gradient. */
static void run_backward(kd_whisper *m) {
    const kd_loss_spec spec = {.hard_weight = 1, .temperature = 1, .normalizer = B * T};
    kd_tape *tape;
    assert_ok(kd_tape_create(&tape, 1));
    kd_params_begin_step(m->params);
    kd_tensor *hidden = hidden_of(m, tape);
    kd_tape_backward(tape, kd_vocab_loss(tape, hidden, &m->tokens.table->tensor, LABELS, NULL, NULL,
                                         spec, NULL));
    kd_params_finish_grads(m->params);
    kd_tape_free(tape);
}

/* ∂L/∂w is ∂L/∂w_r, and w is untouched. */
static void gradients_pass_straight_through(void **state) {
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *format = kd_number_format_named(NAMES[i]);
        kd_whisper_file *file = trained_file();
        kd_params *params = file->model->params;
        kd_real *before = copy(params->value, params->slab_size);
        kd_whisper_file *back = through_file(test_path(*state, "qat.file"), file, format);
        kd_quantized *qat = quantized(file->model, format);
        assert_ok(kd_quantized_round(qat));
        run_backward(file->model);
        run_backward(back->model);
        assert_same(params->grad, back->model->params->grad, params->trained_size);
        assert_same(params->value, before, params->slab_size);
        kd_quantized_free(qat);
        kd_whisper_file_free(back);
        kd_whisper_file_free(file);
        free(before);
    }
}

/* One int8 row per output channel: the values are the grid's, and there are at most 255 of them. */
static void int8_has_a_scale_for_each_channel(void **state) {
    (void)state;
    kd_whisper *m = tiny_whisper(KD_WHISPER_TRAIN_DECODER);
    kd_quantized *qat = quantized(m, &kd_format_int8);
    const kd_param *p = m->text_block[1].up.weight;
    assert_ok(kd_quantized_round(qat));
    for (int64_t row = 0; row < p->tensor.shape[0]; row++) {
        const int64_t n = p->tensor.shape[1];
        const kd_real *own = m->params->value + p->offset + row * n;
        const kd_real *rounded = p->tensor.value + row * n;
        float largest = 0;
        for (int64_t i = 0; i < n; i++) largest = fmaxf(largest, fabsf((float)own[i]));
        for (int64_t i = 0; i < n; i++) {
            const double steps = (double)rounded[i] * 127 / (double)largest;
            assert_true(fabs(steps - rint(steps)) < 1e-4);
            assert_true(fabs((double)own[i] * 127 / (double)largest - steps) < 0.5001);
        }
    }
    assert_ptr_equal(m->text_norm.gamma->tensor.value,
                     m->params->value + m->text_norm.gamma->offset);
    kd_quantized_free(qat);
    kd_whisper_free(m);
}

static void rounding_is_the_same_with_more_threads(void **state) {
    (void)state;
    kd_real *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        kd_whisper *m = tiny_whisper(KD_WHISPER_TRAIN_DECODER);
        kd_quantized *qat = quantized(m, &kd_format_q4_0);
        assert_ok(kd_quantized_round(qat));
        const kd_tensor *E = &m->tokens.table->tensor;
        if (first)
            assert_same(E->value, first, E->size);
        else
            first = copy(E->value, E->size);
        kd_quantized_free(qat);
        kd_whisper_free(m);
    }
    free(first);
    omp_set_num_threads(omp_get_num_procs());
}

/* Rows of 48 are no blocks of 32: what is trained with is what is written, f16. */
static void formats_fall_back_as_in_the_file(void **state) {
    kd_whisper_spec spec = TINY_SPEC;
    spec.width = 48;
    kd_whisper_file *file = tiny_whisper_file();
    kd_whisper_free(file->model);
    file->model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_ALL);
    as_floats(file->model->params);
    kd_quantized *q = quantized(file->model, &kd_format_q5_0);
    assert_ok(kd_quantized_round(q));
    kd_real *rounded = logits_of(file->model);
    const kd_encoding *how = kd_quantized_encodings(q);
    int f16 = 0, q5_0 = 0;
    for (int i = 0; i < file->model->params->count; i++) {
        f16 += how[i].format == &kd_format_f16;
        q5_0 += how[i].format == &kd_format_q5_0;
    }
    assert_true(f16 > 2 && q5_0 > 2);
    kd_quantized_leave(q);
    const char *path = test_path(*state, "odd.gguf");
    kd_whisper_file *back;
    assert_ok(kd_whisper_gguf_write(path, file, &kd_format_q5_0));
    assert_ok(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_ALL));
    kd_real *read = logits_of(back->model);
    assert_same(rounded, read, LOGITS);
    free(rounded);
    free(read);
    kd_whisper_file_free(back);
    kd_quantized_free(q);
    kd_whisper_file_free(file);
}

/* A file of the encodings has the bytes of a file that rounds by itself. */
static void encodings_are_the_file(void **state) {
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *format = kd_number_format_named(NAMES[i]);
        kd_whisper_file *file = trained_file();
        const char *path = test_path(*state, "encoded.gguf");
        char *own, *encoded;
        size_t length, same;
        assert_ok(kd_whisper_gguf_write(path, file, format));
        assert_ok(kd_file_read(&own, &length, path, 1 << 24));
        kd_quantized *q = quantized(file->model, format);
        assert_ok(kd_quantized_round(q));
        kd_quantized_leave(q);
        file->encoding = kd_quantized_encodings(q);
        assert_ok(kd_whisper_gguf_write(path, file, format));
        assert_ok(kd_file_read(&encoded, &same, path, 1 << 24));
        assert_int_equal(same, length);
        assert_memory_equal(own, encoded, length);
        free(own);
        free(encoded);
        file->encoding = NULL;
        kd_quantized_free(q);
        kd_whisper_file_free(file);
    }
}

/* --- training ----------------------------------------------------------------------------------
 */

/* τ²·KL from the unrounded model's outputs to the model's, and a backward. */
static double divergence(kd_whisper *m, kd_tape *tape, const kd_soft_targets *soft) {
    const kd_loss_spec spec = {.kl_weight = 1, .temperature = 2, .normalizer = B * T};
    kd_loss_parts parts = {0};
    kd_params_begin_step(m->params);
    kd_tensor *hidden = hidden_of(m, tape);
    kd_tape_backward(tape, kd_vocab_loss(tape, hidden, &m->tokens.table->tensor, NULL, NULL, soft,
                                         spec, &parts));
    kd_params_finish_grads(m->params);
    return parts.kl;
}

/* A model in 4 bits learns from itself in float. */
static void four_bits_learn(void **state) {
    (void)state;
    const kd_train_spec spec = {.optimizer = KD_OPTIMIZER_ADAMW,
                                .learning_rate = 1e-3,
                                .beta1 = 0.9,
                                .beta2 = 0.999,
                                .epsilon = 1e-8};
    kd_whisper *m = tiny_whisper(KD_WHISPER_TRAIN_DECODER);
    kd_tape *tape;
    kd_optimizer optimizer;
    kd_quantized *qat;
    assert_ok(kd_tape_create(&tape, 1));
    const kd_tensor *hidden = hidden_of(m, tape), *E = &m->tokens.table->tensor;
    const kd_soft_targets soft = {.hidden = copy(hidden->value, hidden->size),
                                  .output = copy(E->value, E->size),
                                  .width = TINY_WIDTH};
    assert_true(divergence(m, tape, &soft) < 1e-9);
    assert_ok(kd_optimizer_init(&optimizer, m->params, &spec));
    qat = quantized(m, &kd_format_q4_0);
    assert_ok(kd_quantized_round(qat));
    const double untrained = divergence(m, tape, &soft);
    for (int step = 0; step < STEPS; step++) {
        kd_optimizer_update(&optimizer, spec.learning_rate);
        assert_ok(kd_quantized_round(qat));
        divergence(m, tape, &soft);
    }
    const double trained = divergence(m, tape, &soft);
    if (!(trained < 0.5 * untrained))
        fail_msg("divergence %g in 4 bits, %g after training", untrained, trained);
    kd_quantized_free(qat);
    kd_optimizer_clear(&optimizer);
    kd_tape_free(tape);
    kd_whisper_free(m);
    free((void *)(uintptr_t)soft.hidden);
    free((void *)(uintptr_t)soft.output);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(forward_is_that_of_the_file, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(gradients_pass_straight_through, test_setup, test_teardown),
        cmocka_unit_test(int8_has_a_scale_for_each_channel),
        cmocka_unit_test(rounding_is_the_same_with_more_threads),
        cmocka_unit_test_setup_teardown(formats_fall_back_as_in_the_file, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(encodings_are_the_file, test_setup, test_teardown),
        cmocka_unit_test(four_bits_learn)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
