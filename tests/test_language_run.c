/* A run of a language model, from texts to files. */
#include "language_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>

#include "distill/trainer.h"
#include "files/gguf.h"
#include "run_cli.h"
#include "tasks/language/score.h"
#include "tasks/language/student.h"

static kd_language_config *load(test_folder *folder) {
    kd_language_config *config;
    assert_ok(kd_language_config_load(&config, test_path(folder, "tiny.json"), 0, NULL));
    return config;
}

static void open_run(kd_language_run *run, test_folder *folder, const kd_language_config *config,
                     const char *runs) {
    char path[KD_PATH_MAX];
    snprintf(path, sizeof path, "%s", test_path(folder, runs));
    assert_ok(kd_language_run_open(run, config, path, false));
}

/* The student's numbers after the stage "train"; the caller frees. */
static kd_real *trained(test_folder *folder, const char *runs, size_t *size) {
    kd_language_config *config = load(folder);
    kd_language_run run;
    open_run(&run, folder, config, runs);
    assert_ok(kd_language_run_train(&run));
    const kd_params *params = run.student->model->params;
    *size = (size_t)params->slab_size;
    kd_real *value = malloc(*size * sizeof *value);
    memcpy(value, params->value, *size * sizeof *value);
    kd_language_run_close(&run);
    kd_language_config_free(config);
    return value;
}

static double distance(const kd_real *a, const kd_real *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += pow((double)a[i] - (double)b[i], 2);
    return sqrt(sum / (double)n);
}

/* The teacher beside the student, its hidden states in a store, and all of its logits but one teach
 * the same, very many draws nearly so; five of its logits something else. */
static void test_targets_agree(void **state) {
    static const char *const how[] = {"\"kind\": \"online\"",
                                      "\"kind\": \"hidden\", \"dtype\": \"float32\"",
                                      "\"kind\": \"topk\", \"dtype\": \"float32\", \"k\": 256",
                                      "\"kind\": \"topk\", \"dtype\": \"float32\", \"k\": 5",
                                      "\"kind\": \"sampled\", \"draws\": 4096",
                                      "\"kind\": \"sampled\", \"draws\": 8"};
    test_folder *folder = *state;
    kd_real *value[6];
    size_t size;
    for (int i = 0; i < 6; i++) {
        char runs[16];
        snprintf(runs, sizeof runs, "runs%d", i);
        write_config(folder, ", \"layers\": 2", how[i], "");
        value[i] = trained(folder, runs, &size);
    }
    assert_true(distance(value[0], value[1], size) < 1e-4);
    assert_true(distance(value[0], value[2], size) < 1e-3);
    assert_true(distance(value[0], value[3], size) > 1e-3);
    const double many = distance(value[0], value[4], size);
    const double few = distance(value[0], value[5], size);
    print_message("distance of 4096 draws %.2g, of 8 %.2g\n", many, few);
    assert_true(many < 0.01 && many < few / 2);
    for (int i = 0; i < 6; i++) free(value[i]);
}

/* Stopped after an epoch and gone on with: the bits of never having stopped. */
static void test_resumes(void **state) {
    test_folder *folder = *state;
    size_t size;
    kd_real *whole = trained(folder, "whole", &size);
    kd_language_config *config = load(folder);
    kd_language_run run;
    for (int i = 0; i < 3; i++) { /* a stop is carried out at the next update */
        open_run(&run, folder, config, "parts");
        kd_train_request_stop();
        assert_int_equal(kd_language_run_train(&run), KD_EAGAIN);
        kd_language_run_close(&run);
    }
    kd_language_config_free(config);
    kd_real *parts = trained(folder, "parts", &size);
    assert_memory_equal(whole, parts, size * sizeof *whole);
    free(whole);
    free(parts);
}

/* An update of one context that holds one token, which foretells nothing. */
static void test_nothing_to_foretell(void **state) {
    test_folder *folder = *state;
    kd_language_config *config;
    kd_language_run run;
    static const char *const sets[] = {"train.batch=1", "train.accumulate=1",
                                       "data.train=[\"b.txt\"]"};
    test_write(test_path(folder, "b.txt"), "sixteen letters.", TINY_CONTEXT);
    assert_ok(kd_language_config_load(&config, test_path(folder, "tiny.json"), 3, sets));
    open_run(&run, folder, config, "short");
    assert_int_equal(kd_contexts_count(run.train), 2);
    assert_ok(kd_language_run_train(&run));
    kd_language_run_close(&run);
    kd_language_config_free(config);
}

/* Blocks that are run again on the way back give the bits of those that were kept. */
static void test_recomputes(void **state) {
    test_folder *folder = *state;
    size_t size;
    kd_real *kept = trained(folder, "kept", &size);
    kd_language_config *config;
    kd_language_run run;
    assert_ok(kd_language_config_load(&config, test_path(folder, "tiny.json"), 1,
                                      (const char *const[]){"train.recompute=true"}));
    open_run(&run, folder, config, "again");
    assert_ok(kd_language_run_train(&run));
    assert_memory_equal(run.student->model->params->value, kept, size * sizeof *kept);
    kd_language_run_close(&run);
    kd_language_config_free(config);
    free(kept);
}

static double perplexity_of(const char *path, const kd_language_run *run) {
    char full[KD_PATH_MAX];
    kd_llama_file *file;
    kd_language_score score;
    kd_tape *tape;
    assert_ok(kd_path_join(full, run->folder, path));
    assert_ok(kd_tape_create(&tape, 0));
    assert_ok(kd_llama_file_open(&file, full, KD_LLAMA_FROZEN));
    assert_non_null(file->tokenizer);
    assert_int_equal(file->ends.stop[0], TINY_END);
    assert_ok(kd_language_score_of(&score, file->model, NULL, run->test, tape));
    kd_llama_file_free(file);
    kd_tape_free(tape);
    return exp(score.nats / score.targets);
}

/* The file has the formats of the choice, and says so. */
static void check_budget_file(const kd_language_run *run) {
    const kd_budget *b = run->budget[2];
    char path[KD_PATH_MAX], *text;
    kd_file_map map;
    kd_gguf *g;
    int formats = 0;
    assert_ok(kd_path_join(path, run->folder, "student.budget.gguf"));
    assert_ok(kd_gguf_read_text(&text, path, "distill.budget"));
    assert_non_null(strstr(text, "\"limit\": 12500"));
    free(text);
    assert_ok(kd_file_map_open(&map, path));
    assert_ok(kd_gguf_parse(&g, map.bytes, map.length, path));
    for (int t = 0; t < b->count; t++) formats += b->format[b->matrix[t].param] != &kd_format_f16;
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        const uint32_t type = g->tensor[i].type;
        formats -= type != kd_format_f16.ggml_type && type != kd_format_f32.ggml_type;
    }
    assert_int_equal(formats, 0);
    kd_gguf_free(g);
    kd_file_map_close(&map);
}

/* It learns, and all its files can be read and are nearly as good. */
static void test_everything(void **state) {
    test_folder *folder = *state;
    write_config(
        folder, ", \"keep\": [0, 2]", "",
        ", \"quantize\": [{\"format\": \"q8_0\"}, "
        "{\"format\": \"q4_0\", \"qat\": {\"epochs\": 1}}, "
        "{\"budget\": {\"bytes\": \"12.5 kB\", \"sensitivity\": \"measured\", \"samples\": 2}}]");
    kd_language_config *config = load(folder);
    kd_language_run run;
    char path[KD_PATH_MAX];
    open_run(&run, folder, config, "runs");
    assert_ok(kd_language_run_everything(&run));
    assert_ok(kd_path_join(path, run.folder, "report.json"));
    assert_true(kd_file_exists(path));
    kd_tape *tape;
    kd_language_score score, before;
    kd_llama_file *initial;
    assert_ok(kd_tape_create(&tape, 0));
    assert_ok(kd_language_score_of(&score, run.student->model, run.teacher->model, run.test, tape));
    assert_ok(kd_language_student_create(&initial, run.teacher, &config->model, NULL, 1,
                                         KD_LLAMA_FROZEN));
    assert_ok(kd_language_score_of(&before, initial->model, run.teacher->model, run.test, tape));
    assert_true(score.nats < before.nats);
    assert_true(score.divergence < before.divergence);
    assert_true(score.agreed > 0 && score.agreed < score.targets);
    const double own = exp(score.nats / score.targets);
    assert_true(fabs(perplexity_of("student.gguf", &run) / own - 1) < 0.01);
    assert_true(fabs(perplexity_of("student.q8_0.gguf", &run) / own - 1) < 0.02);
    assert_true(fabs(perplexity_of("student.q4_0-qat.gguf", &run) / own - 1) < 0.3);
    assert_true(fabs(perplexity_of("student.budget.gguf", &run) / own - 1) < 0.3);
    assert_true(run.budget[2]->bytes <= 12500);
    check_budget_file(&run);
    static const char *const written[] = {"report.html", "pareto.svg", "budget.budget.json",
                                          "budget.budget.svg"};
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        assert_ok(kd_path_join(path, run.folder, written[i]));
        assert_true(kd_file_exists(path));
    }
    kd_llama_file_free(initial);
    kd_tape_free(tape);
    kd_language_run_close(&run);
    open_run(&run, folder, config, "runs"); /* nothing is left to do, nothing refused */
    assert_ok(kd_language_run_export(&run));
    kd_language_run_close(&run);
    kd_language_config_free(config);
}

/* Roundings that look at texts: each writes other bytes than the nearest numbers.
 */
static void test_calibrated(void **state) {
    static const char *const file[] = {"student.q4_0.gguf", "student.q4_0-importance.gguf",
                                       "student.q4_0-gptq.gguf"};
    test_folder *folder = *state;
    char *bytes[3], path[KD_PATH_MAX];
    size_t length[3];
    kd_language_run run;
    write_config(
        folder, ", \"keep\": [0, 2]", "",
        ", \"quantize\": [{\"format\": \"q4_0\"}, "
        "{\"name\": \"q4_0-importance\", \"format\": \"q4_0\", \"rounding\": \"importance\"}, "
        "{\"name\": \"q4_0-gptq\", \"format\": \"q4_0\", \"rounding\": \"gptq\"}]");
    kd_language_config *config = load(folder);
    open_run(&run, folder, config, "runs");
    assert_ok(kd_language_run_everything(&run));
    for (int i = 0; i < 3; i++) {
        assert_ok(kd_path_join(path, run.folder, file[i]));
        assert_ok(kd_file_read(&bytes[i], &length[i], path, 1 << 24));
        const size_t data = length[0] / 2; /* stands behind what differs in the heads */
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(bytes[i] + length[i] - data, bytes[k] + length[k] - data, data);
        assert_true(perplexity_of(file[i], &run) < 300);
    }
    for (int i = 0; i < 3; i++) free(bytes[i]);
    kd_language_run_close(&run);
    kd_language_config_free(config);
}

/* The layers that a student keeps are the teacher's own. */
static void test_layers(void **state) {
    int layer[30];
    kd_language_layers(layer, 4, 30);
    assert_int_equal(layer[0], 0);
    assert_int_equal(layer[1], 9);
    assert_int_equal(layer[2], 19);
    assert_int_equal(layer[3], 29);
    kd_llama_file *teacher, *student;
    assert_ok(kd_llama_file_open(&teacher, test_path(*state, "teacher"), KD_LLAMA_FROZEN));
    const kd_language_model model = {.keep_count = 2, .keep = {1, 2}};
    assert_ok(kd_language_student_create(&student, teacher, &model, NULL, 1, KD_LLAMA_TRAIN));
    const kd_tensor *a = &student->model->block[0].up.weight->tensor;
    const kd_tensor *b = &teacher->model->block[1].up.weight->tensor;
    assert_memory_equal(a->value, b->value, (size_t)a->size * sizeof *a->value);
    assert_int_equal(student->model->params->count, 2 + 2 * 9);
    kd_llama_file_free(student);
    const kd_language_model narrow = {.start = KD_START_RANDOM, .width = 8, .heads = 1};
    assert_ok(kd_language_student_create(&student, teacher, &narrow, NULL, 1, KD_LLAMA_TRAIN));
    assert_int_equal(student->model->spec.width, 8);
    assert_int_equal(student->model->spec.layers, TINY_LAYERS);
    kd_llama_file_free(student);
    kd_llama_file_free(teacher);
}

/* What a start refuses, before it changes anything. */
static void test_refused(void **state) {
    static const struct {
        const char *model, *more, *message;
        int status;
    } bad[] = {
        {", \"layers\": 4", "", "model.layers: 4, but the teacher has only 3", KD_ECONFIG},
        {", \"keep\": [1, 3]", "", "model.keep: layer 3, but the teacher has 0 to 2", KD_ECONFIG},
        {", \"start\": \"random\", \"heads\": 3, \"key_heads\": 2", "", "must be a multiple",
         KD_ECONFIG},
        {"", ", \"quantize\": [{\"budget\": {\"bytes\": \"100\"}}]", "budget: 100 bytes",
         KD_ECONFIG},
    };
    test_folder *folder = *state;
    char runs[KD_PATH_MAX];
    snprintf(runs, sizeof runs, "%s", test_path(folder, "runs"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kd_language_run run;
        write_config(folder, bad[i].model, "", bad[i].more);
        kd_language_config *config = load(folder);
        assert_refused(kd_language_run_open(&run, config, runs, false), bad[i].status,
                       bad[i].message);
        kd_language_run_close(&run);
        kd_language_config_free(config);
        assert_false(kd_file_exists(runs));
    }
}

/* Files of tokens in the run's folder. */
static int count_texts(test_folder *folder) {
    struct dirent **entry;
    int count, texts = 0;
    assert_ok(kd_file_list_folder(&entry, &count, test_path(folder, "runs/tiny")));
    for (int i = 0; i < count; i++) {
        texts += kd_ends_with(entry[i]->d_name, ".tokens");
        free(entry[i]);
    }
    free(entry);
    return texts;
}

/* Learnt from another text, or by another teacher: refused by the name of what differs. */
static void test_another_origin(void **state) {
    test_folder *folder = *state;
    size_t size;
    char runs[KD_PATH_MAX];
    kd_language_run run;
    free(trained(folder, "runs", &size));
    snprintf(runs, sizeof runs, "%s", test_path(folder, "runs"));
    test_write(test_path(folder, "b.txt"), "something else", 14);
    kd_language_config *config = load(folder);
    assert_refused(kd_language_run_open(&run, config, runs, false), KD_EDATA, "contexts.train");
    kd_language_run_close(&run);
    assert_int_equal(count_texts(folder), 2); /* nothing of the refused start */
    assert_ok(kd_language_run_open(&run, config, runs, true));
    kd_language_run_close(&run);
    kd_language_config_free(config);
    assert_int_equal(count_texts(folder), 2); /* nothing of the first */
}

/* A file of tokens that became longer, shorter or another is made again. */
static void test_damaged_tokens_are_made_again(void **state) {
    test_folder *folder = *state;
    char path[KD_PATH_MAX] = "";
    struct dirent **entry;
    int count;
    size_t size, length;
    char *bytes, *again;
    free(trained(folder, "runs", &size));
    assert_ok(kd_file_list_folder(&entry, &count, test_path(folder, "runs/tiny")));
    for (int i = 0; i < count; i++) {
        if (kd_ends_with(entry[i]->d_name, ".tokens"))
            assert_ok(kd_path_join(path, test_path(folder, "runs/tiny"), entry[i]->d_name));
        free(entry[i]);
    }
    free(entry);
    assert_ok(kd_file_read(&bytes, &size, path, 1 << 20));
    for (int damage = 0; damage < 3; damage++) {
        kd_language_run run;
        char *changed = calloc(size + 4, 1);
        assert_non_null(changed);
        memcpy(changed, bytes, size);
        if (damage == 2) changed[size - 9] ^= 1;
        test_write(path, changed, damage == 0 ? size + 4 : damage == 1 ? size - 4 : size);
        free(changed);
        kd_language_config *config = load(folder);
        open_run(&run, folder, config, "runs");
        kd_language_run_close(&run);
        kd_language_config_free(config);
        assert_ok(kd_file_read(&again, &length, path, 1 << 20));
        assert_int_equal(length, size);
        assert_memory_equal(again, bytes, size);
        free(again);
    }
    free(bytes);
}

/* The next start takes the tokens of the first: it makes no temporary file for others. */
static void test_tokenizes_once(void **state) {
    test_folder *folder = *state;
    kd_language_config *config = load(folder);
    kd_language_run run;
    char runs[KD_PATH_MAX], nowhere[KD_PATH_MAX];
    snprintf(runs, sizeof runs, "%s", test_path(folder, "runs"));
    snprintf(nowhere, sizeof nowhere, "%s", test_path(folder, "nowhere"));
    setenv("TMPDIR", nowhere, 1);
    assert_refused(kd_language_run_open(&run, config, runs, false), KD_EIO, "temporary file");
    kd_language_run_close(&run);
    assert_false(kd_file_exists(runs));
    unsetenv("TMPDIR");
    open_run(&run, folder, config, "runs");
    const kd_hash first = kd_contexts_hash(run.train);
    kd_language_run_close(&run);
    assert_int_equal(count_texts(folder), 2); /* validation and test are the same */
    setenv("TMPDIR", nowhere, 1);
    open_run(&run, folder, config, "runs");
    unsetenv("TMPDIR");
    assert_string_equal(kd_contexts_hash(run.train).hex, first.hex);
    kd_language_run_close(&run);
    setenv("TMPDIR", nowhere, 1); /* nor does what only looks */
    assert_refused(kd_language_run_look(&run, config, NULL), KD_EIO, "temporary file");
    kd_language_run_close(&run);
    assert_ok(kd_language_run_look(&run, config, runs));
    unsetenv("TMPDIR");
    kd_language_run_close(&run);
    kd_language_config_free(config);
}

/* --- the config --------------------------------------------------------------------------------
 */

/* Loads what must be refused; → what was said. */
static const char *complaint(test_folder *folder) {
    static char said[4096];
    char file[KD_PATH_MAX];
    kd_language_config *config;
    snprintf(file, sizeof file, "%s", test_path(folder, "said"));
    const int to = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600), keep = dup(STDERR_FILENO);
    fflush(stderr);
    dup2(to, STDERR_FILENO);
    const int status = kd_language_config_load(&config, test_path(folder, "tiny.json"), 0, NULL);
    fflush(stderr);
    dup2(keep, STDERR_FILENO);
    const ssize_t length = pread(to, said, sizeof said - 1, 0);
    said[length > 0 ? length : 0] = '\0';
    close(keep);
    close(to);
    assert_int_equal(status, KD_ECONFIG);
    return said;
}

static void test_config(void **state) {
    static const struct {
        const char *model, *targets, *more, *message;
    } bad[] = {
        {", \"layers\": 2, \"keep\": [0]", "", "", "says the layers by itself"},
        {", \"keep\": [1, 1]", "", "", "expected rising numbers"},
        {", \"width\": 8", "", "", "goes with \"start\": \"random\" only"},
        {"", "\"k\": 3", "", "goes with kind \"topk\" only"},
        {"", "\"draws\": 3", "", "goes with kind \"sampled\" only"},
        {"", "", ", \"quantize\": [{\"format\": \"q8_0\"}, {\"format\": \"q8_0\"}]",
         "two files with the name \"q8_0\""},
        {"", "", ", \"quantize\": {\"format\": \"q8_0\", \"calibration_samples\": 3}",
         "that sees samples, or \"inputs\", only"},
    };
    test_folder *folder = *state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_config(folder, bad[i].model, bad[i].targets, bad[i].more);
        const char *said = complaint(folder);
        if (!strstr(said, bad[i].message)) fail_msg("'%s' should say '%s'", said, bad[i].message);
    }
    kd_language_config *config;
    write_config(folder, "", "\"kind\": \"sampled\"", "");
    for (int skewed = 0; skewed < 2; skewed++) { /* whose gradient draws would bend */
        const char *set = skewed ? "loss.divergence=\"skewed_kl\"" : "loss.hard=1";
        assert_int_equal(kd_language_config_load(&config, test_path(folder, "tiny.json"), 1, &set),
                         skewed ? KD_ECONFIG : KD_OK);
        kd_language_config_free(config);
    }
    write_config(folder, "", "", "");
    config = load(folder);
    assert_string_equal(config->name, "tiny");
    assert_int_equal(config->teacher.targets, KD_TEACHER_ONLINE);
    assert_int_equal(config->data.context, TINY_CONTEXT);
    assert_false(kd_language_has_store(config));
    kd_language_config_free(config);
}

/* distill imatrix over a text, then convert by it: by llama.cpp's names, other bytes than without.
 */
static void test_imatrix(void **state) {
    test_folder *folder = *state;
    char model[KD_PATH_MAX], text[KD_PATH_MAX], matrix[KD_PATH_MAX], out[KD_PATH_MAX], *a, *b;
    size_t length, again;
    kd_gguf *file;
    write_teacher(folder, 3);
    write_texts(folder);
    write_tokenizer(folder, "teacher");
    test_copy(model, sizeof model, test_path(folder, "teacher"));
    test_copy(text, sizeof text, test_path(folder, "a.txt"));
    test_copy(matrix, sizeof matrix, test_path(folder, "m.gguf"));
    test_copy(out, sizeof out, test_path(folder, "out.gguf"));
    if (DISTILL("imatrix", model, text, matrix) != 0) fail_msg("%s", complained);
    assert_ok(kd_gguf_open(&file, matrix));
    const kd_gguf_tensor *sums = kd_gguf_find_tensor(file, "blk.0.ffn_down.weight.in_sum2");
    assert_non_null(sums);
    assert_int_equal(sums->count, 32);
    assert_int_equal(file->tensor_count, 2 * (7 * TINY_LAYERS + 1));
    kd_gguf_free(file);
    assert_int_equal(DISTILL("convert", model, out, "--type", "q4_0"), 0);
    assert_ok(kd_file_read(&a, &length, out, 1 << 24));
    if (DISTILL("convert", model, out, "--type", "q4_0", "--imatrix", matrix) != 0)
        fail_msg("%s", complained);
    assert_ok(kd_file_read(&b, &again, out, 1 << 24));
    assert_int_equal(length, again);
    assert_memory_not_equal(a, b, length);
    free(a);
    free(b);
    assert_int_equal(DISTILL("imatrix", model, test_path(folder, "none.txt"), matrix), 66);
}

/* Folder and GGUF are told from Whisper's, described and checked. */
static void test_inspected(void **state) {
    test_folder *folder = *state;
    char model[KD_PATH_MAX], gguf[KD_PATH_MAX], weights[KD_PATH_MAX], *bytes;
    size_t length;
    test_copy(model, sizeof model, test_path(folder, "teacher"));
    test_copy(gguf, sizeof gguf, test_path(folder, "teacher.gguf"));
    test_copy(weights, sizeof weights, test_path(folder, "teacher/model.safetensors"));
    assert_int_equal(DISTILL("convert", model, gguf, "--type", "f16"), 0);
    assert_int_equal(DISTILL("inspect", model), 0);
    assert_says(printed, "teacher: llama, a language model in a Hugging Face folder");
    assert_says(printed,
                "decoder          3      12       2           1       32        32     4,836");
    assert_says(printed,
                "output                  12                                             tied");
    assert_says(printed, "words    257 tokens\n");
    assert_says(printed, "end      256 <end>\n");
    assert_int_equal(DISTILL("inspect", gguf), 0);
    assert_says(printed,
                "decoder          3      12       2           1       32        32     4,836");
    assert_says(printed, "blk.2.ffn_down.weight");
    assert_int_equal(DISTILL("verify", model, gguf), 0);
    assert_says(printed, "teacher: language model, its structure is sound and every weight finite");
    assert_says(printed, "teacher.gguf: language model, its checksum is right");
    assert_ok(kd_file_read(&bytes, &length, gguf, 1 << 24));
    bytes[length / 2] ^= 4;
    test_write(gguf, bytes, length);
    free(bytes);
    assert_int_equal(DISTILL("verify", gguf), 65);
    assert_says(complained, "checksum");
    assert_ok(kd_file_read(&bytes, &length, weights, 1 << 24));
    memcpy(bytes + length - 4, &(float){NAN}, 4);
    test_write(weights, bytes, length);
    free(bytes);
    assert_int_equal(DISTILL("verify", model), 65);
    assert_says(complained, "nan");
    assert_int_equal(unlink(test_path(folder, "teacher/tokenizer.json")), 0);
    write_teacher(folder, 3);
    assert_int_equal(DISTILL("inspect", model), 0);
    assert_says(printed, "words    257 tokens; no tokenizer\n");
}

static void replace(test_folder *folder, const char *name, const char *from, const char *to) {
    char path[KD_PATH_MAX], *bytes;
    size_t length;
    kd_text out = {0};
    test_copy(path, sizeof path, test_path(folder, name));
    assert_ok(kd_file_read(&bytes, &length, path, 1 << 20));
    const char *at = strstr(bytes, from);
    assert_non_null(at);
    kd_text_add(&out, "%.*s%s%s", (int)(at - bytes), bytes, to, at + strlen(from));
    test_write(path, out.text, out.length);
    free(bytes);
    free(out.text);
}

/* generate --chat: the prompt as a message, its answer alone is printed. */
static void test_chat(void **state) {
    static const char config[] =
        "{\"chat_template\": \"{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + "
        "m['content'] + '<|im_end|>' + '\\n'}}{% endfor %}\"}";
    test_folder *folder = *state;
    char model[KD_PATH_MAX];
    test_copy(model, sizeof model, test_path(folder, "teacher"));
    assert_int_equal(DISTILL("generate", model, "hi", "--chat"), 65);
    assert_says(complained, "teacher: it has no chat template");
    test_write(test_path(folder, "teacher/tokenizer_config.json"), config, strlen(config));
    assert_int_equal(DISTILL("generate", model, "hi", "--chat"), 65);
    assert_says(complained, "<|im_end|>, which is no token");
    replace(folder, "teacher/tokenizer.json", "<end>", "<|im_end|>");
    replace(folder, "teacher/config.json", "\"max_position_embeddings\": 32",
            "\"max_position_embeddings\": 64");
    if (DISTILL("generate", model, "hi", "--chat", "--tokens", "4") != 0)
        fail_msg("%s", complained);
    assert_says(complained, "prompt: 43 tokens"); /* <|im_end|> is one, all others are bytes */
    assert_null(strstr(printed, "hi<"));
    assert_int_equal(DISTILL("inspect", model), 0);
    assert_says(printed, "chat     ChatML\n");
}

/* --dry-run, whatever teaches: it measures a step and writes nothing. */
static void test_dry_run(void **state) {
    static const char *const how[] = {"\"kind\": \"online\"", "\"kind\": \"hidden\"",
                                      "\"kind\": \"topk\", \"k\": 5"};
    test_folder *folder = *state;
    char config[KD_PATH_MAX], runs[KD_PATH_MAX];
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    test_copy(runs, sizeof runs, test_path(folder, "runs"));
    for (int i = 0; i < 3; i++) {
        write_config(folder, ", \"layers\": 2", how[i], "");
        if (DISTILL("train", config, "--runs", runs, "--dry-run") != 0) fail_msg("%s", complained);
        assert_says(printed, "contexts of ");
        assert_int_equal(access(runs, F_OK), -1);
    }
}

/* A prompt has all of its bytes, 0 too; a bad one is named, and not the model. */
static void test_prompts(void **state) {
    test_folder *folder = *state;
    char model[KD_PATH_MAX], prompt[KD_PATH_MAX];
    test_copy(model, sizeof model, test_path(folder, "teacher"));
    test_copy(prompt, sizeof prompt, test_path(folder, "prompt"));
    test_write(prompt, "a\0b\n", 4);
    assert_non_null(freopen(prompt, "r", stdin));
    if (DISTILL("generate", model, "-", "--tokens", "1") != 0) fail_msg("%s", complained);
    assert_says(complained, "prompt: 3 tokens");
    assert_int_equal(DISTILL("generate", model, "a\xff", "--tokens", "1"), 65);
    assert_says(complained, "the prompt: ");
    assert_null(strstr(complained, "teacher"));
}

int main(void) {
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, test_teardown)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_targets_agree),
        WITH_FOLDER(test_resumes),
        WITH_FOLDER(test_recomputes),
        WITH_FOLDER(test_everything),
        WITH_FOLDER(test_layers),
        WITH_FOLDER(test_refused),
        WITH_FOLDER(test_another_origin),
        WITH_FOLDER(test_config),
        WITH_FOLDER(test_tokenizes_once),
        WITH_FOLDER(test_damaged_tokens_are_made_again),
        WITH_FOLDER(test_imatrix),
        WITH_FOLDER(test_chat),
        WITH_FOLDER(test_inspected),
        WITH_FOLDER(test_dry_run),
        WITH_FOLDER(test_calibrated),
        WITH_FOLDER(test_prompts),
        WITH_FOLDER(test_nothing_to_foretell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
