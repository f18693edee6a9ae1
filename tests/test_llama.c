/* Decoders beside Hugging Face transformers, in which golden/make_llama.py saved tiny ones and
 * computed with them; and what files, caches and documents must not change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "asserts.h"
#include "base/file.h"
#include "distill/loss.h"
#include "files/llama_file.h"
#include "files/llama_names.h"
#include "golden.h"
#include "layers/llama_session.h"

enum { B = 2, T = 12, V = 48, WIDTH = 5 };

static const char *const VARIANTS[] = {"tied", "linear", "llama3", "yarn", "qwen2", "qwen3"};
enum { VARIANT_COUNT = sizeof VARIANTS / sizeof *VARIANTS };

/* transformers makes the angles in float, whatever the model is in. */
static const double TOLERANCE = sizeof(kd_real) == 4 ? 1e-4 : 2e-6;

static kd_llama_file *open_variant(const char *name, kd_llama_training training) {
    char path[256];
    kd_llama_file *file;
    snprintf(path, sizeof path, "tests/golden/llama/%s", name);
    assert_ok(kd_llama_file_open(&file, path, training));
    return file;
}

static const double *golden(const char *variant, const char *what, int64_t size) {
    char name[96];
    golden_entry entry = {0};
    snprintf(name, sizeof name, "%s.%s", variant, what);
    if (!golden_find(&entry, "tests/golden/llama.bin", name)) fail_msg("no golden '%s'", name);
    assert_int_equal(entry.size, size);
    return entry.value;
}

static const int32_t *ids_of(const char *variant) {
    static int32_t id[B * T];
    const double *value = golden(variant, "ids", B * T);
    for (int i = 0; i < B * T; i++) id[i] = (int32_t)value[i];
    return id;
}

/* ‖a − b‖/‖b‖ */
static double distance(const kd_real *a, const double *b, int64_t n) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += b[i] * b[i];
    }
    return sqrt(difference / size);
}

static void assert_close(const char *what, const kd_real *a, const double *b, int64_t n) {
    if (!(distance(a, b, n) <= TOLERANCE))
        fail_msg("%s is %g away from transformers'", what, distance(a, b, n));
}

static kd_tape *new_tape(void) {
    kd_tape *tape;
    assert_ok(kd_tape_create(&tape, 0));
    return tape;
}

/* Logits (B·T,V) of the golden ids, in memory of the tape. */
static const kd_real *logits_of(const kd_llama_file *file, kd_tape *tape, const char *variant) {
    kd_tape_reset(tape);
    tape->recording = false;
    kd_tensor *h = kd_llama_hidden(file->model, tape, ids_of(variant), B, T, NULL);
    return kd_llama_logits(file->model, tape, h)->value;
}

static void test_logits(void **state) {
    (void)state;
    kd_tape *tape = new_tape();
    for (int i = 0; i < VARIANT_COUNT; i++) {
        kd_llama_file *file = open_variant(VARIANTS[i], KD_LLAMA_FROZEN);
        assert_close(VARIANTS[i], logits_of(file, tape, VARIANTS[i]),
                     golden(VARIANTS[i], "logits", B * T * V), B * T * V);
        assert_int_equal(file->ends.bos, 1);
        assert_int_equal(file->ends.stop[0], 2);
        kd_llama_file_free(file);
    }
    kd_tape_free(tape);
}

/* The name that make_llama.py gives to a parameter's gradient; NULL: it has none. */
static const char *gradient_name(kd_named *named, const kd_param *p) {
    kd_names_find(named, &kd_llama_hugging, p);
    const char *name = strncmp(named->name, "model.", 6) == 0 ? named->name + 6 : named->name;
    if (strncmp(name, "layers.", 7) != 0) return name;
    return strncmp(name, "layers.0.", 9) == 0 ? name + 7 : NULL;
}

static void check_gradient(const char *variant) {
    kd_llama_file *file = open_variant(variant, KD_LLAMA_TRAIN);
    kd_tape *tape = new_tape();
    int32_t label[B * T] = {0};
    uint8_t valid[B * T];
    kd_real hidden[B * T * WIDTH], output[V * WIDTH];
    const double *h = golden(variant, "hidden", B * T * WIDTH);
    const double *E = golden(variant, "output", V * WIDTH);
    for (int i = 0; i < B * T * WIDTH; i++) hidden[i] = (kd_real)h[i];
    for (int i = 0; i < V * WIDTH; i++) output[i] = (kd_real)E[i];
    for (int i = 0; i < B * T; i++) {
        valid[i] = i % T < T - 1;
        if (valid[i]) label[i] = ids_of(variant)[i + 1];
    }
    const kd_soft_targets soft = {.hidden = hidden, .output = output, .width = WIDTH};
    const kd_loss_spec spec = {
        .hard_weight = KD_REAL(0.8), .kl_weight = 1, .temperature = 2, .normalizer = B * (T - 1)};
    kd_params_begin_step(file->model->params);
    kd_tensor *y = kd_llama_hidden(file->model, tape, ids_of(variant), B, T, NULL);
    kd_tensor *loss =
        kd_vocab_loss(tape, y, &file->model->output->tensor, label, valid, &soft, spec, NULL);
    kd_tape_backward(tape, loss);
    kd_params_finish_grads(file->model->params);
    assert_close(variant, loss->value, golden(variant, "loss", 1), 1);
    for (int i = 0; i < file->model->params->count; i++) {
        const kd_param *p = file->model->params->list[i];
        kd_named named;
        const char *name = gradient_name(&named, p);
        if (!name) continue;
        assert_close(p->name, p->tensor.grad, golden(variant, name, p->tensor.size),
                     p->tensor.size);
    }
    kd_tape_free(tape);
    kd_llama_file_free(file);
}

static void test_gradients(void **state) {
    (void)state;
    for (int i = 0; i < VARIANT_COUNT; i++) check_gradient(VARIANTS[i]);
}

/* --- files -------------------------------------------------------------------------------------
 */

static void assert_same_params(const kd_llama *a, const kd_llama *b) {
    assert_int_equal(a->params->count, b->params->count);
    for (int i = 0; i < a->params->count; i++) {
        const kd_tensor *x = &a->params->list[i]->tensor, *y = &b->params->list[i]->tensor;
        assert_string_equal(a->params->list[i]->name, b->params->list[i]->name);
        assert_int_equal(x->size, y->size);
        assert_memory_equal(x->value, y->value, (size_t)x->size * sizeof(kd_real));
    }
}

/* Written and read again, as a folder and as a GGUF: the same numbers, and the same angles. */
static void check_written(const char *variant) {
    static const char folder[] = "build/test_llama.folder", gguf[] = "build/test_llama.gguf";
    kd_llama_file *file = open_variant(variant, KD_LLAMA_FROZEN), *again;
    kd_tape *tape = new_tape(), *other = new_tape();
    const kd_real *logits = logits_of(file, tape, variant);
    const bool divided = strcmp(variant, "llama3") == 0;
    assert_ok(kd_llama_folder_write(folder, file, &kd_format_f32));
    assert_ok(kd_llama_file_open(&again, folder, KD_LLAMA_FROZEN));
    assert_same_params(file->model, again->model);
    assert_memory_equal(logits, logits_of(again, other, variant), B * T * V * sizeof *logits);
    assert_int_equal(again->ends.bos, file->ends.bos);
    assert_int_equal(again->ends.stop_count, file->ends.stop_count);
    kd_llama_file_free(again);
    assert_ok(kd_llama_gguf_write(gguf, file, &kd_format_f32));
    assert_ok(kd_llama_file_open(&again, gguf, KD_LLAMA_FROZEN));
    assert_same_params(file->model, again->model);
    assert_int_equal(again->model->spec.rotary.kind,
                     divided ? KD_ROTARY_DIVIDED : file->model->spec.rotary.kind);
    double expected[B * T * V];
    for (int i = 0; i < B * T * V; i++) expected[i] = (double)logits[i];
    assert_close(variant, logits_of(again, other, variant), expected, B * T * V);
    if (divided) assert_int_equal(kd_llama_folder_write(folder, again, &kd_format_f32), KD_EUSAGE);
    kd_llama_file_free(again);
    kd_tape_free(tape);
    kd_tape_free(other);
    kd_llama_file_free(file);
}

static void test_written(void **state) {
    (void)state;
    for (int i = 0; i < VARIANT_COUNT; i++) check_written(VARIANTS[i]);
}

/* A GGUF's matrices that stay in the file give the bits of loaded ones, turned rows too. */
static void test_only_read(void **state) {
    static const char path[] = "build/test_llama.f16.gguf";
    (void)state;
    kd_llama_file *file = open_variant("tied", KD_LLAMA_FROZEN), *kept, *loaded;
    kd_tape *tape = new_tape(), *other = new_tape();
    assert_ok(kd_llama_gguf_write(path, file, &kd_format_f16));
    assert_ok(kd_llama_file_open(&kept, path, KD_LLAMA_ONLY_READ));
    assert_ok(kd_llama_file_open(&loaded, path, KD_LLAMA_FROZEN));
    const kd_real *a = logits_of(kept, tape, "tied"), *b = logits_of(loaded, other, "tied");
    assert_memory_equal(a, b, B * T * V * sizeof *a);
    kd_llama_file_free(kept);
    kd_llama_file_free(loaded);
    kd_llama_file_free(file);
    kd_tape_free(tape);
    kd_tape_free(other);
}

/* Rows whose pairs lie side by side in the file: rows 2i and 2i + 1 of a head are our i and i +
 * D/2. */
static void test_pairs(void **state) {
    static const char path[] = "build/test_llama.pairs.gguf";
    (void)state;
    kd_llama_file *file = open_variant("tied", KD_LLAMA_FROZEN);
    const kd_tensor *q = &file->model->block[1].query.weight->tensor;
    kd_file_map map;
    kd_gguf *gguf;
    assert_ok(kd_llama_gguf_write(path, file, &kd_format_f32));
    assert_ok(kd_file_map_open(&map, path));
    assert_ok(kd_gguf_parse(&gguf, map.bytes, map.length, path));
    const kd_gguf_tensor *theirs = kd_gguf_find_tensor(gguf, "blk.1.attn_q.weight");
    const int64_t C = q->shape[1], D = 4;
    for (int64_t row = 0; row < q->shape[0]; row++) {
        const int64_t i = row % D, ours = row - i + i / 2 + i % 2 * (D / 2);
        for (int64_t c = 0; c < C; c++) {
            float value;
            memcpy(&value, theirs->data + (row * C + c) * 4, sizeof value);
            assert_true((kd_real)value == q->value[ours * C + c]);
        }
    }
    kd_gguf_free(gguf);
    kd_file_map_close(&map);
    kd_llama_file_free(file);
}

/* --- the same in other ways --------------------------------------------------------------------
 */

static void test_run(void **state) {
    (void)state;
    for (int i = 0; i < VARIANT_COUNT; i++) {
        kd_llama_file *file = open_variant(VARIANTS[i], KD_LLAMA_FROZEN);
        kd_tape *tape = new_tape(), *scratch = new_tape();
        const int64_t size = B * T * file->model->spec.width;
        kd_tensor *h = kd_llama_hidden(file->model, tape, ids_of(VARIANTS[i]), B, T, NULL);
        kd_real *run = malloc((size_t)size * sizeof *run);
        assert_ok(kd_llama_run(file->model, scratch, run, ids_of(VARIANTS[i]), B, T, NULL));
        assert_memory_equal(run, h->value, (size_t)size * sizeof *run);
        free(run);
        kd_tape_free(tape);
        kd_tape_free(scratch);
        kd_llama_file_free(file);
    }
}

/* Token by token, in pieces, and after going back. */
static void test_session(void **state) {
    (void)state;
    for (int i = 0; i < VARIANT_COUNT; i++) {
        kd_llama_file *file = open_variant(VARIANTS[i], KD_LLAMA_ONLY_READ);
        const int32_t *id = ids_of(VARIANTS[i]);
        const double *logits = golden(VARIANTS[i], "logits", B * T * V);
        kd_llama_session *session;
        kd_real out[V];
        assert_ok(kd_llama_session_create(&session, file->model, T, KD_PRODUCTS_EXACT));
        assert_ok(kd_llama_session_feed(session, id, 5));
        for (int64_t t = 5; t < T; t++) {
            assert_ok(kd_llama_session_logits(session, 1, out));
            assert_close("a step", out, logits + (t - 1) * V, V);
            assert_ok(kd_llama_session_feed(session, id + t, 1));
        }
        kd_llama_session_shorten(session, 3);
        assert_ok(kd_llama_session_feed(session, id + 3, 8));
        assert_ok(kd_llama_session_logits(session, 1, out));
        assert_close("a piece", out, logits + 10 * V, V);
        assert_int_equal(kd_llama_session_length(session), 11);
        kd_llama_session_free(session);
        kd_llama_file_free(file);
    }
}

/* Texts packed behind each other, with their borders known, are what they are alone. */
static void test_documents(void **state) {
    static const int32_t border[] = {0, 5, 6, T};
    (void)state;
    kd_llama_file *file = open_variant("qwen3", KD_LLAMA_FROZEN);
    kd_tape *tape = new_tape(), *other = new_tape();
    const int32_t *id = ids_of("qwen3");
    int32_t first[B * T];
    for (int i = 0; i < B * T; i++) {
        int d = 0;
        while (border[d + 1] <= i % T) d++;
        first[i] = border[d];
    }
    const kd_tensor *packed = kd_llama_hidden(file->model, tape, id, B, T, first);
    const int64_t width = file->model->spec.width;
    for (int b = 0; b < B; b++)
        for (int d = 0; d < 3; d++) {
            const int64_t begin = b * T + border[d], n = border[d + 1] - border[d];
            kd_tape_reset(other);
            const kd_tensor *alone = kd_llama_hidden(file->model, other, id + begin, 1, n, NULL);
            double expected[T * 16];
            for (int64_t i = 0; i < n * width; i++) expected[i] = (double)alone->value[i];
            assert_close("a document", packed->value + begin * width, expected, n * width);
        }
    kd_tape_free(tape);
    kd_tape_free(other);
    kd_llama_file_free(file);
}

/* --- what is refused ---------------------------------------------------------------------------
 */

/* The folder "tied" with `from` in its config.json replaced. */
static void expect_refused(const char *from, const char *to, const char *message) {
    static const char folder[] = "build/test_llama.bad";
    char *config, *weights, changed[4096], path[128];
    size_t length, bytes;
    kd_llama_file *file;
    assert_ok(kd_file_make_folders(folder));
    assert_ok(kd_file_read(&config, &length, "tests/golden/llama/tied/config.json", 1 << 16));
    assert_ok(kd_file_read(&weights, &bytes, "tests/golden/llama/tied/model.safetensors", 1 << 20));
    char *at = strstr(config, from);
    assert_non_null(at);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - config), config, to,
             at + strlen(from));
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_ok(kd_file_replace(path, changed, strlen(changed)));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_ok(kd_file_replace(path, weights, bytes));
    assert_refused(kd_llama_file_open(&file, folder, KD_LLAMA_FROZEN), KD_EDATA, message);
    assert_null(file);
    free(config);
    free(weights);
}

static void test_refused(void **state) {
    static const struct {
        const char *from, *to, *message;
    } bad[] = {
        {"\"llama\"", "\"gpt2\"", "\"model_type\" should be llama"},
        {"\"silu\"", "\"gelu\"", "\"hidden_act\" should be \"silu\""},
        {"\"attention_bias\": false", "\"attention_bias\": true",
         "\"attention_bias\" should be false"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"longrope\"", "\"rope_type\" should be"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"linear\"", "stretched by 0"},
        {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3", "must be a multiple"},
        {"\"head_dim\": 4", "\"head_dim\": 5", "turn pairs"},
        {"\"head_dim\": 4", "\"head_dim\": 2", "another shape than config.json says"},
        {"\"vocab_size\": 48", "\"vocab_size\": 47", "another shape than config.json says"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "a model of this config.json has"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "is missing"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000", "layers: 1000"},
        {"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false",
         "lm_head.weight is missing"},
        {"\"bos_token_id\": 1", "\"bos_token_id\": 48", "a token of the vocabulary"},
        {"\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 0", "epsilon"},
        {"\"use_cache\"", "\"quantization_config\": {}, \"use_cache\"",
         "packed in another way"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_refused(bad[i].from, bad[i].to, bad[i].message);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),  cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_written), cmocka_unit_test(test_only_read),
        cmocka_unit_test(test_pairs),   cmocka_unit_test(test_run),
        cmocka_unit_test(test_session), cmocka_unit_test(test_documents),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
