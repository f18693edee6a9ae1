/* Importance matrices in files: what was seen comes back, those of llama.cpp are read, what is
 * broken or another model's is refused; and as their user makes and uses them. */
#include <omp.h>

#include "speech_folder.h"

#include "quant/imatrix.h"
#include "run_cli.h"

static const kd_names OWN_NAMES = {0};
static const kd_hash MODEL = {"0123456789abcdef0123456789abcdef"}, OTHER = {"other"};

enum { ROWS = 3, LENGTH = 5, CHANNELS = 4 };

/* Two matrices, of which one is looked at, and a convolution of two groups. */
static kd_params *small_params(void) {
    kd_params *params;
    assert_ok(kd_params_create(&params));
    kd_params_add(params, "a.weight", 2, (int64_t[]){ROWS, LENGTH}, KD_INIT_ONE, 1, 1,
                  KD_PARAM_TRAINED);
    kd_params_add(params, "b.weight", 2, (int64_t[]){ROWS, LENGTH}, KD_INIT_ONE, 1, 1,
                  KD_PARAM_TRAINED);
    kd_params_add(params, "c.weight", 4, (int64_t[]){CHANNELS, 1, 1, CHANNELS / 2}, KD_INIT_ONE, 1,
                  1, KD_PARAM_TRAINED);
    assert_ok(kd_params_layout(params, 1));
    return params;
}

/* Writes what two rows of 1, 2, 3 … and an image are. */
static void write_small(const char *path, const kd_params *params) {
    const kd_conv_spec how = {.stride = {1, 1}, .groups = 2};
    const kd_imatrix_info info = {
        .dataset = "somewhere", .chunks = 2, .chunk_size = 7, .model = MODEL, .data = OTHER};
    kd_input_squares *seen;
    kd_tape *tape;
    assert_ok(kd_tape_create(&tape, 1));
    assert_ok(kd_input_squares_create(&seen, params));
    kd_tensor *x = kd_tape_input(tape, 2, (int64_t[]){2, LENGTH});
    for (int i = 0; i < 2 * LENGTH; i++) x->value[i] = (kd_real)(i + 1);
    kd_tensor *y = kd_tape_input(tape, 4, (int64_t[]){1, 1, 3, CHANNELS});
    for (int i = 0; i < 3 * CHANNELS; i++) y->value[i] = (kd_real)(i % CHANNELS);
    kd_input_squares_watch(seen, tape);
    kd_linear(tape, x, &params->list[0]->tensor, NULL, KD_ACT_NONE);
    kd_conv2d(tape, y, &params->list[2]->tensor, NULL, how, KD_ACT_NONE);
    kd_input_squares_watch(NULL, tape);
    assert_ok(kd_imatrix_write(path, seen, params, &OWN_NAMES, &info));
    kd_input_squares_free(seen);
    kd_tape_free(tape);
}

static void what_was_seen_comes_back(void **state) {
    kd_params *params = small_params();
    kd_input_squares *seen;
    int groups;
    const char *path = test_path(*state, "small.gguf");
    write_small(path, params);
    assert_ok(kd_imatrix_read(&seen, path, params, &OWN_NAMES, MODEL));
    const float *mean = kd_input_squares_of(seen, 0, &groups);
    assert_int_equal(groups, 1);
    for (int j = 0; j < LENGTH; j++)
        assert_true(mean[j] == (float)((j + 1) * (j + 1) + (j + 6) * (j + 6)) / 2);
    assert_null(kd_input_squares_of(seen, 1, &groups));
    mean = kd_input_squares_of(seen, 2, &groups);
    assert_int_equal(groups, 2);
    for (int c = 0; c < CHANNELS; c++) assert_true(mean[c] == (float)(c * c));
    kd_input_squares_free(seen);
    assert_refused(kd_imatrix_read(&seen, path, params, &OWN_NAMES, OTHER), KD_EDATA,
                   "made from another model");
    assert_null(seen);
    kd_params_free(params);
}

/* Nothing but the bits that were written is taken. */
static void every_flipped_bit_is_noticed(void **state) {
    kd_params *params = small_params();
    char *bytes;
    size_t length;
    const char *path = test_path(*state, "small.gguf");
    write_small(path, params);
    assert_ok(kd_file_read(&bytes, &length, path, 1 << 20));
    for (size_t bit = 0; bit < 8 * length; bit++) {
        kd_input_squares *seen = NULL;
        kd_gguf *g = NULL;
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        int status = kd_gguf_parse(&g, bytes, length, "flipped");
        if (status == KD_OK) status = kd_gguf_verify(g, "flipped");
        if (status == KD_OK)
            status = kd_imatrix_parse(&seen, g, "flipped", params, &OWN_NAMES, MODEL);
        if (status != KD_EDATA) fail_msg("bit %zu of byte %zu", bit % 8, bit / 8);
        kd_gguf_free(g);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
    }
    for (size_t cut = 0; cut < length; cut += 37) {
        kd_input_squares *seen;
        test_write(path, bytes, cut);
        assert_int_equal(kd_imatrix_read(&seen, path, params, &OWN_NAMES, MODEL), KD_EDATA);
    }
    free(bytes);
    kd_params_free(params);
}

/* One entry of a file as llama-imatrix writes it: no checksum of ours would be there, nor a model.
 */
typedef struct {
    const char *type, *name;
    uint64_t length, groups, counts; /* counts 0: that tensor is not there */
    float first, count;
    const char *complaint; /* NULL: it is read */
} foreign;

static void write_foreign(const char *path, const foreign *f) {
    kd_gguf_writer *w;
    char full[64];
    float values[64] = {0}, counts[8];
    for (uint64_t i = 0; i < f->length * f->groups; i++) values[i] = f->first + (float)i;
    for (uint64_t i = 0; i < 8; i++) counts[i] = f->count;
    assert_ok(kd_gguf_writer_create(&w, "imatrix"));
    kd_gguf_add_string(w, "general.type", f->type);
    snprintf(full, sizeof full, "%s.in_sum2", f->name);
    kd_gguf_add_tensor(w, full, KD_GGUF_TENSOR_F32, 2, (const uint64_t[]){f->length, f->groups},
                       values);
    snprintf(full, sizeof full, "%s.counts", f->name);
    if (f->counts > 0)
        kd_gguf_add_tensor(w, full, KD_GGUF_TENSOR_F32, 2, (const uint64_t[]){1, f->counts},
                           counts);
    assert_ok(kd_gguf_write(path, w));
    kd_gguf_writer_free(w);
}

static void files_of_others(void **state) {
    static const foreign files[] = {
        {"imatrix", "a.weight", LENGTH, 1, 1, 8, 4, NULL},
        {"imatrix", "a.weight", LENGTH, 3, 3, 8, 0, NULL},
        {"model", "a.weight", LENGTH, 1, 1, 8, 4, "general.type is not \"imatrix\""},
        {"imatrix", "z.weight", LENGTH, 1, 1, 8, 4, "has none of this model's matrices"},
        {"imatrix", "a.weight", LENGTH, 1, 0, 8, 4, "a.weight has no counts"},
        {"imatrix", "a.weight", LENGTH + 1, 1, 1, 8, 4, "another model's"},
        {"imatrix", "a.weight", LENGTH, 2, 2, 8, 4, "another model's"},
        {"imatrix", "a.weight", LENGTH, 3, 1, 8, 4, "another model's"},
        {"imatrix", "a.weight", LENGTH, 1, 1, -3, 4, "value 0 is -3: must be at least 0"},
        {"imatrix", "a.weight", LENGTH, 1, 1, NAN, 4, "in_sum2: value 0 is nan"},
        {"imatrix", "a.weight", LENGTH, 1, 1, 8, -1, "counts: value 0 is -1"},
    };
    kd_params *params = small_params();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        kd_input_squares *seen;
        int groups;
        const char *path = test_path(*state, "foreign.gguf");
        write_foreign(path, &files[i]);
        const int status = kd_imatrix_read(&seen, path, params, &OWN_NAMES, MODEL);
        if (files[i].complaint) {
            assert_refused(status, KD_EDATA, files[i].complaint);
            continue;
        }
        assert_ok(status);
        const float *mean = kd_input_squares_of(seen, 0, &groups);
        assert_int_equal(groups, files[i].groups);
        for (int j = 0; j < LENGTH; j++) /* what was never counted is all alike */
            assert_true(mean[j] == (files[i].count > 0 ? (float)(8 + j) / files[i].count : 1));
        kd_input_squares_free(seen);
    }
    kd_params_free(params);
}

/* distill imatrix, then convert --imatrix: other bytes than without, the same at any number of
 * threads; of another model it is refused, and leaves nothing behind. */
static void it_is_gathered_and_used(void **state) {
    test_folder *folder = *state;
    char model[KD_PATH_MAX], list[KD_PATH_MAX], matrix[KD_PATH_MAX], out[KD_PATH_MAX], *a, *b, *c;
    size_t length, again;
    test_copy(model, sizeof model, test_path(folder, "teacher.bin"));
    test_copy(list, sizeof list, test_path(folder, "held.tsv"));
    test_copy(matrix, sizeof matrix, test_path(folder, "m.gguf"));
    test_copy(out, sizeof out, test_path(folder, "out.gguf"));
    if (DISTILL("imatrix", model, list, matrix) != 0) fail_msg("%s", complained);
    assert_ok(kd_file_read(&a, &length, matrix, 1 << 24));
    omp_set_num_threads(omp_get_max_threads() > 1 ? 1 : 3);
    assert_int_equal(DISTILL("imatrix", model, list, matrix), 0);
    omp_set_num_threads(omp_get_num_procs());
    assert_ok(kd_file_read(&b, &again, matrix, 1 << 24));
    assert_int_equal(length, again);
    assert_memory_equal(a, b, length);
    free(b);
    assert_int_equal(DISTILL("convert", model, out, "--type", "q4_0"), 0);
    assert_ok(kd_file_read(&b, &again, out, 1 << 24));
    if (DISTILL("convert", model, out, "--type", "q4_0", "--imatrix", matrix) != 0)
        fail_msg("%s", complained);
    assert_ok(kd_file_read(&c, &length, out, 1 << 24));
    assert_int_equal(length, again);
    assert_memory_not_equal(b, c, length);
    assert_int_equal(DISTILL("verify", matrix), 0);
    assert_int_equal(DISTILL("inspect", matrix), 0);
    assert_says(printed, "imatrix.chunk_count");
    assert_int_equal(DISTILL("convert", model, out, "--type", "f16", "--imatrix", matrix), 64);
    write_teacher(folder, 1);
    assert_int_equal(unlink(out), 0);
    assert_int_equal(DISTILL("convert", model, out, "--type", "q4_0", "--imatrix", matrix), 65);
    assert_says(complained, "made from another model");
    assert_false(kd_file_exists(out));
    free(a);
    free(b);
    free(c);
}

static void lists_without_sound_are_refused(void **state) {
    test_folder *folder = *state;
    char model[KD_PATH_MAX], list[KD_PATH_MAX], matrix[KD_PATH_MAX];
    test_copy(model, sizeof model, test_path(folder, "teacher.bin"));
    test_copy(list, sizeof list, test_path(folder, "no.tsv"));
    test_copy(matrix, sizeof matrix, test_path(folder, "m.gguf"));
    assert_int_equal(DISTILL("imatrix", model, list, matrix), -KD_ENOINPUT);
    test_write(list, "none.wav\tone\n", 13);
    assert_int_equal(DISTILL("imatrix", model, list, matrix), 65);
    assert_says(complained, "names no recording that can be heard");
    assert_false(kd_file_exists(matrix));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_was_seen_comes_back), TEST(every_flipped_bit_is_noticed), TEST(files_of_others),
        TEST(it_is_gathered_and_used), TEST(lists_without_sound_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
