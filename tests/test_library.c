/* The library of include/distill.h: the same numbers as the program's own functions, and a refusal
 * for every argument that cannot be. */
#include <math.h>

#include "store_answers.h"
#include "test_data.h"

#include "quant_nets.h"
#include "speech_tiny.h"

#include "data/store.h"
#include "data/whisper_mel.h"
#include "distill.h"

/* --- losses ----------------------------------------------------------------------------------- */

enum { ROWS = 3, CLASSES = 4 };

static const float STUDENT[ROWS * CLASSES] = {1, -2, 0.5F, 3, 0, 0, 2, -1, 1, 1, -1, 4};
static const float TEACHER[ROWS * CLASSES] = {2, -1, 0, 1, 1, 0, 3, -2, 0, 2, -2, 5};
static const int32_t LABEL[ROWS] = {3, 2, 1};
static const distill_loss_spec SPEC = {
    .hard_weight = 0.3, .kl_weight = 0.7, .temperature = 2, .label_smoothing = 0.1};

static double log_sum(const double *z, double temperature) {
    double sum = 0;
    for (int c = 0; c < CLASSES; c++) sum += exp(z[c] / temperature);
    return log(sum);
}

/* One row by the formula of the header. */
static double row_by_formula(const double *z, const float *v, int label) {
    double teacher[CLASSES], loss = 0;
    for (int c = 0; c < CLASSES; c++) teacher[c] = (double)v[c];
    const double tau = SPEC.temperature, eps = SPEC.label_smoothing;
    for (int c = 0; c < CLASSES; c++) {
        const double log_p = teacher[c] / tau - log_sum(teacher, tau);
        const double log_q = z[c] / tau - log_sum(z, tau);
        const double target = eps / CLASSES + (c == label ? 1 - eps : 0);
        loss += SPEC.kl_weight * tau * tau * exp(log_p) * (log_p - log_q);
        loss -= SPEC.hard_weight * target * (z[c] - log_sum(z, 1));
    }
    return loss;
}

/* The first and the last row; the one between is masked. */
static double loss_by_formula(const double *z) {
    return (row_by_formula(z, TEACHER, LABEL[0]) +
            row_by_formula(z + 2 * CLASSES, TEACHER + 2 * CLASSES, LABEL[2])) /
           2;
}

static void test_loss(void **state) {
    (void)state;
    const uint8_t valid[ROWS] = {1, 0, 1};
    double loss, z[ROWS * CLASSES];
    float gradient[ROWS * CLASSES], student[ROWS * CLASSES];
    memcpy(student, STUDENT, sizeof student);
    student[CLASSES] = NAN; /* a masked row is not read */
    for (int i = 0; i < ROWS * CLASSES; i++) z[i] = (double)STUDENT[i];
    assert_ok(distill_loss(&SPEC, ROWS, CLASSES, student, TEACHER, LABEL, valid, &loss, gradient));
    assert_true(fabs(loss - loss_by_formula(z)) < 1e-6);
    for (int i = 0; i < ROWS * CLASSES; i++) {
        const double kept = z[i], step = 1e-5;
        z[i] = kept + step;
        double slope = loss_by_formula(z);
        z[i] = kept - step;
        slope = (slope - loss_by_formula(z)) / (2 * step);
        z[i] = kept;
        assert_true(fabs(slope - (double)gradient[i]) < 1e-6);
        if (i / CLASSES == 1) assert_true(gradient[i] == 0);
    }
    double again;
    assert_ok(distill_loss(&SPEC, ROWS, CLASSES, student, TEACHER, LABEL, valid, &again, NULL));
    assert_true(again == loss);
    /* the KL of a student that is its teacher */
    const distill_loss_spec soft = {.kl_weight = 1, .temperature = 3};
    assert_ok(distill_loss(&soft, ROWS, CLASSES, TEACHER, TEACHER, NULL, NULL, &loss, NULL));
    assert_true(loss == 0);
}

/* When one class is left out, its bucket holds all there is to know. */
static void test_loss_of_all_but_one(void **state) {
    (void)state;
    int32_t index[ROWS * 3];
    float kept[ROWS * 3], tail[ROWS], dense[ROWS * CLASSES], topk[ROWS * CLASSES];
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < 3; c++) {
            index[3 * r + c] = c + 1;
            kept[3 * r + c] = TEACHER[CLASSES * r + c + 1];
        }
        tail[r] = TEACHER[CLASSES * r] / (float)SPEC.temperature;
    }
    double a, b;
    assert_ok(distill_loss(&SPEC, ROWS, CLASSES, STUDENT, TEACHER, LABEL, NULL, &a, dense));
    assert_ok(distill_loss_topk(&SPEC, ROWS, CLASSES, STUDENT, 3, index, kept, tail, LABEL, NULL,
                                &b, topk));
    assert_true(fabs(a - b) < 1e-6);
    for (int i = 0; i < ROWS * CLASSES; i++) assert_true(fabsf(dense[i] - topk[i]) < 1e-6F);
    index[1] = index[0];
    assert_refused(distill_loss_topk(&SPEC, ROWS, CLASSES, STUDENT, 3, index, kept, tail, LABEL,
                                     NULL, &b, NULL),
                   DISTILL_EUSAGE, "class 1 is kept twice");
    assert_refused(distill_loss_topk(&SPEC, ROWS, CLASSES, STUDENT, 4, index, kept, tail, LABEL,
                                     NULL, &b, NULL),
                   DISTILL_EUSAGE, "4 kept logits of 4 classes");
}

static void test_loss_refusals(void **state) {
    (void)state;
    const uint8_t none[ROWS] = {0};
    const int32_t beyond[ROWS] = {0, 4, 0};
    float broken[ROWS * CLASSES];
    double loss = 7;
    memcpy(broken, STUDENT, sizeof broken);
    broken[6] = INFINITY;
    const struct {
        distill_loss_spec spec;
        int64_t rows, classes;
        const float *student, *teacher;
        const int32_t *label;
        const uint8_t *valid;
        int status;
        const char *says;
    } cases[] = {
        {SPEC, 0, CLASSES, STUDENT, TEACHER, LABEL, NULL, DISTILL_EUSAGE, "0 rows"},
        {SPEC, ROWS, -1, STUDENT, TEACHER, LABEL, NULL, DISTILL_EUSAGE, "-1 classes"},
        {SPEC, ROWS, CLASSES, STUDENT, TEACHER, LABEL, none, DISTILL_EUSAGE, "is valid"},
        {SPEC, ROWS, CLASSES, STUDENT, TEACHER, beyond, NULL, DISTILL_EUSAGE, "label 4"},
        {SPEC, ROWS, CLASSES, STUDENT, NULL, LABEL, NULL, DISTILL_EUSAGE, "no teacher"},
        {SPEC, ROWS, CLASSES, STUDENT, TEACHER, NULL, NULL, DISTILL_EUSAGE, "no labels"},
        {SPEC, ROWS, CLASSES, broken, TEACHER, LABEL, NULL, DISTILL_EDATA, "row 1: the student's"},
        {SPEC, ROWS, CLASSES, STUDENT, broken, LABEL, NULL, DISTILL_EDATA, "row 1: the teacher's"},
        {{1, 1, 0, 0}, ROWS, CLASSES, STUDENT, TEACHER, LABEL, NULL, DISTILL_EUSAGE, "temperature"},
        {{-1, 1, 1, 0},
         ROWS,
         CLASSES,
         STUDENT,
         TEACHER,
         LABEL,
         NULL,
         DISTILL_EUSAGE,
         "weights are"},
        {{1, 1, 1, 2}, ROWS, CLASSES, STUDENT, TEACHER, LABEL, NULL, DISTILL_EUSAGE, "smoothing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(distill_loss(&cases[i].spec, cases[i].rows, cases[i].classes,
                                    cases[i].student, cases[i].teacher, cases[i].label,
                                    cases[i].valid, &loss, NULL),
                       cases[i].status, cases[i].says);
    assert_true(loss == 7);
}

/* --- models ----------------------------------------------------------------------------------- */

static const kd_quant_spec INT8 = {
    .weight_bits = 8, .activation_bits = 8, .observer = KD_OBSERVER_MINMAX, .ema = 0.9};

enum { PICTURES = 300, HEIGHT = 12, WIDTH = 10, SAMPLE = HEIGHT * WIDTH * 3 };

static void write_model(const char *path) {
    quant_case c = case_create(build_cnn, (kd_extent){HEIGHT, WIDTH, 3}, &INT8);
    case_calibrate(&c);
    case_write(&c, path);
    case_free(&c);
}

static void test_model(void **state) {
    test_folder *folder = *state;
    char path[KD_PATH_MAX], picture[KD_PATH_MAX];
    test_copy(path, sizeof path, test_path(folder, "student.gguf"));
    test_copy(picture, sizeof picture, test_path(folder, "picture.ppm"));
    write_model(path);
    distill_model *model;
    kd_blob *blob;
    assert_ok(distill_model_open(&model, path));
    assert_ok(kd_blob_open(&blob, path));
    const distill_model_info info = distill_model_describe(model);
    assert_true(info.height == HEIGHT && info.width == WIDTH && info.channels == 3);
    assert_true(info.classes == 10 && info.is_sound == 0);
    assert_true(info.parameters == kd_blob_parameters(blob));
    assert_string_equal(distill_model_class(model, 9), "class 9");
    assert_null(distill_model_class(model, 10));
    assert_null(distill_model_class(model, -1));

    static uint8_t bytes[PICTURES * SAMPLE];
    static float x[PICTURES * SAMPLE], expected[PICTURES * 10], logits[PICTURES * 10];
    for (int i = 0; i < PICTURES * SAMPLE; i++) bytes[i] = (uint8_t)(i * 7 + i / 11);
    kd_normalise_bytes(x, bytes, PICTURES * HEIGHT * WIDTH, 3, kd_blob_normaliser(blob));
    assert_ok(kd_blob_run(blob, PICTURES, x, expected));
    assert_ok(distill_model_run(model, PICTURES, bytes, logits));
    assert_memory_equal(logits, expected, sizeof logits);

    char file[32 + SAMPLE];
    const int head = sprintf(file, "P6 %d %d 255\n", WIDTH, HEIGHT);
    memcpy(file + head, bytes + SAMPLE, SAMPLE);
    test_write(picture, file, (size_t)head + SAMPLE);
    assert_ok(distill_model_run_file(model, picture, logits));
    assert_memory_equal(logits, expected + 10, 10 * sizeof *logits);

    assert_refused(distill_model_run_file(model, path, logits), DISTILL_EDATA, "student.gguf");
    assert_refused(distill_model_run(model, -1, bytes, logits), DISTILL_EUSAGE, "-1 pictures");
    kd_blob_free(blob);
    distill_model_close(model);
    distill_model_close(NULL);
    assert_refused(distill_model_open(&model, picture), DISTILL_EDATA, "picture.ppm");
    assert_refused(distill_model_open(&model, "/nowhere/x.gguf"), DISTILL_ENOINPUT, "/nowhere");
}

/* --- stores ----------------------------------------------------------------------------------- */

static void write_store(const char *path, const kd_store_header *header, const float *values) {
    kd_store_writer *writer;
    int64_t done;
    const uint64_t id[ROWS] = {5, 6, 9};
    assert_ok(kd_store_writer_open(&writer, path, header, ROWS, &done));
    assert_ok(append_answers(writer, header, ROWS, 0, id, LABEL, values));
    assert_ok(kd_store_writer_close(writer));
}

static kd_store_header store_header(kd_store_kind kind) {
    return (kd_store_header){.kind = kind,
                             .dtype = KD_STORE_F32,
                             .classes = CLASSES,
                             .views = 1,
                             .description = "made here"};
}

static void test_stores(void **state) {
    test_folder *folder = *state;
    char path[KD_PATH_MAX];
    float row[CLASSES], tail;
    int32_t index[2];
    distill_store *store;
    kd_store_header header = store_header(KD_STORE_DENSE);
    test_copy(path, sizeof path, test_path(folder, "dense"));
    write_store(path, &header, TEACHER);
    assert_ok(distill_store_open(&store, path));
    const distill_store_info info = distill_store_describe(store);
    assert_true(info.kind == DISTILL_STORE_DENSE && info.rows == ROWS && info.classes == CLASSES);
    assert_true(info.positions == ROWS && info.views == 1 && info.k == 0);
    assert_string_equal(info.description, "made here");
    assert_string_equal(info.teacher, "");
    assert_int_equal(distill_store_length(store, 0, 9), 1);
    assert_ok(distill_store_logits(store, 0, 9, 1, row));
    assert_memory_equal(row, TEACHER + 2 * CLASSES, sizeof row);
    assert_int_equal(distill_store_length(store, 0, 7), DISTILL_EDATA);
    assert_refused(distill_store_logits(store, 1, 9, 1, row), DISTILL_EUSAGE, "view 1");
    assert_refused(distill_store_logits(store, 0, 9, 2, row), DISTILL_EUSAGE, "1 positions, not 2");
    assert_refused(distill_store_topk(store, 0, 9, 1, 2, index, row, &tail), DISTILL_EUSAGE,
                   "distill_store_logits");
    distill_store_close(store);

    header = store_header(KD_STORE_TOPK);
    header.k = 2;
    header.temperature_count = 1;
    header.temperature[0] = 2;
    test_copy(path, sizeof path, test_path(folder, "topk"));
    write_store(path, &header, TEACHER);
    assert_ok(distill_store_open(&store, path));
    assert_ok(distill_store_topk(store, 0, 6, 1, 2, index, row, &tail));
    assert_true(index[0] == 2 && index[1] == 0 && row[0] == 3 && row[1] == 1);
    assert_true(fabs((double)tail - log(exp(0) + exp(-1))) < 1e-6);
    assert_refused(distill_store_topk(store, 0, 6, 1, 3, index, row, &tail), DISTILL_EUSAGE,
                   "temperature 3");
    assert_refused(distill_store_logits(store, 0, 6, 1, row), DISTILL_EUSAGE, "distill_store_topk");
    distill_store_close(store);

    const float output[CLASSES * 2] = {1, 0, 0, 1, 1, 1, -1, 2};
    const float hidden[ROWS * 2] = {1, 2, 3, 4, 5, 6};
    header = store_header(KD_STORE_HIDDEN);
    header.width = 2;
    header.output = output;
    test_copy(path, sizeof path, test_path(folder, "hidden"));
    write_store(path, &header, hidden);
    assert_ok(distill_store_open(&store, path));
    assert_ok(distill_store_logits(store, 0, 6, 1, row));
    assert_true(row[0] == 3 && row[1] == 4 && row[2] == 7 && row[3] == 5);
    distill_store_close(store);
    assert_refused(distill_store_open(&store, "/nowhere/store"), DISTILL_ENOINPUT, "/nowhere");
}

/* --- speech ----------------------------------------------------------------------------------- */

static void test_speech(void **state) {
    test_folder *folder = *state;
    char path[KD_PATH_MAX], sound[KD_PATH_MAX];
    kd_whisper_spec spec = TINY_SPEC;
    spec.audio_context = KD_WHISPER_FRAMES / 2;
    spec.text_context = 16;
    kd_whisper_file *file = tiny_whisper_file_of(&spec);
    test_copy(path, sizeof path, test_path(folder, "tiny.bin"));
    test_copy(sound, sizeof sound, test_path(folder, "sound.wav"));
    assert_ok(kd_whisper_bin_write(path, file, &kd_format_f32));
    kd_whisper_file_free(file);
    tiny_sound(sound, 40000, 1);
    distill_speech *speech;
    const distill_segment *segment;
    int64_t count = -1;
    assert_ok(distill_speech_open(&speech, path));
    assert_ok(distill_speech_transcribe(speech, sound, NULL, &segment, &count));
    assert_true(count >= 0);
    for (int64_t i = 0; i < count; i++) {
        assert_non_null(segment[i].text);
        assert_true(segment[i].start >= 0 && segment[i].end <= 30);
    }
    assert_refused(distill_speech_transcribe(speech, "/nowhere/x.wav", NULL, &segment, &count),
                   DISTILL_ENOINPUT, "/nowhere");
    assert_refused(distill_speech_transcribe(speech, sound, "klingon", &segment, &count),
                   DISTILL_EUSAGE, "klingon");
    distill_speech_close(speech);
    assert_refused(distill_speech_open(&speech, sound), DISTILL_EDATA, "sound.wav");
}

/* --- the page of the header ------------------------------------------------------------------- */

static void test_version(void **state) {
    (void)state;
    assert_string_equal(distill_version(), DISTILL_VERSION);
    assert_non_null(distill_error());
    assert_int_equal(DISTILL_EDATA, KD_EDATA);
    assert_int_equal(DISTILL_EUSAGE, KD_EUSAGE);
    assert_int_equal(DISTILL_ENOINPUT, KD_ENOINPUT);
    assert_int_equal(DISTILL_EINTERNAL, KD_EINTERNAL);
    assert_int_equal(DISTILL_EIO, KD_EIO);
}

/* The example of docs/example, built against what `make install` installs, and run. */
static void test_example(void **state) {
    test_folder *folder = *state;
    char model[KD_PATH_MAX], picture[KD_PATH_MAX], command[3 * KD_PATH_MAX];
    if (!kd_file_exists("build/lib/libdistill.so")) {
        printf("SKIP build/lib/libdistill.so is not there: make library\n");
        skip();
    }
    test_copy(model, sizeof model, test_path(folder, "student.gguf"));
    test_copy(picture, sizeof picture, test_path(folder, "picture.ppm"));
    write_model(model);
    char file[32 + SAMPLE] = {0};
    const int head = sprintf(file, "P6 %d %d 255\n", WIDTH, HEIGHT);
    test_write(picture, file, (size_t)head + SAMPLE);
    snprintf(command, sizeof command, "sh tests/library_example.sh %s %s %s", folder->path, model,
             picture);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_loss_of_all_but_one),
        cmocka_unit_test(test_loss_refusals),
        cmocka_unit_test_setup_teardown(test_model, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_stores, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_speech, test_setup, test_teardown),
        cmocka_unit_test(test_version),
        cmocka_unit_test_setup_teardown(test_example, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
