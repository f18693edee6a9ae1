/* Weights that stay in their file: the same bits as with all of them in memory. */
#include "test_data.h"

#include "autograd/gemm.h"
#include "autograd/tape.h"
#include "base/rng.h"
#include "distill/checkpoint.h"
#include "layers/whisper_session.h"
#include "tasks/speech/student.h"
#include "whisper_tiny.h"

/* --- products ----------------------------------------------------------------------------------
 */

typedef struct {
    kd_constant constant;
    const kd_real *value;
    int64_t length;
} in_memory;

static void read_memory(const kd_constant *constant, kd_real *out, int64_t first, int64_t count) {
    const in_memory *m = (const in_memory *)(const void *)constant;
    memcpy(out, m->value + first * m->length, (size_t)(count * m->length) * sizeof *out);
}

static kd_real *random_numbers(int64_t n, uint64_t stream) {
    kd_real *x = malloc((size_t)n * sizeof *x);
    kd_rng rng = kd_rng_init(5, stream);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = (kd_real)(2 * kd_rng_uniform(&rng) - 1);
    return x;
}

/* Few rows, panels, tiles; small matrices, and ones that come in parts. */
static void products_have_the_same_bits(void **state) {
    (void)state;
    static const int64_t shape[][3] = {{1, 40, 32},     {3, 33000, 256}, {7, 40, 24},
                                       {7, 33000, 256}, {100, 300, 512}, {100, 33000, 256},
                                       {600, 96, 576},  {600, 600, 600}, {520, 15000, 600}};
    kd_tape *tape;
    assert_ok(kd_tape_create(&tape, 0));
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        const int64_t M = shape[s][0], N = shape[s][1], K = shape[s][2];
        const size_t bytes = (size_t)(M * N) * sizeof(kd_real);
        kd_real *A = random_numbers(M * K, 1), *B = random_numbers(N * K, 2);
        kd_real *want = malloc(bytes), *found = malloc(bytes);
        assert_true(want && found);
        const in_memory rows = {{.read = read_memory}, B, K};
        const kd_matrix_product whole =
            kd_product_of(M, N, K, kd_plain(A, K), kd_transposed(B, K), want, N);
        kd_matrix_product made = whole;
        made.B = (kd_factor){.constant = &rows.constant, .trans = KD_TRANSPOSED};
        made.C = found;
        for (volatile int precision = 0; precision < 2; precision++) {
            tape->precision = precision ? KD_PRECISION_BFLOAT16 : KD_PRECISION_FLOAT32;
            if (kd_tape_guard(tape)) fail_msg("%s", kd_error());
            kd_gemm_tape(tape, &whole);
            memset(found, 0xff, bytes);
            kd_gemm_tape(tape, &made);
            assert_memory_equal(found, want, bytes);
        }
        kd_gemm(&whole);
        memset(found, 0xff, bytes);
        kd_gemm_constant(tape, &made);
        assert_memory_equal(found, want, bytes);
        free(A);
        free(B);
        free(want);
        free(found);
    }
    kd_tape_free(tape);
}

/* --- Whisper -----------------------------------------------------------------------------------
 */

static int write_folder(const char *path, const kd_whisper_file *file,
                        const kd_number_format *format) {
    return kd_whisper_folder_write(path, file, format);
}

/* What a model makes of a sound and of tokens: hidden states, and the logits of sessions with few
 * rows and with many. */
static void assert_same_answers(const kd_whisper *a, const kd_whisper *b) {
    enum { T = 40, SAMPLES = 3 };
    static const int32_t id[SAMPLES * 4] = {257, 1, 2, 3, 257, 4, 5, 6, 257, 7, 8, 9};
    const int64_t mel_size = T * TINY_SPEC.mels, rows = SAMPLES * 4;
    kd_real *mel = malloc((size_t)(SAMPLES * mel_size) * sizeof *mel), *logits[2];
    assert_non_null(mel);
    tiny_mel(mel, SAMPLES * mel_size);
    for (int which = 0; which < 2; which++) {
        const kd_whisper *model = which ? b : a;
        kd_whisper_session *s;
        kd_tape *tape;
        const size_t width = (size_t)model->spec.vocabulary;
        kd_real *out = logits[which] = calloc((size_t)(2 * rows) * width, sizeof *out);
        assert_non_null(out);
        assert_ok(kd_whisper_session_create(&s, model, SAMPLES, 1));
        assert_ok(kd_whisper_session_listen(s, mel, SAMPLES, T));
        assert_ok(kd_whisper_session_step(s, id, 4));
        assert_ok(kd_whisper_session_logits(s, out, 3));
        kd_whisper_session_free(s);
        assert_ok(kd_tape_create(&tape, 0));
        tape->recording = false;
        if (kd_tape_guard(tape)) fail_msg("%s", kd_error());
        kd_tensor *x = kd_tape_input(tape, 3, (int64_t[]){SAMPLES, T, TINY_SPEC.mels});
        memcpy(x->value, mel, (size_t)(SAMPLES * mel_size) * sizeof *mel);
        kd_tensor *h =
            kd_whisper_decoder(model, tape, id, SAMPLES, 4, kd_whisper_encoder(model, tape, x));
        const kd_tensor *z = kd_whisper_logits(model, tape, h);
        memcpy(out + (size_t)rows * width, z->value, (size_t)z->size * sizeof *out);
        kd_tape_free(tape);
    }
    assert_memory_equal(logits[0], logits[1],
                        (size_t)(2 * rows * a->spec.vocabulary) * sizeof *logits[0]);
    free(logits[0]);
    free(logits[1]);
    free(mel);
}

static void a_model_in_its_file_is_the_same(void **state) {
    static const struct {
        const char *name, *format;
        int (*write)(const char *, const kd_whisper_file *, const kd_number_format *);
    } files[] = {
        {"a.bin", "f16", kd_whisper_bin_write},    {"a.bin", "q5_0", kd_whisper_bin_write},
        {"a.gguf", "q8_0", kd_whisper_gguf_write}, {"a.gguf", "int8", kd_whisper_gguf_write},
        {"folder", "f16", write_folder},           {"folder", "f32", write_folder}};
    kd_whisper_file *file = tiny_whisper_file();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *path = test_path(*state, files[i].name);
        kd_whisper_file *loaded, *kept, *students[2];
        kd_hash hash[2];
        assert_ok(files[i].write(path, file, kd_number_format_named(files[i].format)));
        assert_ok(kd_whisper_file_open(&loaded, path, KD_WHISPER_TRAIN_NOTHING));
        assert_ok(kd_whisper_file_open(&kept, path, KD_WHISPER_ONLY_READ));
        int constants = 0;
        for (int k = 0; k < kept->model->params->count; k++) {
            const kd_param *p = kept->model->params->list[k];
            assert_int_equal(p->tensor.constant == NULL, p->tensor.value != NULL);
            constants += p->tensor.constant != NULL;
        }
#ifndef KD_DOUBLE
        /* the token embedding; 6 matrices of an encoder's block and 10 of a decoder's */
        assert_int_equal(constants, 1 + 6 * TINY_SPEC.audio_layers + 10 * TINY_SPEC.text_layers);
        assert_true(kept->model->params->slab_size < loaded->model->params->slab_size / 3);
#endif
        assert_same_answers(loaded->model, kept->model);
        assert_ok(kd_params_hash(&hash[0], loaded->model->params));
        assert_ok(kd_params_hash(&hash[1], kept->model->params));
        assert_string_equal(hash[0].hex, hash[1].hex);
        assert_ok(kd_student_create(&students[0], loaded, 1, 2, KD_WHISPER_TRAIN_ALL));
        assert_ok(kd_student_create(&students[1], kept, 1, 2, KD_WHISPER_TRAIN_ALL));
        assert_same_model(students[0], students[1], 0);
        kd_whisper_file_free(students[0]);
        kd_whisper_file_free(students[1]);
        kd_whisper_file_free(kept);
        kd_whisper_file_free(loaded);
    }
    kd_whisper_file_free(file);
}

/* Numbers that are none are found in the file, by their place. */
static void bad_numbers_in_the_file_are_found(void **state) {
    const char *path = test_path(*state, "bad.gguf");
    kd_whisper_file *file = tiny_whisper_file(), *back;
    file->model->tokens.table->tensor.value[5 * TINY_WIDTH + 3] = (kd_real)NAN;
    assert_ok(kd_whisper_gguf_write(path, file, &kd_format_f16));
    assert_refused(kd_whisper_file_open(&back, path, KD_WHISPER_ONLY_READ), KD_EDATA,
                   "decoder.token_embedding.weight[5, 3] is nan");
    assert_null(back);
    kd_whisper_file_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_have_the_same_bits),
        cmocka_unit_test_setup_teardown(a_model_in_its_file_is_the_same, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(bad_numbers_in_the_file_are_found, test_setup,
                                        test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
