/* Hints between layers of a decoder and of its teacher. */
#include "language_folder.h"

#include <math.h>

#include "run_cli.h"
#include "tasks/language/hints.h"
#include "tasks/language/student.h"

enum { ROWS = 2 * TINY_CONTEXT };

/* A batch through a teacher and a student of its layers 0 and 2. */
typedef struct {
    kd_llama_file *teacher, *student;
    kd_loss_config loss;
    kd_language_model model;
    kd_language_hints hints;
    kd_tape *tape, *scratch;
    int32_t token[ROWS], first[ROWS];
    uint8_t valid[ROWS];
    kd_real taught[ROWS * TINY_WIDTH];
} batch;

static void open_batch(batch *b, test_folder *folder, const kd_layer_hint *hint, int count) {
    *b = (batch){.model = {.keep_count = 2, .keep = {0, 2}}};
    b->loss.layer_hint_count = count;
    memcpy(b->loss.layer_hint, hint, (size_t)count * sizeof *hint);
    assert_ok(kd_llama_file_open(&b->teacher, test_path(folder, "teacher"), KD_LLAMA_FROZEN));
    assert_ok(
        kd_language_student_create_hinted(&b->student, b->teacher, &b->model, &b->loss, NULL, 1));
    assert_ok(kd_tape_create(&b->tape, 0));
    assert_ok(kd_tape_create(&b->scratch, 0));
    assert_ok(kd_language_hints_init(&b->hints, &b->loss, &b->model, b->student->model,
                                     b->teacher->model, ROWS));
    for (int i = 0; i < ROWS; i++) {
        b->token[i] = (i * 37 + 5) % 256;
        b->first[i] = i % TINY_CONTEXT >= 6 ? 6 : 0; /* two documents a row */
        b->valid[i] = i % 5 != 0;
    }
}

static void close_batch(batch *b) {
    kd_language_hints_clear(&b->hints);
    kd_llama_file_free(b->student);
    kd_llama_file_free(b->teacher);
    kd_tape_free(b->tape);
    kd_tape_free(b->scratch);
}

/* The hints' loss of the batch, with gradients in the student's parameters. */
static double loss_of(batch *b, double *sum) {
    double unweighted = 0;
    assert_ok(kd_llama_run_states(b->teacher->model, b->scratch, b->taught, b->token, 2,
                                  TINY_CONTEXT, b->first, b->hints.taught));
    if (kd_tape_guard(b->tape)) fail_msg("%s", kd_error());
    kd_tape_reset(b->tape);
    kd_params_begin_step(b->student->model->params);
    b->tape->recording = b->tape->training = true;
    kd_llama_states(b->student->model, b->tape, b->token, 2, TINY_CONTEXT, b->first,
                    b->hints.state);
    kd_tensor *loss =
        kd_language_hints_loss(&b->hints, b->tape, b->scratch, b->first, b->valid, 20, &unweighted);
    const double value = (double)loss->value[0];
    kd_tape_backward(b->tape, loss);
    kd_params_finish_grads(b->student->model->params);
    if (sum) *sum = unweighted;
    return value;
}

/* Along random directions in all parameters, the gradient is the slope of the loss. */
static void test_gradients(void **state) {
    static const struct {
        const char *name;
        kd_layer_hint hint;
        bool recompute;
    } row[] = {
        {"mse of all layers", {.kind = KD_LAYERS_MSE, .weight = 0.7}, false},
        {"cosine", {.kind = KD_LAYERS_COSINE, .weight = 2}, false},
        {"attention", {.kind = KD_LAYERS_ATTENTION, .weight = 3}, false},
        {"attention, run again", {.kind = KD_LAYERS_ATTENTION, .weight = 3}, true},
        {"a stated pair",
         {.kind = KD_LAYERS_MSE, .weight = 1, .layer_count = 1, .layer = {1}, .teacher_count = 1},
         false},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        batch b;
        double sum;
        open_batch(&b, *state, &row[i].hint, 1);
        b.tape->recompute = row[i].recompute;
        kd_params *p = b.student->model->params;
        const int64_t n = p->trained_size;
        kd_real *start = malloc((size_t)n * sizeof *start), *way = malloc((size_t)n * sizeof *way);
        kd_rng rng = kd_rng_init(7, i);
        memcpy(start, p->value, (size_t)n * sizeof *start);
        const double value = loss_of(&b, &sum);
        assert_true(value > 0 && fabs(sum - value * 20 / row[i].hint.weight) < 1e-4 * sum);
        double slope = 0;
        for (int64_t k = 0; k < n; k++) {
            way[k] = (kd_real)(0.01 * kd_rng_normal(&rng));
            slope += (double)way[k] * (double)p->grad[k];
        }
        double end[2];
        const double step = sizeof(kd_real) == 8 ? 1e-4 : 3e-2;
        for (int side = 0; side < 2; side++) {
            for (int64_t k = 0; k < n; k++)
                p->value[k] = start[k] + (kd_real)((side ? step : -step) * (double)way[k]);
            kd_params_touch(p);
            end[side] = loss_of(&b, NULL);
        }
        const double found = (end[1] - end[0]) / (2 * step);
        const double tolerance = sizeof(kd_real) == 8 ? 1e-6 : 2e-2;
        if (!(fabs(found - slope) <= tolerance * (fabs(slope) + 1e-3)))
            fail_msg("%s: slope %g, by differences %g", row[i].name, slope, found);
        free(start);
        free(way);
        close_batch(&b);
    }
}

/* The layers that a student began as say what its teacher's say where nothing was left out in front
 * of them: nothing to learn there, and no gradient. */
static void test_same_layers(void **state) {
    static const kd_layer_hint hint[] = {
        {.kind = KD_LAYERS_MSE, .weight = 1, .layer_count = 1},
        {.kind = KD_LAYERS_COSINE, .weight = 1, .layer_count = 1},
        {.kind = KD_LAYERS_ATTENTION, .weight = 1, .layer_count = 1}};
    batch b;
    open_batch(&b, *state, hint, 3);
    assert_true(fabs(loss_of(&b, NULL)) < 1e-5);
    const kd_params *p = b.student->model->params;
    double most = 0;
    for (int64_t i = 0; i < p->trained_size; i++) most = fmax(most, fabs((double)p->grad[i]));
    assert_true(most < 1e-4);
    close_batch(&b);
}

static const char HINTS[] = "[{\"kind\": \"mse\", \"weight\": 0.1}, {\"kind\": \"attention\"}, "
                            "{\"kind\": \"cosine\", \"layers\": [1], \"teacher\": [1]}]";

/* Runs of hints alone, and beside KL, each with training in rounded numbers; wider and narrower
 * than the teacher, through a projection that is in no file. */
static void test_runs(void **state) {
    static const struct {
        const char *model, *hints, *loss;
        bool projected;
    } row[] = {
        {", \"layers\": 2", HINTS, "\"kl\": 0, \"hard\": 0", false},
        {", \"layers\": 2", HINTS, "\"kl\": 1", false},
        {", \"start\": \"random\", \"layers\": 2, \"width\": 8",
         "[{\"kind\": \"mse\"}, {\"kind\": \"attention\"}]", "\"kl\": 1", true},
    };
    test_folder *folder = *state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char set[512], runs[KD_PATH_MAX], name[16];
        kd_language_config *config;
        kd_language_run run;
        snprintf(set, sizeof set, "loss={%s, \"hints\": %s}", row[i].loss, row[i].hints);
        snprintf(name, sizeof name, "runs%zu", i);
        snprintf(runs, sizeof runs, "%s", test_path(folder, name));
        write_config(folder, row[i].model, "",
                     row[i].projected ? ""
                                      : ", \"quantize\": {\"format\": \"q8_0\", "
                                        "\"qat\": {\"epochs\": 1}}");
        assert_ok(kd_language_config_load(&config, test_path(folder, "tiny.json"), 1,
                                          (const char *const[]){set}));
        assert_ok(kd_language_run_open(&run, config, runs, false));
        assert_ok(kd_language_run_everything(&run));
        assert_false(kd_language_hints_learn(run.student->model));
        kd_language_run_close(&run);
        kd_llama_file *file;
        snprintf(set, sizeof set, "runs%zu/tiny/student.gguf", i);
        assert_ok(kd_llama_file_open(&file, test_path(folder, set), KD_LLAMA_FROZEN));
        assert_int_equal(file->model->spec.width, row[i].projected ? 8 : TINY_WIDTH);
        kd_llama_file_free(file);
        /* once more: it is there */
        assert_ok(kd_language_run_open(&run, config, runs, false));
        assert_ok(kd_language_run_export(&run));
        kd_language_run_close(&run);
        kd_language_config_free(config);
    }
}

/* What is refused, before anything changes. */
static void test_refused(void **state) {
    static const struct {
        const char *model, *targets, *hint, *message;
    } row[] = {
        {", \"layers\": 2", "", "{\"kind\": \"mse\", \"layers\": [2]}",
         "loss.hints[0].layers: layer 2, but the student has 0 to 1"},
        {", \"layers\": 2", "", "{\"kind\": \"mse\", \"layers\": [1], \"teacher\": [3]}",
         "loss.hints[0].teacher: layer 3, but the teacher has 0 to 2"},
        {", \"layers\": 2", "", "{\"kind\": \"mse\", \"layers\": [0, 1], \"teacher\": [0]}",
         "1 layers beside 2"},
        {", \"layers\": 2", "\"kind\": \"hidden\"", "{\"kind\": \"mse\"}", "layers are not stored"},
        {", \"start\": \"random\", \"layers\": 4", "", "{\"kind\": \"mse\"}",
         "more layers than its teacher"},
        {", \"start\": \"random\", \"heads\": 3, \"key_heads\": 3", "", "{\"kind\": \"attention\"}",
         "head by head"},
    };
    test_folder *folder = *state;
    char config[KD_PATH_MAX], runs[KD_PATH_MAX], set[256];
    snprintf(config, sizeof config, "%s", test_path(folder, "tiny.json"));
    snprintf(runs, sizeof runs, "%s", test_path(folder, "runs"));
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        write_config(folder, row[i].model, row[i].targets, "");
        snprintf(set, sizeof set, "loss.hints=%s", row[i].hint);
        assert_int_equal(DISTILL("train", config, "--runs", runs, "--set", set), -KD_ECONFIG);
        assert_says(complained, row[i].message);
        assert_false(kd_file_exists(runs));
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)
    const struct CMUnitTest tests[] = {TEST(test_gradients), TEST(test_same_layers),
                                       TEST(test_runs), TEST(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
