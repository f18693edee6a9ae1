/* Runs of encoders, from texts to files: a tiny random BERT whose words are letters. */
#include "test_data.h"

#include <math.h>

#include "asserts.h"
#include "base/text.h"
#include "distill/trainer.h"
#include "run_cli.h"
#include "tasks/encoder/encoder_run.h"
#include "tasks/encoder/score.h"
#include "tasks/encoder/student.h"

enum { TINY_CONTEXT = 16, TINY_WIDTH = 12, TINY_LAYERS = 4, LETTERS = 26 };
enum { PAD, UNKNOWN, CLS, SEP, MASK, FIRST_LETTER, TINY_TOKENS = FIRST_LETTER + 2 * LETTERS + 2 };

/* [PAD] … [MASK], letters, letters inside of words, "." and ",". */
static void write_words(test_folder *folder, const char *name) {
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    kd_text text = {0};
    char path[64];
    for (int i = 0; i < FIRST_LETTER; i++) kd_text_add(&text, "%s\n", special[i]);
    for (int i = 0; i < LETTERS; i++) kd_text_add(&text, "%c\n", 'a' + i);
    for (int i = 0; i < LETTERS; i++) kd_text_add(&text, "##%c\n", 'a' + i);
    kd_text_add(&text, ".\n,\n");
    assert_ok(kd_file_make_folders(test_path(folder, name)));
    snprintf(path, sizeof path, "%s/vocab.txt", name);
    test_write(test_path(folder, path), text.text, text.length);
    free(text.text);
}

static kd_bert_spec tiny_spec(void) {
    return (kd_bert_spec){.width = TINY_WIDTH,
                          .layers = TINY_LAYERS,
                          .heads = 2,
                          .hidden = 32,
                          .vocabulary = TINY_TOKENS,
                          .context = TINY_CONTEXT,
                          .types = 2,
                          .epsilon = 1e-12,
                          .head = true,
                          .pooler = true};
}

/* Larger than what training begins with, so that it has opinions. */
static void write_teacher(test_folder *folder, const char *name, const kd_bert_spec *spec) {
    kd_bert_file file = {0};
    write_words(folder, name);
    assert_ok(kd_bert_create(&file.model, spec, false));
    assert_ok(kd_bert_layout(file.model, 3));
    for (int i = 0; i < file.model->params->count; i++) {
        kd_tensor *t = &file.model->params->list[i]->tensor;
        for (int64_t k = 0; k < t->size && t->rank == 2; k++) t->value[k] *= 10;
    }
    assert_ok(kd_bert_folder_write(test_path(folder, name), &file, &kd_format_f32));
    kd_bert_free(file.model);
}

static void write_texts(test_folder *folder) {
    kd_text train = {0}, table = {0};
    for (int i = 0; i < 12; i++)
        kd_text_add(&train, "the cat, %c, sat on the mat and the dog sat. ", 'a' + i);
    kd_text_add(&table, "label\tsentence\n");
    for (int i = 0; i < 24; i++)
        kd_text_add(&table, i % 2 ? "1\tgood %c good.\n" : "0\tbad, %c bad\n", 'a' + i / 2);
    test_write(test_path(folder, "a.txt"), train.text, train.length);
    test_write(test_path(folder, "b.txt"), train.text + 9, 70);
    test_write(test_path(folder, "held.txt"), train.text + 20, 200);
    test_write(test_path(folder, "told.tsv"), table.text, table.length);
    free(train.text);
    free(table.text);
}

static void write_config(test_folder *folder, const char *name, const char *format,
                         const char *more) {
    char text[2048];
    const int n = snprintf(text, sizeof text, format, more);
    assert_true(n > 0 && n < (int)sizeof text);
    test_write(test_path(folder, name), text, (size_t)n);
}

static const char MASKED[] =
    "{\"data\": {\"kind\": \"masked\", \"train\": [\"a.txt\", \"b.txt\"], \"validation\": "
    "[\"held.txt\"], \"test\": [\"held.txt\"], \"context\": 16, \"source\": \"the cupboard\"},\n"
    "\"model\": {\"type\": \"distilbert\"},\n"
    "\"teacher\": {\"weights\": \"teacher\", \"source\": \"the attic\"},\n"
    "\"train\": {\"epochs\": 2, \"batch\": 3, \"accumulate\": 2, \"learning_rate\": 0.01}%s}";
static const char TOLD[] =
    "{\"data\": {\"kind\": \"sentences\", \"train\": [\"told.tsv\"], \"validation\": "
    "[\"told.tsv\"], \"test\": [\"told.tsv\"], \"context\": 16, \"classes\": [\"bad\", "
    "\"good\"]},\n"
    "\"model\": {\"type\": \"bert\", \"weights\": \"teacher\"},\n"
    "\"train\": {\"epochs\": 8, \"batch\": 4, \"learning_rate\": 0.01}%s}";

static int setup(void **state) {
    if (test_setup(state) != 0) return -1;
    const kd_bert_spec spec = tiny_spec();
    write_teacher(*state, "teacher", &spec);
    write_texts(*state);
    write_config(*state, "masked.json", MASKED, "");
    write_config(*state, "told.json", TOLD, "");
    return 0;
}

static kd_encoder_config *load(test_folder *folder, const char *name) {
    kd_encoder_config *config;
    assert_ok(kd_encoder_config_load(&config, test_path(folder, name), 0, NULL));
    return config;
}

static void open_run(kd_encoder_run *run, test_folder *folder, const kd_encoder_config *config,
                     const char *runs) {
    char path[KD_PATH_MAX];
    snprintf(path, sizeof path, "%s", test_path(folder, runs));
    assert_ok(kd_encoder_run_open(run, config, path, false));
}

/* The student's numbers after training; the caller frees. */
static kd_real *trained(test_folder *folder, const char *name, const char *runs, size_t *size) {
    kd_encoder_config *config = load(folder, name);
    kd_encoder_run run;
    open_run(&run, folder, config, runs);
    assert_ok(kd_encoder_run_train(&run));
    const kd_params *params = run.student->model->params;
    *size = (size_t)params->slab_size;
    kd_real *value = malloc(*size * sizeof *value);
    memcpy(value, params->value, *size * sizeof *value);
    kd_encoder_run_close(&run);
    kd_encoder_config_free(config);
    return value;
}

/* --- samples ------------------------------------------------------------------------------------
 */

/* A context is [CLS] … [SEP]; documents begin and end where they should; masks are the same whoever
 * asks, and others in another epoch; special tokens are never chosen. */
static void test_contexts(void **state) {
    kd_encoder_config *config = load(*state, "masked.json");
    kd_encoder_run run;
    kd_masked_rows rows, again;
    int64_t real, chosen = 0, other = 0, total = 0;
    assert_ok(kd_encoder_run_look(&run, config));
    const kd_masked *m = run.train.masked;
    const int64_t count = kd_masked_count(m);
    assert_ok(kd_masked_rows_init(&rows, 1, TINY_CONTEXT));
    assert_ok(kd_masked_rows_init(&again, 1, TINY_CONTEXT));
    for (int64_t i = 0; i < count; i++) {
        int64_t same;
        const int64_t n = kd_masked_read(m, 1, i, &rows, 0, &real);
        assert_int_equal(kd_masked_read(m, 1, i, &again, 0, &same), n);
        assert_memory_equal(rows.token, again.token, TINY_CONTEXT * sizeof *rows.token);
        assert_int_equal(real, same);
        assert_int_equal(rows.label[0], CLS);
        assert_int_equal(rows.label[real - 1], SEP);
        assert_int_equal(rows.first[0], 0);
        assert_true(i + 1 < count ? real == TINY_CONTEXT : real <= TINY_CONTEXT);
        for (int t = 0; t < TINY_CONTEXT; t++) {
            const bool special = rows.label[t] < FIRST_LETTER;
            assert_true(rows.first[t] <= t && t < rows.end[t] && rows.end[t] <= TINY_CONTEXT);
            assert_true(t == 0 || rows.first[t] == rows.first[t - 1] ||
                        (rows.first[t] == t && rows.end[t - 1] == t));
            assert_int_equal(rows.real[t], t < real);
            assert_false(rows.chosen[t] && (special || t >= real));
            assert_true(rows.chosen[t] || rows.token[t] == rows.label[t]);
            total += !special && t < real;
        }
        chosen += n;
        other += kd_masked_read(m, 2, i, &again, 0, &same);
        if (n > 3) assert_true(memcmp(rows.chosen, again.chosen, TINY_CONTEXT) != 0);
    }
    assert_true(fabs((double)chosen / (double)total - 0.15) < 0.08);
    assert_true(fabs((double)other / (double)total - 0.15) < 0.08);
    kd_masked_rows_clear(&rows);
    kd_masked_rows_clear(&again);
    kd_encoder_run_close(&run);
    kd_encoder_config_free(config);
}

static int read_table(test_folder *folder, const char *text, int64_t *count) {
    kd_encoder_files files = {.count = 1};
    kd_text_tokenizer *tokenizer;
    kd_sentences s;
    test_write(test_path(folder, "table.tsv"), text, strlen(text));
    snprintf(files.path[0], sizeof files.path[0], "%s", test_path(folder, "table.tsv"));
    assert_ok(kd_text_tokenizer_read(&tokenizer, test_path(folder, "teacher")));
    const int status = kd_sentences_read(&s, &files, tokenizer, 8, 2);
    *count = s.count;
    if (status == KD_OK) {
        assert_int_equal(s.place[s.count], s.tokens);
        for (int64_t i = 0; i < s.count; i++) {
            assert_int_equal(s.token[s.place[i]], CLS);
            assert_int_equal(s.token[s.place[i + 1] - 1], SEP);
            assert_true(s.place[i + 1] - s.place[i] <= 8);
        }
    }
    kd_sentences_clear(&s);
    kd_text_tokenizer_free(tokenizer);
    return status;
}

static void test_tables(void **state) {
    int64_t n;
    assert_ok(read_table(*state, "label\tsentence\n1\tgood\n0\tbad", &n));
    assert_int_equal(n, 2);
    assert_ok(read_table(*state, "sentence\tlabel\r\na b c d e f g h i j\t1\r\n\r\n", &n));
    assert_int_equal(n, 1);
    assert_ok(read_table(*state, "id\tcontent\tlabel\n7\tyes\t0\n", &n));
    assert_refused(read_table(*state, "good\t1\n", &n), KD_EDATA, "should name the columns");
    assert_refused(read_table(*state, "", &n), KD_EDATA, "has no sentences");
    assert_refused(read_table(*state, "label\tsentence\n", &n), KD_EDATA, "has no sentences");
    assert_refused(read_table(*state, "label\tsentence\n1\tgood\n2\tworse\n", &n), KD_EDATA,
                   ":3: the label should be a whole number from 0 to 1");
    assert_refused(read_table(*state, "label\tsentence\nx\tgood\n", &n), KD_EDATA, ":2: the label");
    assert_refused(read_table(*state, "label\tsentence\n1\n", &n), KD_EDATA, ":2: has no sentence");
    assert_refused(read_table(*state, "label\tsentence\n1\tgo\xff\n", &n), KD_EDATA, ":2:");
}

/* --- runs ---------------------------------------------------------------------------------------
 */

/* DistilBERT's rule: which layers, and that nothing of the embedding is lost. */
static void test_student(void **state) {
    kd_encoder_config *config = load(*state, "masked.json");
    kd_encoder_run run;
    kd_bert_file *student;
    assert_ok(kd_encoder_run_look(&run, config));
    assert_ok(kd_encoder_student_create(&student, config, run.teacher, true));
    const kd_bert *s = student->model, *t = run.teacher->model;
    assert_int_equal(s->spec.layers, TINY_LAYERS / 2);
    assert_int_equal(s->spec.types, 0);
    assert_false(s->spec.pooler);
    assert_memory_equal(s->block[0].up.weight->tensor.value, t->block[0].up.weight->tensor.value,
                        32 * TINY_WIDTH * sizeof(kd_real));
    assert_memory_equal(s->block[1].up.weight->tensor.value,
                        t->block[TINY_LAYERS - 1].up.weight->tensor.value,
                        32 * TINY_WIDTH * sizeof(kd_real));
    for (int i = 0; i < TINY_CONTEXT * TINY_WIDTH; i++)
        assert_true(s->position.table->tensor.value[i] ==
                    t->position.table->tensor.value[i] +
                        t->type.table->tensor.value[i % TINY_WIDTH]);
    kd_bert_file_free(student);
    kd_encoder_run_close(&run);
    kd_encoder_config_free(config);
}

static kd_encoder_score masked_score(const kd_encoder_run *run, const char *name) {
    char path[KD_PATH_MAX];
    kd_bert_file *file;
    kd_encoder_score score;
    kd_tape *tape;
    assert_ok(kd_path_join(path, run->folder, name));
    assert_ok(kd_tape_create(&tape, 0));
    assert_ok(kd_bert_file_open(&file, path, true));
    assert_ok(kd_encoder_score_masked(&score, file->model, run->test.masked, tape));
    kd_bert_file_free(file);
    kd_tape_free(tape);
    return score;
}

/* It learns, and all its files can be read and are nearly as good. */
static void test_masked_run(void **state) {
    write_config(*state, "masked.json", MASKED,
                 ", \"quantize\": [{\"format\": \"q8_0\"}, {\"format\": \"q4_0\"}]");
    kd_encoder_config *config = load(*state, "masked.json");
    kd_encoder_run run;
    kd_tape *tape;
    kd_bert_file *initial;
    kd_encoder_score before, after;
    char path[KD_PATH_MAX];
    open_run(&run, *state, config, "runs");
    assert_ok(kd_encoder_run_pipeline(&run));
    assert_ok(kd_path_join(path, run.folder, "report.json"));
    assert_true(kd_file_exists(path));
    assert_ok(kd_tape_create(&tape, 0));
    assert_ok(kd_encoder_student_create(&initial, config, run.teacher, true));
    assert_ok(kd_encoder_score_masked(&before, initial->model, run.test.masked, tape));
    assert_ok(kd_encoder_score_masked(&after, run.student->model, run.test.masked, tape));
    assert_true(after.nats < before.nats - 0.5 * (double)after.samples);
    static const char *const files[] = {"student.gguf", "student", "student.q8_0.gguf",
                                        "student.q4_0.gguf"};
    for (int i = 0; i < 4; i++) {
        const kd_encoder_score score = masked_score(&run, files[i]);
        assert_int_equal(score.samples, after.samples);
        assert_true(fabs(score.nats - after.nats) < (i < 3 ? 0.02 : 0.5) * after.nats);
    }
    kd_bert_file_free(initial);
    kd_tape_free(tape);
    kd_encoder_run_close(&run);
    kd_encoder_config_free(config);
}

/* With KL at masked tokens only, in one pass, and with every part alone. */
static void test_losses(void **state) {
    static const char *const loss[] = {", \"loss\": {}", ", \"loss\": {\"masked_only\": true}",
                                       ", \"loss\": {\"kl\": 0, \"cosine\": 0}",
                                       ", \"loss\": {\"hard\": 0}", ", \"loss\": {\"kl\": 0}"};
    enum { WAYS = sizeof loss / sizeof *loss };
    kd_real *value[WAYS];
    size_t size = 0;
    for (int i = 0; i < WAYS; i++) {
        char runs[16];
        snprintf(runs, sizeof runs, "runs%d", i);
        write_config(*state, "masked.json", MASKED, loss[i]);
        value[i] = trained(*state, "masked.json", runs, &size);
        for (int k = 0; k < i; k++)
            assert_true(memcmp(value[i], value[k], size * sizeof **value) != 0);
    }
    for (int i = 0; i < WAYS; i++) free(value[i]);
}

/* Stopped after an update and gone on with: the bits of never having stopped. */
static void check_resumes(test_folder *folder, const char *name) {
    size_t size;
    kd_real *whole = trained(folder, name, "whole", &size);
    kd_encoder_config *config = load(folder, name);
    kd_encoder_run run;
    for (int i = 0; i < 3; i++) {
        open_run(&run, folder, config, "parts");
        kd_train_request_stop();
        assert_int_equal(kd_encoder_run_train(&run), KD_EAGAIN);
        kd_encoder_run_close(&run);
    }
    kd_encoder_config_free(config);
    kd_real *parts = trained(folder, name, "parts", &size);
    assert_memory_equal(whole, parts, size * sizeof *whole);
    free(whole);
    free(parts);
}

static void test_resumes(void **state) {
    check_resumes(*state, "masked.json");
    check_resumes(*state, "told.json");
}

/* A model learns to tell sentences, and teaches a smaller one that begins elsewhere. */
static void test_sentences_run(void **state) {
    kd_encoder_config *config = load(*state, "told.json");
    kd_encoder_run run;
    kd_tape *tape;
    kd_encoder_score score;
    assert_ok(kd_tape_create(&tape, 0));
    open_run(&run, *state, config, "runs");
    assert_ok(kd_encoder_run_pipeline(&run));
    assert_ok(kd_encoder_score_sentences(&score, run.student->model, &run.test.sentences,
                                         TINY_CONTEXT, tape));
    assert_int_equal(score.samples, 24);
    assert_int_equal(score.class_samples[0], 12);
    assert_int_equal(score.class_right[0] + score.class_right[1], score.right);
    assert_true(score.right >= 22);
    kd_encoder_run_close(&run);
    kd_encoder_config_free(config);
    static const char *const sets[] = {"name=\"taught\"", "model={\"type\":\"distilbert\"}",
                                       "teacher={\"weights\":\"runs/told/student\"}",
                                       "quantize={\"format\":\"q8_0\"}"};
    assert_ok(kd_encoder_config_load(&config, test_path(*state, "told.json"), 4, sets));
    assert_true(config->loss.kl == 1);
    open_run(&run, *state, config, "runs");
    assert_int_equal(run.teacher->model->spec.classes, 2);
    assert_ok(kd_encoder_run_pipeline(&run));
    assert_int_equal(run.student->model->spec.layers, TINY_LAYERS / 2);
    assert_ok(kd_encoder_score_sentences(&score, run.student->model, &run.test.sentences,
                                         TINY_CONTEXT, tape));
    assert_true(score.right >= 22);
    kd_encoder_run_close(&run);
    kd_encoder_config_free(config);
    kd_tape_free(tape);
}

/* --- refusals -----------------------------------------------------------------------------------
 */

/* Two settings of each kind of run over two seeds: the figures are the runs' own. */
static void test_sweep(void **state) {
    static const char *const base[] = {"masked", "told"};
    static const char form[] = "{\"base\": \"%s.json\", \"seeds\": [1, 2], \"variants\": "
                               "[{\"name\": \"a\", \"set\": {%s}}, {\"name\": \"b\", \"set\": "
                               "{\"train.epochs\": 1}}]}";
    test_folder *folder = *state;
    char file[KD_PATH_MAX], where[KD_PATH_MAX], text[512], name[64];
    snprintf(file, sizeof file, "%s", test_path(folder, "sweep.json"));
    snprintf(where, sizeof where, "%s", test_path(folder, "runs"));
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, form, base[i], "\"data.test\": null");
        test_write(file, text, strlen(text));
        assert_int_equal(DISTILL("sweep", file, "--runs", where), -KD_ECONFIG);
        assert_says(complained, "data.test names no texts");
        snprintf(text, sizeof text, form, base[i], "\"train.learning_rate\": 0.002");
        test_write(file, text, strlen(text));
        if (DISTILL("sweep", file, "--runs", where, "--dry-run") != 0) fail_msg("%s", complained);
        assert_says(printed, "b-s2");
        if (DISTILL("sweep", file, "--runs", where, "--fresh") != 0) fail_msg("%s", complained);
        assert_says(printed, "accuracy");
        for (int run = 0; run < 4; run++) {
            snprintf(name, sizeof name, "runs/sweep/%c-s%d/report.json", 'a' + run / 2,
                     1 + run % 2);
            assert_true(kd_file_exists(test_path(folder, name)));
        }
        if (DISTILL("sweep", file, "--runs", where) != 0) fail_msg("%s", complained);
        assert_says(complained, "sweep: 4 of 4 runs are finished");
    }
}

static void refuse_config(test_folder *folder, const char *name, const char *set) {
    kd_encoder_config *config;
    assert_int_equal(kd_encoder_config_load(&config, test_path(folder, name), 1, &set), KD_ECONFIG);
}

static void refuse_run(test_folder *folder, const char *name, const char *set, int status,
                       const char *said) {
    kd_encoder_config *config;
    kd_encoder_run run;
    char runs[KD_PATH_MAX];
    assert_ok(kd_encoder_config_load(&config, test_path(folder, name), 1, &set));
    snprintf(runs, sizeof runs, "%s", test_path(folder, "refused"));
    assert_refused(kd_encoder_run_open(&run, config, runs, false), status, said);
    assert_false(kd_file_exists(runs)); /* nothing was made */
    kd_encoder_run_close(&run);
    kd_encoder_config_free(config);
}

static void test_refused(void **state) {
    refuse_config(*state, "masked.json", "data.classes=[\"a\",\"b\"]");
    refuse_config(*state, "masked.json", "loss={\"kl\":0,\"hard\":0}");
    refuse_config(*state, "masked.json", "model.keep=[2,1]");
    refuse_config(*state, "masked.json", "model={\"type\":\"bert\",\"keep\":[1],\"layers\":2}");
    refuse_config(*state, "told.json", "loss.cosine=1");
    refuse_config(*state, "told.json", "loss.kl=1");
    refuse_config(*state, "told.json", "model={\"type\":\"bert\"}");
    refuse_config(*state, "told.json", "data.classes=[\"one\"]");
    refuse_run(*state, "masked.json", "data.context=17", KD_ECONFIG, "16 positions");
    refuse_run(*state, "masked.json", "model.layers=5", KD_ECONFIG, "has only 4");
    refuse_run(*state, "masked.json", "model.keep=[0,4]", KD_ECONFIG, "0 to 3");
    refuse_run(*state, "masked.json", "teacher.weights=\"nowhere\"", KD_ENOINPUT, "missing");
    refuse_run(*state, "told.json", "teacher={\"weights\":\"teacher\"}", KD_ECONFIG,
               "tells 0 classes");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_contexts, setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_tables, setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_student, setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_masked_run, setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_losses, setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_resumes, setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_sentences_run, setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_sweep, setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
