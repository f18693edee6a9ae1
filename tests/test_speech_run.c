/* The whole way of a speech recogniser on a tiny random teacher: labels, windows, store, training,
 * files. It learns; it may be interrupted anywhere; what does not belong together is refused. */
#include <omp.h>

#include "speech_tiny.h"

#include "distill/checkpoint.h"
#include "distill/runlog.h"
#include "distill/trainer.h"
#include "run_cli.h"
#include "speech/speech_config.h"
#include "speech/speech_task.h"

enum { TRAINING = 18, HELD_OUT = 6, RECORDINGS = 5 };
static const kd_real END_LIKED = 25;

/* Every test has a folder of its own with a teacher, sounds, two lists and a config. */
static void write_list(test_folder *folder, const char *name, int first, int count) {
    char text[4096] = "audio\ttext\tspeaker\n", *at = text + strlen(text);
    for (int i = first; i < first + count; i++)
        at += sprintf(at, "k%d.wav\tnumber %d\t%s\n", i % RECORDINGS, i, i / 6 % 2 ? "bob" : "ann");
    test_write(test_path(folder, name), text, strlen(text));
}

static void write_config(test_folder *folder, const char *more) {
    char text[2048];
    int n = snprintf(
        text, sizeof text,
        "{\"data\": {\"kind\": \"speech\", \"train\": [\"train.tsv\"],"
        " \"validation\": [\"held.tsv\"], \"source\": \"the cupboard\"},\n"
        " \"model\": {\"type\": \"whisper\", \"decoder_layers\": 2},\n"
        " \"teacher\": {\"weights\": \"teacher.bin\", \"source\": \"the attic\", \"wer\": 1e6},\n"
        " \"train\": {\"epochs\": 4, \"batch\": 2, \"accumulate\": 2, \"learning_rate\": 0.01}%s}",
        more);
    assert_true(n > 0 && n < (int)sizeof text);
    test_write(test_path(folder, "tiny.json"), text, (size_t)n);
}

/* A teacher that likes to end, so that its texts are short and of different lengths. */
static void write_teacher(test_folder *folder, kd_real change) {
    kd_whisper_file *teacher = tiny_whisper_file();
    const kd_real *end = teacher->model->tokens.table->tensor.value +
                         (int64_t)kd_tokenizer_ids(teacher->tokenizer)->end * TINY_WIDTH;
    for (int i = 0; i < TINY_WIDTH; i++)
        teacher->model->text_norm.beta->tensor.value[i] += END_LIKED * end[i];
    teacher->model->text_norm.gamma->tensor.value[0] += change;
    assert_ok(kd_whisper_bin_write(test_path(folder, "teacher.bin"), teacher, &kd_format_f32));
    kd_whisper_file_free(teacher);
}

static int setup(void **state) {
    if (test_setup(state) != 0) return -1;
    test_folder *folder = *state;
    for (int k = 0; k < RECORDINGS; k++) {
        char name[32];
        snprintf(name, sizeof name, "k%d.wav", k);
        tiny_sound(test_path(folder, name), 2000 + 1300 * k, k);
    }
    write_list(folder, "train.tsv", 0, TRAINING);
    write_list(folder, "held.tsv", TRAINING, HELD_OUT);
    write_teacher(folder, 0);
    write_config(folder, "");
    return 0;
}

/* distill COMMAND tiny.json --runs RUNS [--set SET]; the exit code. */
static int carry_out(test_folder *folder, const char *command, const char *runs, const char *set) {
    char config[KD_PATH_MAX], where[KD_PATH_MAX];
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    test_copy(where, sizeof where, test_path(folder, runs));
    return DISTILL(command, config, "--runs", where, set ? "--set" : NULL, set);
}

#define assert_carried_out(folder, command, runs, set)                                             \
    do {                                                                                           \
        if (carry_out(folder, command, runs, set) != 0) fail_msg("%s", complained);                \
    } while (0)

static void assert_same_file(test_folder *folder, const char *a, const char *b) {
    char *x, *y;
    size_t n, m;
    assert_ok(kd_file_read(&x, &n, test_path(folder, a), 1 << 28));
    assert_ok(kd_file_read(&y, &m, test_path(folder, b), 1 << 28));
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static void the_student_learns(void **state) {
    test_folder *folder = *state;
    assert_carried_out(folder, "train", "runs", NULL);
    kd_runlog_curves curves;
    assert_ok(kd_runlog_read(&curves, test_path(folder, "runs/tiny/log.jsonl")));
    const int64_t last = curves.step_count - 1;
    assert_true(last > 4);
    assert_true(curves.step[last].loss < 0.7 * curves.step[0].loss);
    assert_int_equal(curves.eval_count, 4);
    assert_true(curves.eval[3].loss < curves.eval[0].loss);
    kd_runlog_free(&curves);
    kd_whisper_file *student;
    assert_ok(kd_whisper_file_open(&student, test_path(folder, "runs/tiny/student.bin"),
                                   KD_WHISPER_TRAIN_NOTHING));
    assert_int_equal(student->model->spec.text_layers, 2);
    kd_whisper_file_free(student);
    assert_ok(kd_whisper_file_open(&student, test_path(folder, "runs/tiny/student"),
                                   KD_WHISPER_TRAIN_NOTHING));
    kd_whisper_file_free(student);
    /* Once more: everything is there. */
    char *log;
    size_t before, after;
    assert_ok(kd_file_read(&log, &before, test_path(folder, "runs/tiny/log.jsonl"), 1 << 24));
    free(log);
    assert_carried_out(folder, "train", "runs", NULL);
    assert_says(complained, "already trained");
    assert_ok(kd_file_read(&log, &after, test_path(folder, "runs/tiny/log.jsonl"), 1 << 24));
    free(log);
    assert_int_equal(before, after);
}

/* Stopped after every update, and at other thread counts, it ends in the same bits. */
static void interruptions_change_nothing(void **state) {
    test_folder *folder = *state;
    int threads = omp_get_max_threads(), code, stops = -1;
    assert_carried_out(folder, "train", "runs", "train.epochs=8");
    assert_carried_out(folder, "teach", "stopped", "train.epochs=8");
    do {
        omp_set_num_threads(1 + (stops + 1) % 3);
        kd_train_request_stop();
        code = carry_out(folder, "train", "stopped", "train.epochs=8");
        stops++;
        if (code != 0 && code != -KD_EAGAIN) fail_msg("%s", complained);
    } while (code != 0);
    omp_set_num_threads(threads);
    kd_train_take_stop();
    assert_true(stops > 10);
    assert_same_file(folder, "runs/tiny/student.bin", "stopped/tiny/student.bin");
}

/* The encoder's outputs come from the cache or from the encoder; windows are joined or not. */
static void a_cache_changes_nothing(void **state) {
    test_folder *folder = *state;
    assert_carried_out(folder, "train", "runs", "data.encoder_cache=on");
    assert_carried_out(folder, "train", "without", "data.encoder_cache=off");
    assert_true(kd_file_exists(test_path(folder, "runs/tiny/heard")));
    assert_false(kd_file_exists(test_path(folder, "without/tiny/heard")));
    assert_same_file(folder, "runs/tiny/student.bin", "without/tiny/student.bin");
}

static void other_ways_to_be_taught(void **state) {
    test_folder *folder = *state;
    assert_carried_out(folder, "train", "topk", "teacher.targets={\"kind\":\"topk\",\"k\":8}");
    assert_carried_out(folder, "train", "labels", "loss.kl=0");
    assert_carried_out(folder, "train", "apart", "data.concatenate=none");
    assert_carried_out(folder, "train", "shallow", "model.encoder_layers=1");
    assert_carried_out(folder, "train", "unchecked", "data.validation=[]");
    kd_whisper_file *student;
    assert_ok(kd_whisper_file_open(&student, test_path(folder, "shallow/tiny/student.bin"),
                                   KD_WHISPER_TRAIN_NOTHING));
    assert_int_equal(student->model->spec.audio_layers, 1);
    kd_whisper_file_free(student);
}

/* The loss of the first update, of whole windows taught by the k largest logits. */
static double first_loss(test_folder *folder, const char *runs) {
    char log[64];
    kd_runlog_curves curves;
    snprintf(log, sizeof log, "%s/tiny/log.jsonl", runs);
    assert_ok(kd_runlog_read(&curves, test_path(folder, log)));
    assert_true(curves.step_count > 0 && curves.step[0].step == 1);
    const double loss = curves.step[0].loss;
    kd_runlog_free(&curves);
    return loss;
}

/* Every row of a batch has its own targets: four windows at once, and one after the other. */
static void rows_have_their_own_targets(void **state) {
    test_folder *folder = *state;
    static const char *const targets[] = {"{\"kind\": \"hidden\"}",
                                          "{\"kind\": \"topk\", \"k\": 8}"};
    for (int kind = 0; kind < 2; kind++) {
        double loss[2];
        for (int apart = 0; apart < 2; apart++) {
            char config[KD_PATH_MAX], where[KD_PATH_MAX], runs[16], how[96], size[96];
            snprintf(runs, sizeof runs, "rows%d%d", kind, apart);
            snprintf(how, sizeof how, "teacher.targets=%s", targets[kind]);
            snprintf(size, sizeof size, "train={\"epochs\": 1, \"batch\": %d, \"accumulate\": %d}",
                     apart ? 1 : 4, apart ? 4 : 1);
            test_copy(config, sizeof config, test_path(folder, "tiny.json"));
            test_copy(where, sizeof where, test_path(folder, runs));
            if (DISTILL("train", config, "--runs", where, "--set", how, "--set", size, "--set",
                        "data.concatenate=none") != 0)
                fail_msg("%s", complained);
            loss[apart] = first_loss(folder, runs);
        }
        assert_true(loss[0] > 0 && fabs(loss[0] - loss[1]) < 1e-4 * loss[0]);
    }
}

/* Rounded files, the same trained on with rounded weights, and all of them measured. */
static void files_are_quantized(void **state) {
    test_folder *folder = *state;
    write_config(folder, ", \"quantize\": [{\"format\": \"q4_0\"},"
                         " {\"format\": \"q4_0\", \"qat\": {\"epochs\": 2}},"
                         " {\"format\": \"int8\", \"qat\": {\"epochs\": 1}}]");
    assert_carried_out(folder, "train", "runs", "data.test=[\"held.tsv\"]");
    assert_says(printed, "student before training");
    assert_says(printed, "student q4_0 (QAT)");
    assert_true(kd_file_exists(test_path(folder, "runs/tiny/report.html")));
    assert_says(printed, "student int8 (QAT)");
    static const char *const files[] = {
        "runs/tiny/student.q4_0.bin", "runs/tiny/student.q4_0-qat.bin",
        "runs/tiny/student.q4_0-qat.gguf", "runs/tiny/student.int8-qat.gguf"};
    kd_hash hash[4];
    for (int i = 0; i < 4; i++) {
        kd_whisper_file *file;
        assert_ok(
            kd_whisper_file_open(&file, test_path(folder, files[i]), KD_WHISPER_TRAIN_NOTHING));
        assert_ok(kd_params_hash(&hash[i], file->model->params));
        kd_whisper_file_free(file);
    }
    assert_string_not_equal(hash[0].hex, hash[1].hex);
    assert_string_equal(hash[1].hex, hash[2].hex); /* the same numbers in both layouts */
    assert_false(kd_file_exists(test_path(folder, "runs/tiny/student.int8-qat.bin")));
    kd_runlog_curves curves;
    assert_ok(kd_runlog_read(&curves, test_path(folder, "runs/tiny/log.jsonl")));
    assert_string_equal(curves.last_stage, "qat.int8-qat");
    kd_runlog_free(&curves);
    char config[KD_PATH_MAX], model[KD_PATH_MAX];
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    test_copy(model, sizeof model, test_path(folder, "runs/tiny/student.q4_0.bin"));
    assert_int_equal(DISTILL("eval", config, model), -KD_ECONFIG);
    if (DISTILL("eval", config, model, "--set", "data.test=[\"held.tsv\"]") != 0)
        fail_msg("%s", complained);
    assert_says(printed, "student.q4_0.bin");
}

/* --dry-run writes nothing. */
static void a_plan_is_made_before(void **state) {
    test_folder *folder = *state;
    char config[KD_PATH_MAX], runs[KD_PATH_MAX];
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    test_copy(runs, sizeof runs, test_path(folder, "runs"));
    if (DISTILL("train", config, "--dry-run", "--runs", runs) != 0) fail_msg("%s", complained);
    assert_says(printed, "a student of 2 + 2 layers from 2 + 3");
    assert_says(printed, "24 recordings");
    assert_says(printed, "training");
    assert_false(kd_file_exists(runs));
}

static void what_is_missing_is_named(void **state) {
    test_folder *folder = *state;
    assert_int_equal(unlink(test_path(folder, "teacher.bin")), 0);
    assert_int_equal(unlink(test_path(folder, "held.tsv")), 0);
    assert_int_equal(carry_out(folder, "train", "runs", NULL), -KD_ENOINPUT);
    assert_says(complained, "teacher.bin: the teacher is not there");
    assert_says(complained, "where the teacher comes from: the attic");
    assert_says(complained, "held.tsv: the list of validation recordings is not there");
    assert_says(complained, "where the recordings come from: the cupboard");
    assert_says(complained, "2 of the files");
}

/* A result made from other things is not taken for this run's. */
static void another_teacher_is_noticed(void **state) {
    test_folder *folder = *state;
    assert_carried_out(folder, "train", "runs", NULL);
    write_teacher(folder, KD_REAL(0.25));
    assert_int_equal(carry_out(folder, "train", "runs", NULL), -KD_EDATA);
    assert_says(complained, "labels");
    write_teacher(folder, 0);
    assert_int_equal(carry_out(folder, "train", "runs", "loss.kl=0.5"), -KD_EDATA);
    assert_says(complained, "train.last.h5");
    assert_int_equal(carry_out(folder, "train", "runs", "data.concatenate=none"), -KD_EDATA);
    assert_says(complained, "train.last.h5");
    assert_carried_out(folder, "train", "runs", NULL);
}

/* The store knows the tokens that its rows were made for. */
static void a_store_of_other_windows_is_refused(void **state) {
    test_folder *folder = *state;
    assert_carried_out(folder, "teach", "runs", NULL);
    kd_store *store;
    assert_ok(kd_store_open(&store, test_path(folder, "runs/tiny/store")));
    kd_whisper *student = tiny_whisper(KD_WHISPER_TRAIN_DECODER);
    int32_t token[] = {1, 2, 3, 4};
    kd_window window = {.id = 99, .token = token, .length = 4};
    kd_windows windows = {.item = &window, .count = 1, .longest = 4};
    const kd_loss_config loss = {.temperature = 2, .kl = 1, .hard = 1};
    const kd_train_spec spec = {.epochs = 1, .batch = 1, .accumulate = 1, .evaluate_every = 1};
    kd_speech_job job = {.loop = {.stage = "train", .folder = folder->path, .spec = &spec},
                         .loss = &loss,
                         .train = &windows,
                         .store = store};
    assert_refused(kd_speech_train(student, &job), KD_EDATA, "store");
    kd_whisper_free(student);
    kd_store_free(store);
}

/* Before anything is heard, not when the file is written. */
static void a_format_that_does_not_fit_is_refused(void **state) {
    test_folder *folder = *state;
    kd_whisper_spec spec = TINY_SPEC;
    spec.width = 48;
    kd_whisper_file *teacher = tiny_whisper_file_of(&spec);
    assert_ok(kd_whisper_bin_write(test_path(folder, "teacher.bin"), teacher, &kd_format_f32));
    kd_whisper_file_free(teacher);
    write_config(folder, ", \"quantize\": [{\"format\": \"int8\"}, {\"format\": \"q4_0\"}]");
    assert_int_equal(carry_out(folder, "label", "runs", NULL), -KD_ECONFIG);
    assert_says(complained, "quantize[1].format");
    assert_says(complained, "rows of 48");
    assert_false(kd_file_exists(test_path(folder, "runs/tiny/labels")));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_student_learns),
        TEST(interruptions_change_nothing),
        TEST(a_cache_changes_nothing),
        TEST(other_ways_to_be_taught),
        TEST(rows_have_their_own_targets),
        TEST(files_are_quantized),
        TEST(a_plan_is_made_before),
        TEST(what_is_missing_is_named),
        TEST(another_teacher_is_noticed),
        TEST(a_store_of_other_windows_is_refused),
        TEST(a_format_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
