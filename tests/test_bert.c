/* Encoders beside Hugging Face transformers, in which golden/make_bert.py saved tiny ones and
 * computed with them; what files and documents must not change; folders that are not what they say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "asserts.h"
#include "base/file.h"
#include "distill/loss.h"
#include "files/bert_file.h"
#include "golden.h"
#include "test_data.h"

enum { B = 2, T = 9, V = 40, C = 16, WIDTH = 5, CLASSES = 3, N = B * T };

static const char *const MASKED[] = {"bert", "pretraining", "distilbert"};
static const char *const TOLD[] = {"bert_classes", "distilbert_classes"};
enum { MASKED_COUNT = sizeof MASKED / sizeof *MASKED, TOLD_COUNT = sizeof TOLD / sizeof *TOLD };

static const double TOLERANCE = sizeof(kd_real) == 4 ? 1e-4 : 1e-9;

/* The second row ends three tokens earlier; what is behind it is a document of its own. */
static int32_t first[N], end[N], ids[N];
static uint8_t seen[N];

static kd_bert_input input_of(const double *id) {
    for (int i = 0; i < N; i++) {
        const int row = i / T, t = i % T, length = row ? T - 3 : T;
        ids[i] = (int32_t)id[i];
        first[i] = t < length ? 0 : length;
        end[i] = t < length ? length : T;
        seen[i] = t < length;
    }
    return (kd_bert_input){ids, first, end, B, T};
}

static kd_bert_file *open_variant(const char *name, bool frozen) {
    char path[256];
    kd_bert_file *file;
    snprintf(path, sizeof path, "tests/golden/bert/%s", name);
    assert_ok(kd_bert_file_open(&file, path, frozen));
    return file;
}

static const double *golden(const char *variant, const char *what, int64_t size) {
    char name[96];
    golden_entry entry = {0};
    snprintf(name, sizeof name, "%s.%s", variant, what);
    if (!golden_find(&entry, "tests/golden/bert.bin", name)) fail_msg("no golden '%s'", name);
    assert_int_equal(entry.size, size);
    return entry.value;
}

/* ‖a − b‖/‖b‖ over the rows that are asked for */
static double distance(const kd_real *a, const double *b, int64_t rows, int64_t n,
                       const uint8_t *valid) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < rows * n; i++) {
        if (valid && !valid[i / n]) continue;
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += b[i] * b[i];
    }
    return sqrt(difference / (size > 1e-12 ? size : 1)); /* a key's bias moves nothing */
}

static void assert_close(const char *what, const kd_real *a, const double *b, int64_t n) {
    const double found = distance(a, b, 1, n, NULL);
    if (!(found <= TOLERANCE)) fail_msg("%s is %g away from transformers'", what, found);
}

static void assert_rows_close(const char *what, const kd_real *a, const double *b, int64_t n) {
    const double found = distance(a, b, N, n, seen);
    if (!(found <= TOLERANCE)) fail_msg("%s is %g away from transformers'", what, found);
}

static kd_tape *new_tape(void) {
    kd_tape *tape;
    assert_ok(kd_tape_create(&tape, 0));
    return tape;
}

static void test_logits(void **state) {
    (void)state;
    kd_tape *tape = new_tape();
    tape->recording = false;
    for (int i = 0; i < MASKED_COUNT; i++) {
        kd_bert_file *file = open_variant(MASKED[i], true);
        const kd_bert_input in = input_of(golden(MASKED[i], "ids", N));
        kd_real run[N * C];
        kd_tape_reset(tape);
        kd_tensor *states = kd_bert_states(file->model, tape, &in);
        assert_rows_close(MASKED[i], states->value, golden(MASKED[i], "states", N * C), C);
        assert_rows_close(MASKED[i], kd_bert_logits(file->model, tape, states)->value,
                          golden(MASKED[i], "logits", N * V), V);
        kd_tape *scratch = new_tape();
        assert_ok(kd_bert_run(file->model, scratch, run, &in));
        assert_memory_equal(run, states->value, sizeof run);
        kd_tape_free(scratch);
        assert_int_equal(file->model->spec.types, i < 2 ? 2 : 0);
        int64_t size = 0;
        for (int k = 0; k < file->model->params->count; k++)
            size += file->model->params->list[k]->tensor.size;
        assert_int_equal(kd_bert_size(&file->model->spec), size);
        kd_bert_file_free(file);
    }
    kd_tape_free(tape);
}

/* What make_bert.py calls the gradient: the name's last letters. Layers beyond the first have none.
 */
static const char *gradient_name(kd_named *named, const kd_bert *model, const kd_param *p) {
    enum { KEPT = 28 };
    kd_names_find(named, kd_bert_hugging(&model->spec, false), p);
    const size_t n = strlen(named->name);
    if (strstr(named->name, "layer.1.")) return NULL;
    return named->name + (n > KEPT ? n - KEPT : 0);
}

static void check_gradients(const char *variant, const kd_bert *model) {
    int checked = 0;
    kd_params_finish_grads(model->params);
    for (int i = 0; i < model->params->count; i++) {
        const kd_param *p = model->params->list[i];
        kd_named named;
        golden_entry entry = {0};
        char name[96];
        const char *own = gradient_name(&named, model, p);
        if (!own) continue;
        snprintf(name, sizeof name, "%s.%s", variant, own);
        if (golden_find(&entry, "tests/golden/bert.bin", name)) {
            assert_close(p->name, p->tensor.grad, entry.value, p->tensor.size);
            checked++;
        } else { /* nothing uses it */
            for (int64_t k = 0; k < p->tensor.size; k++) assert_true(p->tensor.grad[k] == 0);
        }
    }
    assert_true(checked > 20);
}

static void reals(kd_real *out, const double *from, int n) {
    for (int i = 0; i < n; i++) out[i] = (kd_real)from[i];
}

/* 5·τ²·KL over all, 2·CE over the masked, 1 − cosine of the last hidden states. */
static void check_masked(const char *variant) {
    kd_bert_file *file = open_variant(variant, false);
    kd_bert *m = file->model;
    kd_tape *tape = new_tape();
    static kd_real hidden[N * WIDTH], output[V * WIDTH], bias[V], target[N * C];
    int32_t label[N];
    uint8_t chosen[N];
    double rows = 0, masked = 0;
    const kd_bert_input in = input_of(golden(variant, "ids", N));
    reals(hidden, golden(variant, "hidden", N * WIDTH), N * WIDTH);
    reals(output, golden(variant, "output", V * WIDTH), V * WIDTH);
    reals(bias, golden(variant, "bias", V), V);
    reals(target, golden(variant, "target", N * C), N * C);
    for (int i = 0; i < N; i++) {
        label[i] = (int32_t)golden(variant, "label", N)[i];
        chosen[i] = golden(variant, "chosen", N)[i] != 0;
        rows += seen[i];
        masked += chosen[i];
    }
    const kd_soft_targets soft = {.hidden = hidden, .output = output, .bias = bias, .width = WIDTH};
    const kd_loss_spec kl = {
        .kl_weight = 5, .temperature = 2, .normalizer = rows, .bias = &m->bias->tensor};
    const kd_loss_spec hard = {
        .hard_weight = 2, .temperature = 1, .normalizer = masked, .bias = &m->bias->tensor};
    kd_params_begin_step(m->params);
    kd_tensor *states = kd_bert_states(m, tape, &in), *E = &m->embedding.table->tensor;
    kd_tensor *h = kd_bert_head(m, tape, states);
    kd_tensor *loss = kd_vocab_loss(tape, h, E, NULL, seen, &soft, kl, NULL);
    loss =
        kd_add(tape, loss, kd_vocab_loss(tape, h, E, label, chosen, NULL, hard, NULL), KD_ACT_NONE);
    loss = kd_add(tape, loss, kd_hint_cosine(tape, states, target, seen, 1, rows), KD_ACT_NONE);
    kd_tape_backward(tape, loss);
    assert_close(variant, loss->value, golden(variant, "loss", 1), 1);
    check_gradients(variant, m);
    kd_tape_free(tape);
    kd_bert_file_free(file);
}

static void test_masked_gradients(void **state) {
    (void)state;
    for (int i = 0; i < MASKED_COUNT; i++) check_masked(MASKED[i]);
}

static void test_classes(void **state) {
    static const int32_t label[] = {2, 0}, start[] = {0, T};
    (void)state;
    for (int i = 0; i < TOLD_COUNT; i++) {
        kd_bert_file *file = open_variant(TOLD[i], false);
        kd_tape *tape = new_tape();
        kd_bert_input in = input_of(golden(TOLD[i], "ids", N));
        in.first = in.end = NULL;
        kd_params_begin_step(file->model->params);
        kd_tensor *z =
            kd_bert_classes(file->model, tape, kd_bert_states(file->model, tape, &in), start, B);
        assert_int_equal(file->model->spec.classes, CLASSES);
        assert_close(TOLD[i], z->value, golden(TOLD[i], "logits", B * CLASSES), B * CLASSES);
        const kd_loss_spec spec = {.hard_weight = 1, .temperature = 1, .normalizer = B};
        kd_tensor *loss = kd_distill_loss(tape, z, label, NULL, NULL, spec, NULL);
        kd_tape_backward(tape, loss);
        assert_close(TOLD[i], loss->value, golden(TOLD[i], "loss", 1), 1);
        check_gradients(TOLD[i], file->model);
        kd_tape_free(tape);
        kd_bert_file_free(file);
    }
}

/* A document gives the same numbers wherever it lies in a row, and with whatever beside it. */
static void test_documents(void **state) {
    enum { BEFORE = 4, LENGTH = 5 };
    static const int32_t ids_alone[LENGTH] = {3, 7, 1, 9, 20};
    int32_t id[B * T], begin[B * T], stop[B * T];
    kd_real alone[LENGTH * C], packed[N * C];
    (void)state;
    kd_bert_file *file = open_variant("bert", true);
    kd_tape *scratch = new_tape();
    for (int i = 0; i < N; i++) {
        const bool own = i % T >= BEFORE;
        id[i] = own ? ids_alone[i % T - BEFORE] : (i * 11 + 2) % V;
        begin[i] = own ? BEFORE : 0;
        stop[i] = own ? T : BEFORE;
    }
    const kd_bert_input one = {ids_alone, NULL, NULL, 1, LENGTH}, all = {id, begin, stop, B, T};
    assert_ok(kd_bert_run(file->model, scratch, alone, &one));
    assert_ok(kd_bert_run(file->model, scratch, packed, &all));
    for (int row = 0; row < B; row++)
        for (int i = 0; i < LENGTH * C; i++)
            assert_true(fabs((double)(packed[(row * T + BEFORE) * C + i] - alone[i])) < 1e-5);
    kd_tape_free(scratch);
    kd_bert_file_free(file);
}

/* --- files ------------------------------------------------------------------------------------ */

static void assert_same_params(const kd_bert *a, const kd_bert *b) {
    assert_int_equal(a->params->count, b->params->count);
    for (int i = 0; i < a->params->count; i++) {
        const kd_tensor *x = &a->params->list[i]->tensor, *y = &b->params->list[i]->tensor;
        assert_string_equal(a->params->list[i]->name, b->params->list[i]->name);
        assert_int_equal(x->size, y->size);
        assert_memory_equal(x->value, y->value, (size_t)x->size * sizeof(kd_real));
    }
}

static void check_written(test_folder *folder, const char *variant) {
    kd_bert_file *file = open_variant(variant, true), *again;
    char path[KD_PATH_MAX];
    snprintf(path, sizeof path, "%s", test_path(folder, variant));
    assert_ok(kd_bert_folder_write(path, file, &kd_format_f32));
    assert_true(kd_bert_file_is(path));
    assert_ok(kd_bert_file_open(&again, path, true));
    assert_memory_equal(&again->model->spec, &file->model->spec, sizeof(kd_bert_spec));
    assert_same_params(file->model, again->model);
    kd_bert_file_free(again);
    snprintf(path, sizeof path, "%s", test_path(folder, "encoder.gguf"));
    assert_ok(kd_bert_gguf_write(path, file, &kd_format_f32));
    assert_true(kd_bert_file_is(path));
    assert_ok(kd_bert_file_open(&again, path, true));
    assert_same_params(file->model, again->model);
    kd_bert_file_free(again);
    kd_bert_file_free(file);
}

static void test_written(void **state) {
    for (int i = 0; i < MASKED_COUNT; i++) check_written(*state, MASKED[i]);
    for (int i = 0; i < TOLD_COUNT; i++) check_written(*state, TOLD[i]);
}

/* --- folders that are not what they say --------------------------------------------------------
 */

/* Copies a variant with one text of its config.json replaced. */
static void copy_changed(test_folder *folder, const char *variant, const char *from,
                         const char *to) {
    char path[256], *text, *at;
    size_t length;
    kd_text changed = {0};
    assert_ok(kd_file_make_folders(test_path(folder, "changed")));
    snprintf(path, sizeof path, "tests/golden/bert/%s/model.safetensors", variant);
    assert_ok(kd_file_read(&text, &length, path, 1 << 20));
    test_write(test_path(folder, "changed/model.safetensors"), text, length);
    free(text);
    snprintf(path, sizeof path, "tests/golden/bert/%s/config.json", variant);
    assert_ok(kd_file_read(&text, &length, path, 1 << 20));
    at = strstr(text, from);
    assert_non_null(at);
    kd_text_add(&changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    test_write(test_path(folder, "changed/config.json"), changed.text, changed.length);
    free(changed.text);
    free(text);
}

static void test_refused(void **state) {
    static const struct {
        const char *variant, *from, *to, *said;
    } CASES[] = {
        {"bert", "\"gelu\"", "\"relu\"", "\"hidden_act\" should be \"gelu\""},
        {"bert", "\"model_type\": \"bert\"", "\"model_type\": \"roberta\"", "bert or distilbert"},
        {"bert", "\"is_decoder\": false", "\"is_decoder\": true", "is_decoder"},
        {"bert", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false",
         "tie_word_embeddings"},
        {"bert", "\"num_attention_heads\": 4", "\"num_attention_heads\": 3", "over 3 heads"},
        {"bert", "\"hidden_size\": 16", "\"hidden_size\": 1000000", "width: 1000000"},
        {"bert", "\"hidden_size\": 16", "\"hidden_size\": 0", "hidden_size"},
        {"bert", "\"vocab_size\": 40", "\"vocab_size\": 41", "another shape"},
        {"bert", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "is missing"},
        {"bert", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "tensors; a model of"},
        {"distilbert", "\"activation\": \"gelu\"", "\"activation\": \"relu\"", "activation"},
        {"distilbert", "\"max_position_embeddings\": 12", "\"max_position_embeddings\": 13",
         "another shape"},
        {"bert_classes", "\"2\": \"LABEL_2\"", "\"2\": \"LABEL_2\", \"3\": \"more\"",
         "another shape"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        kd_bert_file *file;
        copy_changed(*state, CASES[i].variant, CASES[i].from, CASES[i].to);
        assert_int_equal(kd_bert_file_open(&file, test_path(*state, "changed"), true), KD_EDATA);
        assert_null(file);
        if (!strstr(kd_error(), CASES[i].said))
            fail_msg("'%s' does not say '%s'", kd_error(), CASES[i].said);
    }
}

/* Every length of a file but the whole is refused. */
static void test_cut(void **state) {
    kd_bert_file *file = open_variant("distilbert_classes", true), *read;
    char *bytes;
    size_t length;
    assert_ok(kd_bert_gguf_write(test_path(*state, "whole.gguf"), file, &kd_format_f16));
    assert_ok(kd_file_read(&bytes, &length, test_path(*state, "whole.gguf"), 1 << 20));
    for (size_t cut = 0; cut < length; cut += cut < 2000 ? 7 : 501) {
        assert_true(kd_bert_gguf_decode(&read, bytes, cut, "cut", true) < 0);
        assert_null(read);
    }
    assert_ok(kd_bert_gguf_decode(&read, bytes, length, "whole", true));
    kd_bert_file_free(read);
    kd_bert_file_free(file);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_masked_gradients),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_documents),
        cmocka_unit_test_setup_teardown(test_written, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_cut, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
