/* Whisper beside Hugging Face transformers: golden/make_whisper.py wrote what they give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/file.h"
#include "distill/loss.h"
#include "whisper_tiny.h"

enum { B = 2, FRAMES = 24, T = 6, ROWS = B * T };

static char *bytes;
static size_t length;

/* The record `name` of whisper_out.bin. */
static const float *golden(const char *name, int64_t *n) {
    if (!bytes) assert_ok(kd_file_read(&bytes, &length, "tests/golden/whisper_out.bin", 1 << 20));
    for (size_t at = 0; at < length; at += 56 + 4 * (size_t)*n) {
        memcpy(n, bytes + at + 48, sizeof *n);
        if (strncmp(bytes + at, name, 48) == 0)
            return (const float *)(const void *)(bytes + at + 56);
    }
    fail_msg("no golden '%s'", name);
    return NULL;
}

static kd_whisper_file *open_model(void) {
    kd_whisper_file *file;
    assert_ok(kd_whisper_bin_read(&file, "tests/golden/whisper.bin", KD_WHISPER_TRAIN_ALL));
    return file;
}

static void to_ids(int32_t *out, const char *name) {
    int64_t n;
    const float *value = golden(name, &n);
    assert_int_equal(n, ROWS);
    for (int i = 0; i < ROWS; i++) out[i] = (int32_t)value[i];
}

static kd_tensor *mel_of(kd_tape *tape, const kd_whisper *m) {
    int64_t n;
    const float *value = golden("mel", &n);
    const int64_t shape[3] = {B, FRAMES, m->spec.mels};
    kd_tensor *mel = kd_tape_input(tape, 3, shape);
    assert_int_equal(n, mel->size);
    for (int64_t i = 0; i < n; i++) mel->value[i] = (kd_real)value[i];
    return mel;
}

/* ‖a − b‖/‖b‖ ≤ 1e-4 */
static void assert_close(const char *name, const kd_real *a, const float *b, int64_t n) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    if (!(difference <= 1e-8 * size))
        fail_msg("%s: relative error %g", name, sqrt(difference / size));
}

static void outputs_are_those_of_transformers(void **state) {
    (void)state;
    kd_whisper_file *file = open_model();
    const kd_whisper *m = file->model;
    const int64_t V = m->spec.vocabulary;
    kd_tape *tape;
    int32_t ids[ROWS];
    int64_t n;
    assert_ok(kd_tape_create(&tape, 1));
    to_ids(ids, "ids");
    kd_tensor *memory = kd_whisper_encoder(m, tape, mel_of(tape, m));
    const float *encoded = golden("encoded", &n);
    assert_int_equal(n, memory->size);
    assert_close("encoder", memory->value, encoded, n);
    kd_tensor *z = kd_whisper_logits(m, tape, kd_whisper_decoder(m, tape, ids, B, T, memory));
    const float *logits = golden("logits", &n); /* the last rows, every seventh */
    kd_real *last = malloc((size_t)n * sizeof *last);
    int64_t count = 0;
    for (int b = 0; b < B; b++)
        for (int64_t v = 0; v < V; v += 7) last[count++] = z->value[((b + 1) * T - 1) * V + v];
    assert_int_equal(count, n);
    assert_close("logits", last, logits, n);
    free(last);
    kd_tape_free(tape);
    kd_whisper_file_free(file);
}

/* In PyTorch's layout; of the token embedding every 13th row is kept. */
static void check_gradient(const kd_param *p) {
    char name[KD_NAME_MAX + 8];
    int64_t n;
    const bool tokens = strcmp(p->name, "decoder.token_embedding.weight") == 0;
    const kd_tensor *t = &p->tensor;
    snprintf(name, sizeof name, "grad.%s", tokens ? "tokens" : p->name);
    const float *expected = golden(name, &n);
    kd_param copy = *p; /* its gradient as its value, for the layout's sake */
    copy.tensor.value = t->grad;
    float *values = malloc((size_t)t->size * sizeof *values);
    kd_real *found = malloc((size_t)t->size * sizeof *found);
    values_in_files(values, &copy);
    const int64_t C = kd_channels(t), step = tokens ? 13 : 1;
    int64_t count = 0;
    for (int64_t i = 0; i < t->size; i++)
        if (!tokens || i / C % step == 0) found[count++] = (kd_real)values[i];
    assert_int_equal(count, n);
    assert_close(name, found, expected, n);
    free(values);
    free(found);
}

static void distillation_gradient_is_that_of_torch(void **state) {
    (void)state;
    kd_whisper_file *file = open_model();
    const kd_whisper *m = file->model;
    const int64_t V = m->spec.vocabulary;
    kd_tape *tape;
    int32_t ids[ROWS], label[ROWS];
    uint8_t valid[ROWS];
    int64_t n;
    double rows = 0;
    assert_ok(kd_tape_create(&tape, 1));
    to_ids(ids, "ids");
    to_ids(label, "labels");
    for (int i = 0; i < ROWS; i++) {
        valid[i] = label[i] >= 0;
        rows += valid[i];
        if (label[i] < 0) label[i] = 0;
    }
    kd_real *teacher = malloc((size_t)(ROWS * V) * sizeof *teacher);
    for (int64_t i = 0; i < ROWS * V; i++) teacher[i] = (kd_real)(float)(4 * sin(0.37 * (double)i));
    const kd_soft_targets soft = {.logits = teacher};
    const kd_loss_spec spec = {
        .hard_weight = KD_REAL(0.8), .kl_weight = 1, .temperature = 2, .normalizer = rows};
    kd_params_begin_step(m->params);
    kd_tensor *memory = kd_whisper_encoder(m, tape, mel_of(tape, m));
    kd_tensor *z = kd_whisper_logits(m, tape, kd_whisper_decoder(m, tape, ids, B, T, memory));
    kd_tensor *loss = kd_distill_loss(tape, z, label, valid, &soft, spec, NULL);
    assert_close("loss", loss->value, golden("loss", &n), 1);
    kd_tape_backward(tape, loss);
    kd_params_finish_grads(m->params);
    for (int i = 0; i < m->params->count; i++)
        if (m->params->list[i]->tensor.grad) check_gradient(m->params->list[i]);
    free(teacher);
    kd_tape_free(tape);
    kd_whisper_file_free(file);
}

static int free_golden(void **state) {
    (void)state;
    free(bytes);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(outputs_are_those_of_transformers),
                                       cmocka_unit_test(distillation_gradient_is_that_of_torch)};
    return cmocka_run_group_tests(tests, NULL, free_golden);
}
