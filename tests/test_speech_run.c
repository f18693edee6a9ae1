/* The whole way of a speech recogniser on a tiny random teacher: labels, windows, store, training,
 * files. It learns; it may be interrupted anywhere; what does not belong together is refused. */
#include <omp.h>
#include <sys/stat.h>

#include "speech_folder.h"

#include "distill/checkpoint.h"
#include "distill/trainer.h"
#include "files/gguf.h"
#include "report/runlog.h"
#include "run_cli.h"
#include "tasks/speech/speech_config.h"
#include "tasks/speech/speech_task.h"

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

static double loss_of(const kd_runlog_curves *curves, const kd_runlog_point *point) {
    return kd_runlog_value(curves, point, "loss");
}

static void the_student_learns(void **state) {
    test_folder *folder = *state;
    assert_carried_out(folder, "train", "runs", NULL);
    kd_runlog_curves curves;
    assert_ok(kd_runlog_read(&curves, test_path(folder, "runs/tiny/log.jsonl")));
    const int64_t last = curves.step_count - 1;
    assert_true(last > 4);
    assert_true(loss_of(&curves, &curves.step[last]) < 0.7 * loss_of(&curves, &curves.step[0]));
    assert_int_equal(curves.eval_count, 4);
    assert_true(loss_of(&curves, &curves.eval[3]) < loss_of(&curves, &curves.eval[0]));
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

/* What is measured on windows is what is minimised on them: with a rate of nearly nothing the loss
 * of all training windows at once is theirs as validation windows. And a token that comes out wrong
 * is given half the probability at most, so a small loss leaves room for few of them. */
static void validation_measures_what_is_learnt(void **state) {
    test_folder *folder = *state;
    char config[KD_PATH_MAX], where[KD_PATH_MAX];
    kd_runlog_curves curves;
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    test_copy(where, sizeof where, test_path(folder, "still"));
    if (DISTILL("train", config, "--runs", where, "--set", "data.validation=[\"train.tsv\"]",
                "--set", "loss={\"kl\": 0, \"hard\": 1}", "--set",
                "train={\"epochs\": 1, \"batch\": 64, \"learning_rate\": 1e-12}") != 0)
        fail_msg("%s", complained);
    assert_ok(kd_runlog_read(&curves, test_path(folder, "still/tiny/log.jsonl")));
    assert_int_equal(curves.step_count, 1);
    assert_int_equal(curves.eval_count, 1);
    const double measured = loss_of(&curves, &curves.eval[0]);
    const double minimised = loss_of(&curves, &curves.step[0]);
    assert_true(measured > 1);
    assert_true(fabs(measured - minimised) < 1e-5 * minimised);
    kd_runlog_free(&curves);
    test_copy(where, sizeof where, test_path(folder, "learnt"));
    if (DISTILL("train", config, "--runs", where, "--set", "data.validation=[\"train.tsv\"]",
                "--set", "loss={\"kl\": 0, \"hard\": 1}", "--set",
                "train={\"epochs\": 3, \"batch\": 1, \"learning_rate\": 0.03}") != 0)
        fail_msg("%s", complained);
    assert_ok(kd_runlog_read(&curves, test_path(folder, "learnt/tiny/log.jsonl")));
    for (int64_t i = 0; i < curves.eval_count; i++) {
        const double right = kd_runlog_value(&curves, &curves.eval[i], "accuracy");
        assert_true(1 - right <= loss_of(&curves, &curves.eval[i]) / log(2) + 1e-9);
    }
    assert_true(loss_of(&curves, &curves.eval[curves.eval_count - 1]) < 0.6);
    kd_runlog_free(&curves);
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
    assert_true(kd_file_exists(test_path(folder, "runs/tiny/encoder_cache")));
    assert_false(kd_file_exists(test_path(folder, "without/tiny/encoder_cache")));
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
    const double loss = loss_of(&curves, &curves.step[0]);
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
            char config[KD_PATH_MAX], where[KD_PATH_MAX], runs[32], how[96], size[128];
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
                         " {\"format\": \"int8\", \"qat\": {\"epochs\": 1}},"
                         " {\"budget\": {\"bits_per_weight\": 20, \"samples\": 1}}]");
    assert_carried_out(folder, "train", "runs", "data.test=[\"held.tsv\"]");
    assert_says(printed, "student before training");
    assert_says(printed, "student q4_0 (QAT)");
    assert_true(kd_file_exists(test_path(folder, "runs/tiny/report.html")));
    assert_says(printed, "student int8 (QAT)");
    assert_says(printed, "student budget (PTQ)");
    assert_true(kd_file_exists(test_path(folder, "runs/tiny/student.budget.gguf")));
    assert_false(kd_file_exists(test_path(folder, "runs/tiny/student.budget.bin")));
    assert_true(kd_file_exists(test_path(folder, "runs/tiny/budget.budget.svg")));
    char *chosen;
    assert_ok(kd_gguf_read_text(&chosen, test_path(folder, "runs/tiny/student.budget.gguf"),
                                "distill.budget"));
    assert_says(chosen, "predicted_kl");
    free(chosen);
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
    assert_says(complained, "6 of 6 test recordings are train recordings, too");
    assert_says(printed, "the figures are too good");
    test_copy(model, sizeof model, test_path(folder, "runs")); /* by its name in the run */
    if (DISTILL("eval", config, "student.q4_0.bin", "--runs", model, "--set",
                "data.test=[\"held.tsv\"]") != 0)
        fail_msg("%s", complained);
    assert_says(printed, "student.q4_0.bin");
    assert_int_equal(DISTILL("eval", config, "student.no.bin", "--runs", model, "--set",
                             "data.test=[\"held.tsv\"]"),
                     -KD_ENOINPUT);
}

/* A test set is whole, and that is seen before anything is taught. */
static void a_test_set_is_whole(void **state) {
    test_folder *folder = *state;
    char text[256];
    const int n = snprintf(text, sizeof text, "k0.wav\tone\nnone.wav\ttwo\n%s.wav\tthree\n", "bad");
    test_write(test_path(folder, "test.tsv"), text, (size_t)n);
    test_write(test_path(folder, "bad.wav"), "no sound", 8);
    assert_int_equal(carry_out(folder, "train", "runs", "data.test=[\"test.tsv\"]"), -KD_EDATA);
    assert_says(complained, "test.tsv:2: ");
    assert_says(complained, "none.wav: No such file");
    assert_says(complained, "test.tsv:3: ");
    assert_says(complained, "data.test: 2 of 3 recordings cannot be read");
    assert_false(kd_file_exists(test_path(folder, "runs/tiny/labels")));
    char config[KD_PATH_MAX];
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    assert_int_equal(DISTILL("train", config, "--dry-run", "--set", "data.test=[\"test.tsv\"]"),
                     -KD_EDATA);
    assert_says(complained, "data.test: 2 of 3 recordings cannot be read");
}

/* The file at `path` beside that of the nearest numbers: other matrices and, with `alone`, nothing
 * else. */
static void check_seen(test_folder *folder, const char *path, bool alone) {
    kd_whisper_file *plain, *seen;
    assert_ok(kd_whisper_file_open(&plain, test_path(folder, "runs/tiny/student.q4_0.bin"),
                                   KD_WHISPER_TRAIN_NOTHING));
    assert_ok(kd_whisper_file_open(&seen, test_path(folder, path), KD_WHISPER_TRAIN_NOTHING));
    for (int i = 0; i < plain->model->params->count; i++) {
        const kd_param *a = plain->model->params->list[i], *b = seen->model->params->list[i];
        const bool matrix = kd_whisper_format_of(a, &kd_format_q4_0) == &kd_format_q4_0;
        if (memcmp(a->tensor.value, b->tensor.value, (size_t)a->tensor.size * sizeof(kd_real)))
            assert_true(matrix || !alone);
        else if (matrix)
            fail_msg("%s is rounded as if nothing had been seen", a->name);
    }
    kd_whisper_file_free(plain);
    kd_whisper_file_free(seen);
}

/* Scales and codes that look at what the model hears: other bytes than the nearest numbers, the
 * same at any number of threads, and every matrix is seen. */
static void roundings_see(void **state) {
    test_folder *folder = *state;
    static const char *const rounding[] = {"importance", "gptq", "awq"};
    char config[1024] = ", \"quantize\": [{\"format\": \"q4_0\"}", kept[KD_PATH_MAX];
    for (int i = 0; i < 3; i++)
        snprintf(config + strlen(config), sizeof config - strlen(config),
                 ", {\"format\": \"q4_0\", \"rounding\": \"%s\", \"calibration_samples\": 3, "
                 "\"name\": \"%s\"}%s",
                 rounding[i], rounding[i], i == 2 ? "]" : "");
    write_config(folder, config);
    assert_carried_out(folder, "quantize", "runs", NULL);
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "runs/tiny/student.%s.bin", rounding[i]);
        check_seen(folder, path, i < 2);
        test_copy(kept, sizeof kept, test_path(folder, rounding[i]));
        assert_int_equal(rename(test_path(folder, path), kept), 0);
    }
    omp_set_num_threads(omp_get_max_threads() > 1 ? 1 : 3);
    assert_carried_out(folder, "quantize", "runs", NULL);
    omp_set_num_threads(omp_get_num_procs());
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "runs/tiny/student.%s.bin", rounding[i]);
        assert_same_file(folder, path, rounding[i]);
    }
    static const char *const wrong[][2] = {
        {"\"calibration_samples\": 3", "goes with a \"rounding\" that sees samples only"},
        {"\"damping\": 0.1", "goes with the roundings \"gptq\" and"},
        {"\"rounding\": \"gptq\", \"qat\": {\"epochs\": 1}", "with \"qat\" the rounding is"}};
    for (int i = 0; i < 3; i++) {
        snprintf(config, sizeof config, "quantize={\"format\":\"q4_0\",%s}", wrong[i][0]);
        assert_int_equal(carry_out(folder, "quantize", "runs", config), 78);
        assert_says(complained, wrong[i][1]);
    }
}

/* The same by an importance matrix that was gathered of this very student; of another it is
 * refused, and so is another file in its place. */
static void importance_comes_from_a_file(void **state) {
    test_folder *folder = *state;
    char student[KD_PATH_MAX], list[KD_PATH_MAX], matrix[KD_PATH_MAX];
    if (sizeof(kd_real) > sizeof(float)) skip(); /* a folder does not hold all of a double */
    static const char *const quantize = ", \"quantize\": {\"format\": \"q4_0\", \"rounding\": "
                                        "\"importance\", \"imatrix\": \"m.gguf\"}";
    assert_carried_out(folder, "train", "runs", NULL);
    test_copy(student, sizeof student, test_path(folder, "runs/tiny/student"));
    test_copy(list, sizeof list, test_path(folder, "held.tsv"));
    test_copy(matrix, sizeof matrix, test_path(folder, "m.gguf"));
    write_config(folder, quantize);
    assert_int_equal(carry_out(folder, "quantize", "runs", NULL), -KD_ENOINPUT);
    assert_says(complained, "m.gguf: the importance matrix is not there");
    if (DISTILL("imatrix", student, list, matrix) != 0) fail_msg("%s", complained);
    assert_carried_out(folder, "quantize", "runs", NULL);
    assert_true(kd_file_exists(test_path(folder, "runs/tiny/student.q4_0.gguf")));
    test_copy(student, sizeof student, test_path(folder, "teacher.bin"));
    if (DISTILL("imatrix", student, list, matrix) != 0) fail_msg("%s", complained);
    assert_int_equal(carry_out(folder, "quantize", "runs", NULL), 65);
    assert_says(complained, "quantize.imatrix.content");
    assert_int_equal(unlink(test_path(folder, "runs/tiny/student.q4_0.gguf")), 0);
    assert_int_equal(unlink(test_path(folder, "runs/tiny/student.q4_0.bin")), 0);
    assert_int_equal(carry_out(folder, "quantize", "runs", NULL), 65);
    assert_says(complained, "made from another model");
    assert_int_equal(carry_out(folder, "quantize", "runs", "quantize.rounding=nearest"), 78);
}

/* A teacher of English alone would write down German as English. */
static void another_language_is_refused(void **state) {
    test_folder *folder = *state;
    assert_int_equal(carry_out(folder, "label", "runs", "data.language=de"), -KD_ECONFIG);
    assert_says(complained, "data.language: the teacher hears English alone, not \"de\"");
    assert_carried_out(folder, "label", "runs", "data.language=English");
}

/* What cannot be learnt from is left out, and said; rows may go without anything heard again. */
static void a_list_with_faults(void **state) {
    test_folder *folder = *state;
    assert_int_equal(unlink(test_path(folder, "k4.wav")), 0);
    write_list(folder, "held.tsv", 0, 4);  /* without k4 */
    write_list(folder, "train.tsv", 0, 9); /* one of nine */
    assert_carried_out(folder, "label", "runs", NULL);
    assert_says(complained, "train.tsv:6: ");
    assert_says(complained, "k4.wav: No such file or directory");
    assert_says(complained, "1 of 9 recordings cannot be read and are left out");
    struct stat before, after;
    const char *shard = "runs/tiny/labels/train/labels-00000.jsonl";
    assert_int_equal(stat(test_path(folder, shard), &before), 0);
    write_list(folder, "train.tsv", 5, 3);
    assert_carried_out(folder, "label", "runs", NULL);
    assert_int_equal(stat(test_path(folder, shard), &after), 0);
    assert_true(before.st_ino == after.st_ino);
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

/* Seconds of sound in a list, as 16 recordings all through it tell. */
static double estimated_seconds(int first, int count) {
    const int sampled = count < 16 ? count : 16;
    double samples = 0;
    for (int k = 0; k < sampled; k++)
        samples += 2000 + 1300 * ((first + k * count / sampled) % RECORDINGS);
    return samples / 16000 * count / sampled;
}

/* Windows are full to 85 % of their second, or half on average, or one for each recording. */
static void a_plan_adds_up(void **state) {
    test_folder *folder = *state;
    const double seconds = estimated_seconds(0, TRAINING) + estimated_seconds(TRAINING, HELD_OUT);
    static const char *const join[] = {"full", "varied", "none"};
    char config[KD_PATH_MAX], how[64], part[96];
    kd_whisper_spec spec = TINY_SPEC;
    spec.text_layers = 2;
    kd_whisper *student = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING);
    double numbers = 0;
    for (int i = 0; i < student->params->count; i++)
        numbers += (double)student->params->list[i]->tensor.size;
    kd_whisper_free(student);
    write_config(folder, ", \"quantize\": [{\"format\": \"q8_0\", \"qat\": {\"epochs\": 12}},"
                         " {\"format\": \"q4_0\"}]");
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    for (int i = 0; i < 3; i++) {
        const double windows = i == 0   ? seconds / 0.85
                               : i == 1 ? seconds / 0.5
                                        : TRAINING + HELD_OUT;
        snprintf(how, sizeof how, "data.concatenate=%s", join[i]);
        if (DISTILL("train", config, "--dry-run", "--set", how) != 0) fail_msg("%s", complained);
        snprintf(part, sizeof part, "some %.0f windows of 1 s", windows);
        assert_says(printed, part);
        snprintf(part, sizeof part, "%.0f updates of", 4 * windows / 4); /* epochs, 2 · 2 at once */
        assert_says(printed, part);
        snprintf(part, sizeof part, "%.0f updates of", 12 * windows / 4);
        assert_says(printed, part);
        assert_says(printed, "the same with rounded weights");
        /* What is heard in bfloat16, twice; hidden states in float16 of 100 tokens in 30 s, and the
         * output matrix; two checkpoints of values and two moments each, twice. */
        const double heard = 2 * windows * 50 * TINY_WIDTH * 2;
        const double taught =
            seconds * 100 / 30 * TINY_WIDTH * 2 + 4.0 * TINY_VOCABULARY * TINY_WIDTH;
        const double disk = heard + taught + 2 * 2 * 3 * (double)sizeof(kd_real) * numbers;
        const char *at = strstr(printed, "   disk ");
        assert_non_null(at);
        char unit[8] = "";
        double stated = 0;
        assert_int_equal(sscanf(at, "   disk %lf %7s", &stated, unit), 2);
        assert_string_equal(unit, "MB");
        assert_true(fabs(stated * 1e6 - disk) < 0.06e6);
    }
    if (DISTILL("train", config, "--dry-run", "--set", "data.encoder_cache=off") != 0)
        fail_msg("%s", complained);
    const char *hear = strstr(printed, "what the encoder makes of the windows");
    assert_non_null(hear);
    assert_true(hear[strlen("what the encoder makes of the windows")] == '\n'); /* keeps nothing */
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
    assert_says(complained, "train.last.h5: was made with loss.kl = 1, this config says 0.5; use "
                            "--fresh to start over, or another name");
    assert_int_equal(carry_out(folder, "train", "runs", "data.concatenate=none"), -KD_EDATA);
    assert_says(complained, "store: was made with data.concatenate = full, this config says none");
    assert_carried_out(folder, "train", "runs", NULL);
}

/* Every file of the runs with its content and the time it was written. */
static void picture_of(test_folder *folder, char *out, size_t capacity) {
    char command[KD_PATH_MAX + 128];
    snprintf(command, sizeof command,
             "find '%s/runs' -type d -print -o -type f -printf '%%p %%T@ ' -exec sha1sum {} \\; | "
             "sort",
             folder->path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    const size_t n = fread(out, 1, capacity - 1, pipe);
    assert_true(n < capacity - 1);
    out[n] = '\0';
    pclose(pipe);
}

/* What is refused, with or without --fresh, leaves every byte where it was. */
static void a_refused_start_changes_nothing(void **state) {
    test_folder *folder = *state;
    static char before[1 << 16], after[1 << 16];
    static const struct {
        const char *command, *set, *says;
        int code;
        bool fresh;
    } start[] = {
        {"train", "seed=9", "store: was made with seed = 1, this config says 9", KD_EDATA, false},
        {"train", "teacher.wer=5", "teacher.wer = 1000000, this config says 5", KD_EDATA, false},
        {"label", "train.epochs=5", "train.last.h5: was made with train.epochs = 4", KD_EDATA,
         false},
        {"teach", "model.decoder_layers=3", "model.decoder_layers = 2", KD_EDATA, false},
        {"train", "quantize={\"format\":\"int8\"}",
         "student.int8.gguf: was made with "
         "quantize.format = q4_0, this config says int8",
         KD_EDATA, false},
        {"train", "model.decoder_layers=9", "the teacher has only", KD_ECONFIG, true},
        {"train", "quantize={\"budget\":{\"bytes\":\"100\"}}", "budget: 100 bytes", KD_ECONFIG,
         true},
        {"train", "teacher.weights=nowhere.bin", "nowhere.bin: the teacher is not there",
         KD_ENOINPUT, true},
        {"train", "data.train=[\"nowhere.tsv\"]", "nowhere.tsv", KD_ENOINPUT, true}};
    char config[KD_PATH_MAX], runs[KD_PATH_MAX];
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    test_copy(runs, sizeof runs, test_path(folder, "runs"));
    assert_carried_out(folder, "train", "runs", "quantize={\"format\":\"q4_0\",\"name\":\"int8\"}");
    char *text;
    assert_ok(
        kd_gguf_read_text(&text, test_path(folder, "runs/tiny/student.gguf"), "distill.origin"));
    assert_says(text, "\"kind\": \"speech\"");
    free(text);
    picture_of(folder, before, sizeof before);
    assert_says(before, "origin.json"); /* of the encoder's outputs */
    for (size_t i = 0; i < sizeof start / sizeof *start; i++) {
        const int code = DISTILL(start[i].command, config, "--runs", runs, "--set", start[i].set,
                                 start[i].fresh ? "--fresh" : NULL);
        if (code != -start[i].code) fail_msg("%s: %d: %s", start[i].set, code, complained);
        assert_says(complained, start[i].says);
        picture_of(folder, after, sizeof after);
        assert_string_equal(after, before);
    }
    /* So are recordings that came since, before anything is heard; without them it goes on. */
    tiny_sound(test_path(folder, "new.wav"), 9000, 1);
    FILE *list = fopen(test_path(folder, "train.tsv"), "a");
    assert_non_null(list);
    fputs("new.wav\tmore\tann\n", list);
    fclose(list);
    for (int i = 0; i < 3; i++) {
        static const char *const command[] = {"label", "teach", "train"};
        assert_int_equal(DISTILL(command[i], config, "--runs", runs, "--set",
                                 "quantize={\"format\":\"q4_0\",\"name\":\"int8\"}"),
                         -KD_EDATA);
        assert_says(complained, "has no label yet, like 1 of ");
        picture_of(folder, after, sizeof after);
        assert_string_equal(after, before);
    }
    write_list(folder, "train.tsv", 0, TRAINING);
    /* --fresh keeps the teacher's labels, and makes another teacher's anew. */
    struct stat labels, kept;
    assert_int_equal(stat(test_path(folder, "runs/tiny/labels/train/labels-00000.jsonl"), &labels),
                     0);
    assert_int_equal(DISTILL("train", config, "--runs", runs, "--set", "seed=9", "--fresh"), 0);
    assert_int_equal(stat(test_path(folder, "runs/tiny/labels/train/labels-00000.jsonl"), &kept),
                     0);
    assert_int_equal(kept.st_ino, labels.st_ino);
    assert_int_equal(kept.st_mtim.tv_nsec, labels.st_mtim.tv_nsec);
    write_teacher(folder, KD_REAL(0.25));
    assert_int_equal(DISTILL("train", config, "--runs", runs, "--set", "seed=9"), -KD_EDATA);
    assert_int_equal(DISTILL("train", config, "--runs", runs, "--set", "seed=9", "--fresh"), 0);
    static const char pictures[] = "{\"data\": {\"kind\": \"idx\"}}";
    test_write(test_path(folder, "runs/tiny/config.json"), pictures, strlen(pictures));
    assert_int_equal(DISTILL("train", config, "--runs", runs, "--set", "seed=9"), -KD_EDATA);
    assert_says(complained, "is of a run on data of the kind \"idx\"");
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

/* Rows of 48 are no blocks of 32: GGUF has f16 there, and whisper.cpp's files, with one format for
 * all, are left out. */
static void a_format_that_does_not_fit_falls_back(void **state) {
    test_folder *folder = *state;
    char path[KD_PATH_MAX];
    kd_whisper_spec spec = TINY_SPEC;
    spec.width = 48;
    kd_whisper_file *teacher = tiny_whisper_file_of(&spec), *student;
    assert_ok(kd_whisper_bin_write(test_path(folder, "teacher.bin"), teacher, &kd_format_f32));
    kd_whisper_file_free(teacher);
    write_config(folder, ", \"quantize\": {\"format\": \"q4_0\"}");
    assert_carried_out(folder, "export", "runs", NULL);
    test_copy(path, sizeof path, test_path(folder, "runs/tiny/student.q4_0.gguf"));
    assert_says(complained, "of rows of 48, is f16");
    assert_says(printed, path);
    assert_false(kd_file_exists(test_path(folder, "runs/tiny/student.q4_0.bin")));
    assert_ok(kd_whisper_file_open(&student, path, KD_WHISPER_TRAIN_NOTHING));
    kd_whisper_file_free(student);
}

/* The commands of classifiers do for a recogniser what they do for them. */
static void every_command_works(void **state) {
    test_folder *folder = *state;
    char config[KD_PATH_MAX];
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    assert_carried_out(folder, "train", "runs", NULL);
    assert_int_equal(carry_out(folder, "quantize", "runs", NULL), 78);
    assert_says(complained, "has no \"quantize\"");
    write_config(folder, ", \"quantize\": [{\"format\": \"q8_0\"},"
                         " {\"format\": \"q5_0\", \"qat\": {\"epochs\": 1}}]");
    assert_carried_out(folder, "quantize", "runs", NULL);
    static const char *const rounded[] = {"student.q8_0.bin", "student.q5_0-qat.ptq.bin",
                                          "student.q5_0-qat.ptq.gguf"};
    for (int i = 0; i < 3; i++) {
        char path[KD_PATH_MAX], name[64];
        kd_whisper_file *file;
        snprintf(name, sizeof name, "runs/tiny/%s", rounded[i]);
        test_copy(path, sizeof path, test_path(folder, name));
        if (i < 2) assert_says(printed, path);
        assert_ok(kd_whisper_file_open(&file, path, KD_WHISPER_TRAIN_NOTHING));
        kd_whisper_file_free(file);
    }
    assert_false(kd_file_exists(test_path(folder, "runs/tiny/student.q5_0-qat.bin")));
    assert_carried_out(folder, "export", "runs", NULL);
    assert_says(printed, "student.q5_0-qat.bin");
    assert_says(printed, "student.bin");
    assert_int_equal(DISTILL("inspect", config), 0);
    assert_says(printed, "student.q5_0-qat: q5_0, trained with rounded weights");
    assert_int_equal(DISTILL("verify", config), 0);
    assert_carried_out(folder, "teach", "runs", NULL);
    assert_int_equal(carry_out(folder, "train", "runs", "data.kind=speach"), 78);
}

/* A kind of data belongs to a task; one that none has is refused with all there are. */
static void kinds_tell_tasks_apart(void **state) {
    test_folder *folder = *state;
    char config[KD_PATH_MAX];
    test_copy(config, sizeof config, test_path(folder, "other.json"));
    test_write(config, "{\"data\": {\"kind\": \"speach\"}}", 28);
    assert_int_equal(DISTILL("train", config), 78);
    assert_says(complained, "did you mean \"speech\"? There are idx, cifar10, audio, speech");
    assert_int_equal(DISTILL("schema", "--task", "speach"), 64);
    assert_says(complained, "did you mean speech?");
    test_write(config, "{\"data\": {\"kind\": \"idx\"}}", 25);
    assert_int_equal(DISTILL("label", config), 64);
    assert_says(complained, "has nothing to do for a config of this kind");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_student_learns),
        TEST(validation_measures_what_is_learnt),
        TEST(interruptions_change_nothing),
        TEST(a_cache_changes_nothing),
        TEST(other_ways_to_be_taught),
        TEST(rows_have_their_own_targets),
        TEST(files_are_quantized),
        TEST(roundings_see),
        TEST(importance_comes_from_a_file),
        TEST(a_test_set_is_whole),
        TEST(another_language_is_refused),
        TEST(a_list_with_faults),
        TEST(a_plan_is_made_before),
        TEST(a_plan_adds_up),
        TEST(what_is_missing_is_named),
        TEST(another_teacher_is_noticed),
        TEST(a_refused_start_changes_nothing),
        TEST(a_store_of_other_windows_is_refused),
        TEST(a_format_that_does_not_fit_falls_back),
        TEST(every_command_works),
        TEST(kinds_tell_tasks_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
