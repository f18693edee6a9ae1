/* As test_given_back, of models and what is made with them. */
#include "test_data.h"

#include <omp.h>

#include "data/dataset.h"
#include "distill/optimizer.h"
#include "distill/origin.h"
#include "quant/quantizer.h"
#include "speech_tiny.h"
#include "tasks/classify/learner.h"
#include "tasks/classify/report_parts.h"
#include "tasks/speech/encoder_cache.h"
#include "tasks/speech/greedy.h"
#include "tasks/speech/label.h"

#include "given_back.h"

/* Weights are packed for products where there is memory, and used as they are where there is none.
 */
enum { UTTERANCES = 4, PACKED = 100 };

/* What the operations work with. */
static kd_whisper_file *whisper;
static kd_utterances utterances;
static kd_labels labels;
static const kd_hash HASH = {"0123456789abcdef0123456789abcdef"};
static const kd_label_options OPTIONS = {.language = -1, .task = -1};

static int open_model(const char *name) {
    kd_whisper_file *file;
    const int status = kd_whisper_file_open(&file, in(name), KD_WHISPER_TRAIN_DECODER);
    if (status == KD_OK) kd_whisper_file_free(file);
    return status;
}
static int read_bin(void) {
    return open_model("t.bin");
}
static int read_gguf(void) {
    return open_model("t.gguf");
}
static int read_folder(void) {
    return open_model("hf");
}

/* All three lists are there, in the copy or in neither. */
static int copy_generation(void) {
    static const int32_t id[] = {3, 1, 2};
    kd_whisper_generation from = {0}, copy = {0};
    int status = kd_token_list_set(&from.suppress, id, 3);
    if (status == KD_OK) status = kd_token_list_set(&from.begin_suppress, id, 2);
    if (status == KD_OK) status = kd_token_list_set(&from.languages, id, 1);
    if (status == KD_OK) status = kd_whisper_generation_copy(&copy, &from);
    kd_whisper_generation_clear(&copy);
    kd_whisper_generation_clear(&from);
    return status;
}

static int write_bin(void) {
    return kd_whisper_bin_write(in("w.bin"), whisper, &kd_format_q8_0);
}
static int write_gguf(void) {
    return kd_whisper_gguf_write(in("w.gguf"), whisper, &kd_format_q4_0);
}

/* Shorter than they should be: silence is put behind them. */
static int load_short_sounds(void) {
    kd_dataset *d;
    kd_data_spec spec = {.kind = KD_DATA_AUDIO,
                         .audio = {.sample_rate = 16000,
                                   .window = 400,
                                   .hop = 160,
                                   .mels = 8,
                                   .seconds = 0.9,
                                   .range = 80}};
    test_copy(spec.train_manifest, sizeof spec.train_manifest, in("classes.tsv"));
    const int status = kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN);
    if (status == KD_OK) kd_dataset_free(d);
    return status;
}

/* The labels are there; they are read and compared. */
static int read_labels(void) {
    kd_labels read;
    const int status = kd_label_run(&read, in("labels"), &utterances, whisper, HASH, &OPTIONS);
    kd_labels_clear(&read);
    return status;
}

static int make_windows(kd_windows **out, kd_join join) {
    const kd_window_options options = {.join = join, .wer_below = 1e9, .language = -1};
    return kd_windows_make(out, &labels, whisper->tokenizer, &whisper->model->spec, &options);
}

static int join_windows(void) {
    kd_windows *w;
    int status = make_windows(&w, KD_JOIN_FULL);
    if (status < 0) return status;
    kd_windows_free(w);
    status = make_windows(&w, KD_JOIN_VARIED);
    if (status == KD_OK) kd_windows_free(w);
    return status;
}

static int encode(void) {
    kd_windows *w;
    kd_encoder_cache *e = NULL;
    static kd_real out[50 * TINY_WIDTH];
    int status = make_windows(&w, KD_JOIN_NONE);
    if (status < 0) return status;
    status = kd_encoder_cache_open(&e, NULL, w, whisper->model, KD_PRECISION_FLOAT32, HASH);
    if (status == KD_OK) status = kd_encoder_cache_read(e, 1, out);
    kd_encoder_cache_close(e);
    kd_windows_free(w);
    return status;
}

static int decode_greedily(void) {
    kd_greedy *greedy;
    kd_greedy_text text[2];
    static kd_real mel[2 * 100 * 80];
    int status = kd_greedy_create(&greedy, whisper->model, whisper->tokenizer, -1, -1);
    if (status < 0) return status;
    status = kd_greedy_listen(greedy, mel, 2, 100);
    if (status == KD_OK) status = kd_greedy_run(greedy, text);
    kd_greedy_free(greedy);
    return status;
}

static int round_weights(void) {
    kd_quantized *quantized = NULL;
    kd_whisper_file *file;
    int status = kd_whisper_file_open(&file, in("t.bin"), KD_WHISPER_TRAIN_DECODER);
    if (status < 0) return status;
    const kd_quantizable model = {.params = file->model->params, .rule = kd_whisper_format_of};
    const kd_quantize_spec spec = {.how = &kd_quantizer_nearest, .format = &kd_format_q4_0};
    status = kd_quantized_create(&quantized, &model, &spec);
    if (status == KD_OK) status = kd_quantized_start(quantized);
    if (status == KD_OK) status = kd_quantized_round(quantized);
    kd_quantized_free(quantized);
    kd_whisper_file_free(file);
    return status;
}

static int prepare_updates(void) {
    kd_optimizer optimizer;
    kd_params *params;
    const kd_train_spec spec = {.optimizer = KD_OPTIMIZER_ADAMW, .learning_rate = 1};
    int status = kd_params_create(&params);
    if (status < 0) return status;
    if (!kd_params_add(params, "w", 1, (int64_t[]){9}, KD_INIT_ONE, 1, 1, KD_PARAM_TRAINED))
        status = KD_EINTERNAL;
    if (status == KD_OK) status = kd_params_layout(params, 1);
    if (status == KD_OK) {
        status = kd_optimizer_init(&optimizer, params, &spec);
        if (status == KD_OK) kd_optimizer_clear(&optimizer);
    }
    kd_params_free(params);
    return status;
}

static int state_origin(void) {
    kd_origin made = {0}, again = {0};
    char *text = NULL;
    kd_origin_add(&made, "seed", "%d", 3);
    kd_origin_add(&made, "data", "%s", "a");
    int status = kd_origin_text(&text, &made);
    if (status == KD_OK) status = kd_origin_parse(&again, text, "made");
    if (status == KD_OK) status = kd_origin_check("made", text, &again);
    free(text);
    kd_origin_clear(&made);
    kd_origin_clear(&again);
    return status;
}

/* A config, what was measured with two models, a log, and the pages made of them. */
static int write_report(void) {
    static const char text[] = "{\"name\": \"r\", \"data\": {\"kind\": \"idx\", \"folder\": \"m\"},"
                               " \"model\": {\"type\": \"mlp\", \"hidden\": [3]},"
                               " \"train\": {\"epochs\": 8}, \"quantize\": {}}";
    static const char name[2][KD_CLASS_NAME_MAX] = {"cat", "dog"};
    static int64_t samples[2] = {5, 7}, right[2] = {4, 6};
    kd_config *config;
    int status = kd_config_parse(&config, text, sizeof text - 1, "r.json", 0, NULL);
    if (status < 0) return status;
    kd_report report = {
        .config = config, .run_folder = folder->path, .classes = 2, .class_name = name, .count = 2};
    for (int i = 0; i < 2; i++)
        report.result[i] = (kd_result){.name = "m",
                                       .kind = "student",
                                       .classes = 2,
                                       .samples = 12,
                                       .correct = 10,
                                       .class_samples = samples,
                                       .class_correct = right,
                                       .disagreements = -1};
    strcpy(report.result[0].kind, "teacher");
    status = kd_report_write(&report);
    kd_config_free(config);
    return status;
}

/* A small network and what it answers. */
static int build_network(void) {
    static const kd_model_spec spec = {.kind = KD_MODEL_MLP, .hidden_count = 1, .hidden = {4}};
    kd_learner *learner;
    const kd_learner_spec made = {.model = &spec, .input = {2, 2, 1}, .classes = 3, .seed = 1};
    const int status = kd_learner_create(&learner, &made);
    if (status == KD_OK) kd_learner_free(learner);
    return status;
}

static const operation OPERATIONS[] = {
    {"report", write_report, NULL, 0},       {"network", build_network, NULL, 0},
    {"read .bin", read_bin, NULL, 0},        {"read GGUF", read_gguf, NULL, 0},
    {"read a folder", read_folder, NULL, 0}, {"write .bin", write_bin, NULL, 0},
    {"write GGUF", write_gguf, NULL, 0},     {"short sounds", load_short_sounds, NULL, 0},
    {"labels", read_labels, NULL, 0},        {"windows", join_windows, NULL, 0},
    {"encoder", encode, NULL, PACKED},       {"greedy", decode_greedily, NULL, PACKED},
    {"QAT", round_weights, NULL, 0},         {"optimizer", prepare_updates, NULL, 0},
    {"origin", state_origin, NULL, 0},       {"generation", copy_generation, NULL, 0}};

static void every_allocation_may_be_refused(void **state) {
    (void)state;
    refuse_every_allocation(OPERATIONS, sizeof OPERATIONS / sizeof *OPERATIONS);
}

static int prepare(void **state) {
    static const char classes[] = "k0.wav\tyes\nk1.wav\tno\nk2.wav\t3\n";
    if (test_setup(state) != 0) return -1;
    folder = *state;
    whisper = tiny_whisper_file();
    utterances = tiny_utterances(folder, UTTERANCES, UTTERANCES);
    test_write(in("classes.tsv"), classes, sizeof classes - 1);
    assert_ok(kd_whisper_bin_write(in("t.bin"), whisper, &kd_format_f16));
    assert_ok(kd_whisper_gguf_write(in("t.gguf"), whisper, &kd_format_f16));
    assert_ok(kd_whisper_folder_write(in("hf"), whisper, &kd_format_f16));
    return kd_label_run(&labels, in("labels"), &utterances, whisper, HASH, &OPTIONS);
}

static int tidy_up(void **state) {
    kd_labels_clear(&labels);
    kd_utterances_free(&utterances);
    kd_whisper_file_free(whisper);
    return test_teardown(state);
}

int main(void) {
    omp_set_num_threads(1); /* a team of threads takes and gives back when it likes */
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_be_refused)};
    return cmocka_run_group_tests(tests, prepare, tidy_up);
}
