/* Narrower students: of all that is kept nothing changes, of what adds nothing neither, and what
 * adds most stays. */
#include "language_folder.h"

#include <math.h>

#include "tasks/language/narrow.h"
#include "tasks/language/student.h"

enum { T = 12, HEADS = 4, KEYS = 2, HIDDEN = 24, DEAD = 9 };

typedef struct {
    kd_llama_file *tiny; /* whose tokenizer the others borrow */
    kd_llama_file teacher;
    kd_contexts *contexts;
} scene;

static void make_scene(scene *s, test_folder *folder) {
    kd_llama_spec spec = tiny_spec();
    kd_text_paths paths = {.count = 1};
    spec.heads = HEADS;
    spec.key_heads = KEYS;
    spec.hidden = HIDDEN;
    spec.attention_bias = true;
    assert_ok(kd_llama_file_open(&s->tiny, test_path(folder, "teacher"), KD_LLAMA_FROZEN));
    test_copy(paths.path[0], sizeof paths.path[0], test_path(folder, "a.txt"));
    assert_ok(kd_contexts_open(&s->contexts, &paths, "train", s->tiny->tokenizer, T, NULL));
    s->teacher = (kd_llama_file){.tokenizer = s->tiny->tokenizer, .ends = s->tiny->ends};
    assert_ok(kd_llama_create(&s->teacher.model, &spec, KD_LLAMA_FROZEN));
    assert_ok(kd_llama_layout(s->teacher.model, 3));
    for (int i = 0; i < s->teacher.model->params->count; i++) {
        kd_tensor *t = &s->teacher.model->params->list[i]->tensor;
        kd_rng rng = kd_rng_init(4, (uint64_t)i);
        for (int64_t k = 0; k < t->size; k++) t->value[k] += (kd_real)(0.3 * kd_rng_normal(&rng));
    }
}

static void free_scene(scene *s) {
    kd_llama_free(s->teacher.model);
    kd_contexts_close(s->contexts);
    kd_llama_file_free(s->tiny);
}

/* Largest difference of the hidden states of a text. */
static double difference(const kd_llama *a, const kd_llama *b) {
    static const int32_t id[T] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8};
    kd_real out[2][T * TINY_WIDTH];
    kd_tape *tape;
    double most = 0;
    assert_ok(kd_tape_create(&tape, 0));
    assert_ok(kd_llama_run(a, tape, out[0], id, 1, T, NULL));
    assert_ok(kd_llama_run(b, tape, out[1], id, 1, T, NULL));
    kd_tape_free(tape);
    for (int i = 0; i < T * TINY_WIDTH; i++)
        most = fmax(most, fabs((double)out[0][i] - (double)out[1][i]));
    return most;
}

static kd_llama_file *narrowed(const scene *s, int key_heads, int hidden) {
    const kd_language_model model = {
        .key_heads = key_heads, .hidden = hidden, .calibration_samples = 3};
    kd_llama_file *student;
    assert_ok(
        kd_language_student_create(&student, &s->teacher, &model, s->contexts, 1, KD_LLAMA_TRAIN));
    assert_int_equal(student->model->spec.heads, key_heads * HEADS / KEYS);
    assert_int_equal(student->model->spec.hidden, hidden);
    return student;
}

static void test_all_kept(void **state) {
    scene s;
    make_scene(&s, *state);
    kd_llama_file *student = narrowed(&s, KEYS, HIDDEN);
    assert_true(difference(student->model, s.teacher.model) == 0);
    kd_llama_file_free(student);
    free_scene(&s);
}

/* Units whose columns are 0, or that never say anything, and a key whose heads are not heard. */
static void test_what_adds_nothing_goes_first(void **state) {
    const double tolerance = sizeof(kd_real) == 4 ? 1e-4 : 1e-12;
    scene s;
    make_scene(&s, *state);
    const int64_t D = s.teacher.model->spec.head_width, group = HEADS / KEYS * D;
    for (int i = 0; i < TINY_LAYERS; i++) {
        const kd_llama_block *b = &s.teacher.model->block[i];
        for (int k = 0; k < DEAD; k++) {
            const int unit = (5 * k + i) % HIDDEN;
            for (int64_t c = 0; c < TINY_WIDTH; c++)
                if (k % 2)
                    b->down.weight->tensor.value[c * HIDDEN + unit] = 0;
                else
                    b->up.weight->tensor.value[unit * TINY_WIDTH + c] = 0;
        }
        for (int64_t c = 0; c < TINY_WIDTH; c++)
            for (int64_t j = 0; j < group; j++)
                b->out.weight->tensor.value[c * HEADS * D + i % KEYS * group + j] = 0;
    }
    kd_llama_file *student = narrowed(&s, 1, HIDDEN - DEAD);
    assert_true(difference(student->model, s.teacher.model) < tolerance);
    kd_llama_file_free(student);
    student = narrowed(&s, 1, HIDDEN - DEAD - 1);
    assert_true(difference(student->model, s.teacher.model) > 10 * tolerance);
    kd_llama_file_free(student);
    free_scene(&s);
}

/* As much as it adds: what it says times its column. */
static void test_what_adds_most_stays(void **state) {
    scene s;
    kd_language_kept kept;
    make_scene(&s, *state);
    kd_llama_spec spec = s.teacher.model->spec;
    for (int i = 0; i < TINY_LAYERS; i++)
        for (int64_t c = 0; c < TINY_WIDTH; c++) {
            const kd_llama_block *b = &s.teacher.model->block[i];
            b->up.weight->tensor.value[(3 + i) * TINY_WIDTH + c] *= 50;
            b->down.weight->tensor.value[c * HIDDEN + 11] *= 50;
            b->up.weight->tensor.value[20 * TINY_WIDTH + c] *= 100; /* to no avail */
            b->down.weight->tensor.value[c * HIDDEN + 20] /= 100000;
        }
    spec.hidden = 2;
    assert_ok(kd_language_keep(&kept, s.teacher.model, &spec, s.contexts, 3));
    for (int i = 0; i < TINY_LAYERS; i++) {
        assert_int_equal(kept.unit[2 * i], 3 + i);
        assert_int_equal(kept.unit[2 * i + 1], 11);
        for (int64_t j = 0; j < kept.queries; j++)
            assert_int_equal(kept.query[i * kept.queries + j], j);
    }
    kd_language_kept_clear(&kept);
    free_scene(&s);
}

static void test_refused(void **state) {
    static const struct {
        kd_language_model model;
        const char *message;
    } bad[] = {
        {{.heads = 3}, "model.heads, model.key_heads: 3 and 1; of the teacher's 4 and 2"},
        {{.heads = 2, .key_heads = 2}, "keeps whole groups of 2 with a key"},
        {{.key_heads = 3}, "model.heads, model.key_heads: 6 and 3"},
        {{.hidden = HIDDEN + 1}, "model.hidden: 25, but the teacher has only 24"},
    };
    scene s;
    make_scene(&s, *state);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kd_llama_spec spec;
        assert_refused(kd_language_student_spec(&spec, &bad[i].model, &s.teacher.model->spec),
                       KD_ECONFIG, bad[i].message);
    }
    free_scene(&s);
}

/* A run of one: it learns, and its files are as narrow. */
static void test_run(void **state) {
    test_folder *folder = *state;
    kd_language_config *config;
    kd_language_run run;
    char runs[KD_PATH_MAX], path[KD_PATH_MAX];
    kd_llama_file *file;
    test_copy(runs, sizeof runs, test_path(folder, "runs"));
    write_config(folder, ", \"layers\": 2, \"hidden\": 20, \"calibration_samples\": 4", "", "");
    assert_ok(kd_language_config_load(&config, test_path(folder, "tiny.json"), 0, NULL));
    assert_ok(kd_language_run_open(&run, config, runs, false));
    assert_ok(kd_language_run_everything(&run));
    assert_ok(kd_path_join(path, run.folder, "student.gguf"));
    assert_ok(kd_llama_file_open(&file, path, KD_LLAMA_FROZEN));
    assert_int_equal(file->model->spec.hidden, 20);
    assert_int_equal(file->model->spec.layers, 2);
    kd_llama_file_free(file);
    kd_language_run_close(&run);
    kd_language_config_free(config);
}

int main(void) {
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, test_teardown)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_all_kept),
        WITH_FOLDER(test_what_adds_nothing_goes_first),
        WITH_FOLDER(test_what_adds_most_stays),
        WITH_FOLDER(test_refused),
        WITH_FOLDER(test_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
