/* "baseline": the same training without the teacher, and with all that is not the teacher's. */
#include "tiny_run.h"

#include "data/h5.h"

#define REST(loss)                                                                                 \
    " \"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 4, \"stride\": 2}, {\"dropout\": "    \
    "0.2}, {\"linear\": 6}]},\n"                                                                   \
    " \"loss\": {" loss "\"label_smoothing\": 0.2},\n"                                             \
    " \"train\": {\"epochs\": 2, \"batch\": 32, \"optimizer\": \"adamw\", \"clip\": 1, "           \
    "\"warmup_epochs\": 0.5}"

/* The weights of a finished training; n of them. The caller frees. */
static float *weights(const char *path, int64_t *n) {
    hid_t file;
    int rank;
    int64_t shape[KD_H5_RANK_MAX];
    *n = 1;
    if (kd_h5_open(&file, path) < 0) fail_msg("%s", kd_error());
    assert_int_equal(kd_h5_shape(file, "params/classifier.weight", &rank, shape), KD_OK);
    for (int i = 0; i < rank; i++) *n *= shape[i];
    float *values = malloc((size_t)*n * sizeof *values);
    assert_non_null(values);
    const hid_t type = sizeof(kd_real) == 8 ? H5T_NATIVE_DOUBLE : H5T_NATIVE_FLOAT;
    double *wide = malloc((size_t)*n * sizeof *wide);
    assert_int_equal(kd_h5_read(file, "params/classifier.weight", rank, shape, type,
                                sizeof(kd_real) == 8 ? (void *)wide : values),
                     KD_OK);
    for (int64_t i = 0; i < *n && sizeof(kd_real) == 8; i++) values[i] = (float)wide[i];
    free(wide);
    kd_h5_close(file);
    return values;
}

/* Temperature, weights and hints are how a teacher is followed; smoothing, augmentation, optimizer
 * and seed are not. */
static void the_baseline_is_the_same_training_without_the_teacher(void **state) {
    (void)state;
    write_config("teacher", " \"model\": {\"type\": \"mlp\", \"hidden\": [8]},\n"
                            " \"train\": {\"epochs\": 1}");
    write_config(
        "taught",
        REST("\"temperature\": 2, \"kl\": 0.8, \"hard\": 0.2, \"hints\": [{\"kind\": "
             "\"mse\", \"student\": \"linear2\", \"teacher\": \"hidden0\"}], ") ", \"teacher\": "
                                                                                "{\"config\": "
                                                                                "\"teacher.json\"},"
                                                                                " \"baseline\": true");
    write_config("untaught", REST(""));
    assert_int_equal(DISTILL("train", "taught.json"), 0);
    assert_int_equal(DISTILL("train", "untaught.json"), 0);
    int64_t n, m;
    float *baseline = weights("runs/taught/baseline.last.h5", &n);
    float *untaught = weights("runs/untaught/train.last.h5", &m);
    assert_int_equal(n, m);
    assert_memory_equal(baseline, untaught, (size_t)n * sizeof *baseline);
    free(baseline);
    free(untaught);
}

static int setup(void **state) {
    (void)state;
    return enter_folder();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_baseline_is_the_same_training_without_the_teacher)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
