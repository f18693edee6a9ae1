#include "tasks/speech/speech_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/owner.h"
#include "base/ranks.h"
#include "base/size.h"
#include "distill/checkpoint.h"
#include "distill/results.h"
#include "files/whisper_suppressed.h"
#include "tasks/speech/recordings.h"
#include "tasks/speech/speech_look.h"
#include "tasks/speech/speech_task.h"
#include "tasks/speech/speech_teach.h"

/* --- opening -------------------------------------------------------------------------------- */

/* Everything that is missing is named at once, and where it comes from. */
static int check_inputs(const kd_speech_config *config) {
    const kd_speech_data *data = &config->data;
    const struct {
        const kd_manifests *list;
        const char *what;
    } lists[] = {{&data->train, "the list of training recordings"},
                 {&data->validation, "the list of validation recordings"},
                 {&data->test, "the list of test recordings"}};
    const int teacher = kd_results_missing(config->teacher.weights, "the teacher");
    int recordings = 0;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (int k = 0; k < lists[i].list->count; k++)
            recordings += kd_results_missing(lists[i].list->path[k], lists[i].what);
    int others = 0;
    for (int i = 0; i < config->quantize_count; i++)
        if (config->quantize[i].imatrix[0])
            others += kd_results_missing(config->quantize[i].imatrix, "the importance matrix");
    if (teacher + recordings + others == 0) return KD_OK;
    if (teacher) kd_results_say_source("the teacher comes from", config->teacher.source);
    if (recordings) kd_results_say_source("the recordings come from", data->source);
    return kd_fail(KD_ENOINPUT, "%s: %d of the files it names %s missing", config->path,
                   teacher + recordings + others, teacher + recordings + others > 1 ? "are" : "is");
}

static int read_list(kd_speech_list *out, const char *name, const kd_manifests *manifests) {
    out->name = name;
    out->manifests = manifests;
    int status = KD_OK;
    for (int i = 0; i < manifests->count && status == KD_OK; i++)
        status = kd_utterances_read(&out->utterances, manifests->path[i]);
    return status;
}

/* What --fresh removes. */
static const char *const RESULTS[] = {"*.last.h5", "*.best.h5", "student*.bin", "student*.gguf",
                                      "log.jsonl", "report.*",  "pareto.svg",   "config.json",
                                      "budget.*",  NULL};

int kd_speech_run_look(kd_speech_run *run, const kd_speech_config *config) {
    *run = (kd_speech_run){.config = config, .lock = -1};
    int status = kd_precision_parse(&run->precision, config->precision);
    if (status == KD_OK) status = check_inputs(config);
    if (status == KD_OK) status = read_list(&run->train, "train", &config->data.train);
    if (status == KD_OK)
        status = read_list(&run->validation, "validation", &config->data.validation);
    return status < 0 ? status : read_list(&run->test, "test", &config->data.test);
}

/* The teacher must not be among what the run writes. */
static int check_own_inputs(const kd_speech_run *run) {
    static const char *const written[] = {"student*", NULL};
    return kd_results_check_input(run->config->teacher.weights, run->folder, written);
}

/* Labels that runs share lie by what was heard, who heard it and how. */
static int labels_path(const kd_speech_run *run, const kd_speech_list *list,
                       const kd_label_options *how, char out[KD_PATH_MAX]) {
    char name[64];
    const kd_hash part[] = {run->teacher_hash, list->content,
                            kd_hash_bytes(&how->language, sizeof how->language),
                            kd_hash_bytes(&how->precision, sizeof how->precision)};
    const int parts = how->precision == KD_PRECISION_FLOAT32 ? 3 : 4;
    snprintf(name, sizeof name, "labels/%s", list->name);
    if (!run->shared[0]) return kd_path_join(out, run->folder, name);
    snprintf(name, sizeof name, "labels/%s-%.12s", list->name, kd_hash_join(part, parts).hex);
    return kd_path_join(out, run->shared, name);
}

/* That labels that are there are this teacher's; with `fresh` others are removed. */
static int check_labels(const kd_speech_run *run, const kd_speech_list *list, bool fresh) {
    static const char *const shards[] = {"labels-*.jsonl", NULL};
    char folder[KD_PATH_MAX];
    kd_label_options options;
    if (list->utterances.count == 0) return KD_OK;
    int status = kd_speech_run_language(run, &options);
    if (status == KD_OK) status = labels_path(run, list, &options, folder);
    if (status < 0) return status;
    status = kd_label_check(folder, run->teacher, run->teacher_hash, &options);
    return status == KD_EDATA && fresh ? kd_file_remove_matching(folder, shards) : status;
}

/* What is there, and whether it is this run's. Where something was learnt already, its windows are
 * known too, or it was learnt from other recordings. Called by all ranks. */
static int compare(kd_speech_run *run) {
    bool results = false;
    int status = check_labels(run, &run->validation, false);
    if (status == KD_OK) status = check_labels(run, &run->train, false);
    if (status == KD_OK) status = kd_speech_compare(run);
    if (status == KD_OK) status = kd_speech_has_results(&results, run);
    status = kd_ranks_worst(status);
    kd_ranks_share(&results, sizeof results);
    if (status < 0 || !results) return status;
    status = kd_speech_run_label_known(run);
    return status < 0 ? status : kd_speech_compare(run);
}

/* Labels are kept, when they are this teacher's. */
static int remove_labels(const kd_speech_run *run) {
    int status = check_labels(run, &run->validation, true);
    return status < 0 ? status : check_labels(run, &run->train, true);
}

/* What is heard, said and by whom in a list: two lists of the same content are one. */
static int hash_list(kd_speech_list *list) {
    const kd_utterances *all = &list->utterances;
    kd_recordings recordings;
    kd_hash *part = malloc(kd_array_bytes(3 * all->count + 1, sizeof *part));
    int n = 0, status = kd_recordings_look(&recordings, all);
    if (!part && status == KD_OK) status = kd_fail_memory((size_t)all->count, "recordings");
    for (int64_t i = 0; i < all->count && status == KD_OK; i++) {
        part[n++] = recordings.item[i].sound;
        part[n++] = kd_hash_bytes(all->item[i].text, strlen(all->item[i].text));
        part[n++] = kd_hash_bytes(all->item[i].speaker, strlen(all->item[i].speaker));
    }
    if (status == KD_OK) list->content = kd_hash_join(part, n);
    kd_recordings_clear(&recordings);
    free(part);
    return status;
}

/* The lists' content; of lists that another run has, what that knows. */
static int hash_lists(kd_speech_run *run, const kd_speech_run *like) {
    kd_speech_list *mine[] = {&run->train, &run->validation, &run->test};
    const kd_speech_list *theirs[3] = {NULL};
    if (like) theirs[0] = &like->train, theirs[1] = &like->validation, theirs[2] = &like->test;
    int status = KD_OK;
    for (int i = 0; i < 3 && status == KD_OK; i++) {
        if (like && memcmp(mine[i]->manifests, theirs[i]->manifests, sizeof(kd_manifests)) == 0)
            mine[i]->content = theirs[i]->content;
        else
            status = hash_list(mine[i]);
    }
    return status;
}

/* The student's sizes are those of a model without values. */
static int check_budgets(const kd_speech_config *config, const kd_whisper_spec *teacher) {
    kd_whisper_spec spec = *teacher;
    if (config->encoder_layers > 0) spec.audio_layers = config->encoder_layers;
    if (config->decoder_layers > 0) spec.text_layers = config->decoder_layers;
    kd_whisper *model;
    int status = kd_whisper_create(&model, &spec, KD_WHISPER_TRAIN_NOTHING);
    if (status < 0) return status;
    const kd_quantizable sizes = {.params = model->params, .rule = kd_whisper_format_of};
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++)
        if (config->quantize[i].budget.asked)
            status = kd_budget_check(&sizes, &config->quantize[i].budget);
    kd_whisper_free(model);
    return status;
}

/* All that is read before anything is compared; the teacher's weights, too. */
static int read_inputs(kd_speech_run *run, const char *runs) {
    const kd_speech_config *config = run->config;
    kd_label_options options;
    int status = kd_path_join(run->folder, runs, config->name);
    if (status == KD_OK) status = check_own_inputs(run);
    if (status == KD_OK) status = kd_speech_run_need_teacher(run);
    if (status == KD_OK) status = kd_speech_run_language(run, &options);
    if (status == KD_OK)
        status = kd_student_check(run->teacher, config->encoder_layers, config->decoder_layers);
    return status == KD_OK ? check_budgets(config, &run->teacher->model->spec) : status;
}

static int look_at_folder(kd_speech_run *run, bool fresh) {
    int status = kd_ranks_worst(kd_folder_own_existing(&run->lock, run->folder));
    return status < 0 || fresh ? status : compare(run);
}

static int begin(kd_speech_run *run, bool fresh) {
    int status = kd_results_take_folder(&run->lock, run->folder, fresh, RESULTS);
    if (status == KD_OK && fresh) status = remove_labels(run);
    return status < 0 ? status : kd_results_write_config(run->folder, run->config->resolved);
}

int kd_speech_run_open_part(kd_speech_run *run, const kd_speech_config *config,
                            const kd_part_options *how, kd_part_depth depth) {
    int status = kd_speech_run_look(run, config);
    run->quiet = true;
    snprintf(run->shared, sizeof run->shared, "%s", how->runs);
    if (status == KD_OK && run->test.utterances.count == 0)
        status = kd_fail(KD_ECONFIG,
                         "%s: data.test names no recordings, on which the runs of a sweep are "
                         "compared",
                         config->path);
    if (status == KD_OK) status = hash_lists(run, how->like);
    if (status == KD_OK) status = read_inputs(run, how->runs);
    if (status == KD_OK && depth != KD_PART_INPUTS) status = look_at_folder(run, how->fresh);
    return status < 0 || depth != KD_PART_BEGIN ? status : begin(run, how->fresh);
}

typedef struct {
    kd_speech_run *run;
    bool fresh;
} beginning;

static int begin_here(void *context) {
    const beginning *b = context;
    return begin(b->run, b->fresh);
}

/* All ranks read at the same time, and what is theirs alone; then the first changes the folder. */
int kd_speech_run_open(kd_speech_run *run, const kd_speech_config *config, const char *runs,
                       bool fresh) {
    int status = kd_speech_run_look(run, config);
    if (status == KD_OK) status = read_inputs(run, runs);
    status = kd_ranks_worst(status);
    if (status == KD_OK) status = look_at_folder(run, fresh);
    return status < 0 ? status : kd_ranks_take_turns(begin_here, &(beginning){run, fresh});
}

static void clear_list(kd_speech_list *list) {
    kd_encoder_cache_close(list->encoder_cache);
    kd_windows_free(list->windows);
    kd_labels_clear(&list->labels);
    kd_utterances_free(&list->utterances);
}

void kd_speech_run_close(kd_speech_run *run) {
    for (int i = 0; i < KD_SPEECH_QUANTIZE_MAX; i++) kd_budget_free(run->budget[i]);
    clear_list(&run->train);
    clear_list(&run->validation);
    clear_list(&run->test);
    kd_store_free(run->store);
    kd_whisper_file_free(run->student);
    kd_whisper_file_free(run->teacher);
    kd_folder_leave(&run->lock);
}

/* --- what stages need ------------------------------------------------------------------------ */

/* A teacher is its weights, and what its files state of the words it says. */
static int add_words(kd_hash *hash, const kd_whisper_file *teacher) {
    kd_whisper_words words;
    int status = kd_whisper_words_stated(&words, teacher);
    const kd_hash part[2] = {*hash, words.hash};
    if (status == KD_OK && (words.suppress || words.begin || words.length))
        *hash = kd_hash_join(part, 2);
    return status;
}

int kd_speech_run_need_teacher(kd_speech_run *run) {
    if (run->teacher) return KD_OK;
    int status =
        kd_whisper_file_open(&run->teacher, run->config->teacher.weights, KD_WHISPER_ONLY_READ);
    if (status == KD_OK) run->tokens_hash = kd_tokenizer_hash(run->teacher->tokenizer);
    if (status == KD_OK) status = kd_params_hash(&run->teacher_hash, run->teacher->model->params);
    return status == KD_OK ? add_words(&run->teacher_hash, run->teacher) : status;
}

static int need_student(kd_speech_run *run) {
    if (run->student) return KD_OK;
    int status = kd_speech_run_need_teacher(run);
    if (status < 0) return status;
    return kd_student_create(&run->student, run->teacher, run->config->encoder_layers,
                             run->config->decoder_layers, KD_WHISPER_TRAIN_DECODER);
}

/* The teacher's memory, while a student learns without it. */
static void release_teacher(kd_speech_run *run) {
    kd_whisper_file_free(run->teacher);
    run->teacher = NULL;
}

/* Where lies what `key` names: what an encoder made of a list's windows. Other windows, as another
 * threshold makes them, lie elsewhere. */
static int encoder_cache_path(const kd_speech_run *run, const kd_speech_list *list,
                              const kd_hash *key, char out[KD_PATH_MAX]) {
    char name[64];
    snprintf(name, sizeof name, "encoder_cache/%s-%.12s", list->name, key->hex);
    return kd_path_join(out, run->shared[0] ? run->shared : run->folder, name);
}

static bool keeps_encoder_cache(const kd_speech_run *run) {
    const kd_cache_choice choice = run->config->data.encoder_cache;
    if (choice != KD_CACHE_AUTO) return choice == KD_CACHE_ON;
    const kd_whisper_spec *spec = &run->student->model->spec;
    double bytes = (double)kd_encoder_cache_bytes(run->train.windows, spec);
    if (run->validation.windows)
        bytes += (double)kd_encoder_cache_bytes(run->validation.windows, spec);
    bool fits = bytes < kd_file_free_bytes(run->folder) / 2;
    kd_ranks_share(&fits, sizeof fits); /* disks may differ */
    return fits;
}

/* Names the weights of a model's encoder, as it computes with them now. */
static int encoder_hash(kd_hash *out, const kd_whisper *model) {
    const kd_params *params = model->params;
    kd_hash *part = malloc((size_t)params->count * sizeof *part);
    int n = 0;
    if (!part) return kd_fail_memory((size_t)params->count * sizeof *part, "hashes");
    for (int i = 0; i < params->count; i++) {
        const kd_tensor *t = &params->list[i]->tensor;
        if (strncmp(params->list[i]->name, "encoder.", 8) == 0)
            part[n++] = kd_hash_bytes(t->value, (size_t)t->size * sizeof *t->value);
    }
    *out = kd_hash_join(part, n);
    free(part);
    return KD_OK;
}

/* Writes down what a cache was made from, for people. */
static int describe_cache(const char *folder, const char *origin) {
    char path[KD_PATH_MAX];
    int status = kd_path_join(path, folder, "origin.json");
    if (status < 0 || kd_file_exists(path)) return status;
    return kd_file_replace(path, origin, strlen(origin));
}

/* What the encoder of `model`, as it computes now, hears in a list's windows; *out stays NULL when
 * there are none. */
static int fill_cache(const kd_speech_run *run, const kd_speech_list *list, const kd_whisper *model,
                      kd_encoder_cache **out) {
    char path[KD_PATH_MAX], *text = NULL;
    kd_hash encoder, key;
    kd_origin origin = {0};
    if (!list->windows) return KD_OK;
    const bool kept = keeps_encoder_cache(run);
    int status = encoder_hash(&encoder, model);
    if (status < 0) return status;
    kd_speech_origin_encoded(&origin, list, &encoder, run->precision);
    status = kd_origin_text(&text, &origin);
    if (status == KD_OK) key = kd_origin_key(text);
    if (status == KD_OK) status = encoder_cache_path(run, list, &key, path);
    if (status == KD_OK)
        status = kd_encoder_cache_open(out, kept ? path : NULL, list->windows, model,
                                       run->precision, key);
    if (status == KD_OK && kept) status = describe_cache(path, text);
    kd_origin_clear(&origin);
    free(text);
    status = kd_ranks_worst(status);
    return status < 0 || !kept ? status : kd_encoder_cache_fill(*out);
}

/* --- label ------------------------------------------------------------------------------------ */

int kd_speech_run_language(const kd_speech_run *run, kd_label_options *out) {
    const kd_tokenizer *tokenizer = run->teacher->tokenizer;
    const kd_token_ids *ids = kd_tokenizer_ids(tokenizer);
    const char *language = run->config->data.language;
    *out = (kd_label_options){.precision = run->precision, .language = -1, .task = -1};
    if (!ids->multilingual && strcasecmp(language, "en") && strcasecmp(language, "english"))
        return kd_fail(KD_ECONFIG, "data.language: the teacher hears English alone, not \"%s\"",
                       language);
    if (!ids->multilingual) return KD_OK;
    out->language = kd_tokenizer_language(tokenizer, language);
    out->task = ids->transcribe;
    if (out->language >= 0) return KD_OK;
    return kd_fail(KD_ECONFIG, "data.language: the teacher knows no language \"%s\"", language);
}

static int make_windows(kd_speech_run *run, kd_speech_list *list, const kd_label_options *said) {
    const kd_window_options options = {.join = run->config->data.concatenate,
                                       .seed = run->config->seed,
                                       .wer_below = run->config->teacher.wer,
                                       .language = said->language,
                                       .task = said->task};
    return kd_windows_make(&list->windows, &list->labels, run->teacher->tokenizer,
                           &run->teacher->model->spec, &options);
}

/* Hours of sound, before and after the threshold. */
static void report_kept(const kd_speech_run *run, const kd_speech_list *list,
                        const char *rate_name) {
    double all = 0, kept = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < list->labels.count; i++) {
        const kd_label *label = &list->labels.item[i];
        const bool good = kd_label_kept(label, run->config->teacher.wer);
        all += label->seconds;
        kept += good ? label->seconds : 0;
        count += good;
    }
    kd_log("%s: %lld of %lld recordings (%.2f of %.2f hours) have a label with a %s below %g: %lld "
           "windows",
           list->name, (long long)count, (long long)list->labels.count, kept / 3600, all / 3600,
           rate_name, run->config->teacher.wer, (long long)list->windows->count);
}

static int label_list(kd_speech_run *run, kd_speech_list *list, bool known_only) {
    char folder[KD_PATH_MAX];
    kd_label_options options;
    if (list->utterances.count == 0) return KD_OK;
    int status = kd_speech_run_language(run, &options);
    options.known_only = known_only;
    if (status == KD_OK) status = labels_path(run, list, &options, folder);
    if (status == KD_OK)
        status = kd_label_run(&list->labels, folder, &list->utterances, run->teacher,
                              run->teacher_hash, &options);
    if (status == KD_OK) status = make_windows(run, list, &options);
    if (status == KD_OK)
        report_kept(run, list, kd_label_rate_name(run->teacher->tokenizer, options.language));
    return status;
}

static int label(kd_speech_run *run, bool known_only) {
    int status = label_list(run, &run->validation, known_only);
    return status < 0 ? status : label_list(run, &run->train, known_only);
}

int kd_speech_run_label(kd_speech_run *run) {
    if (run->train.windows) return KD_OK;
    int status = kd_speech_run_need_teacher(run);
    return status < 0 ? status : label(run, false);
}

int kd_speech_run_label_known(kd_speech_run *run) {
    return label(run, true);
}

/* --- teach ------------------------------------------------------------------------------------ */

static int make_store(kd_speech_run *run) {
    char path[KD_PATH_MAX];
    kd_origin origin;
    const bool shared =
        run->student->model->spec.audio_layers == run->teacher->model->spec.audio_layers;
    kd_encoder_cache *own = NULL; /* of a teacher with more layers: each window is encoded once */
    kd_speech_origin_store(&origin, run);
    int status = kd_speech_store_path(run, path);
    if (status == KD_OK && !shared)
        status = kd_encoder_cache_open(&own, NULL, run->train.windows, run->teacher->model,
                                       run->precision, run->teacher_hash);
    const kd_speech_teaching teaching = {.teacher = run->teacher,
                                         .hash = run->teacher_hash,
                                         .windows = run->train.windows,
                                         .encoder_cache = shared ? run->train.encoder_cache : own,
                                         .how = &run->config->teacher,
                                         .temperature = run->config->loss.temperature,
                                         .precision = run->precision,
                                         .origin = &origin,
                                         .description = run->config->teacher.weights};
    if (status == KD_OK) status = kd_speech_teach(&run->store, &run->stored, path, &teaching);
    kd_origin_clear(&origin);
    kd_encoder_cache_close(own);
    return status;
}

int kd_speech_run_teach(kd_speech_run *run) {
    if (run->store) return KD_OK;
    int status = kd_speech_run_label(run);
    if (status == KD_OK) status = kd_speech_compare(run); /* now that the windows are known */
    if (status == KD_OK) status = need_student(run);
    if (status == KD_OK)
        status =
            fill_cache(run, &run->validation, run->student->model, &run->validation.encoder_cache);
    if (status == KD_OK)
        status = fill_cache(run, &run->train, run->student->model, &run->train.encoder_cache);
    if (status == KD_OK) status = make_store(run);
    return status;
}

/* --- train ------------------------------------------------------------------------------------ */

/* Trains `student` in the stage "train" or, with `how`, in that of its own, computing then with the
 * weights that `quantized` rounds. */
static int train(kd_speech_run *run, kd_whisper *student, const kd_speech_quantize *how,
                 kd_quantized *quantized, kd_encoder_cache *encoder_cache,
                 kd_encoder_cache *validation_cache) {
    const char *stage = how ? how->stage : "train";
    kd_speech_job job = {.loop = {.stage = stage,
                                  .folder = run->folder,
                                  .spec = how ? &how->train : &run->config->train,
                                  .precision = run->precision,
                                  .seed = run->config->seed,
                                  .config_json = run->config->resolved},
                         .loss = &run->config->loss,
                         .train = run->train.windows,
                         .store = run->store,
                         .encoder_cache = encoder_cache,
                         .validation = run->validation.windows,
                         .validation_cache = validation_cache,
                         .quantized = quantized};
    kd_origin origin;
    kd_speech_origin_stage(&origin, run, how);
    job.loop.origin = &origin;
    int status = kd_origin_hash(&job.loop.key, &origin);
    if (status == KD_OK) status = kd_speech_train(student, &job);
    kd_origin_clear(&origin);
    return status;
}

int kd_speech_run_train(kd_speech_run *run) {
    if (run->trained) return KD_OK;
    int status = kd_speech_run_teach(run);
    if (status < 0) return status;
    release_teacher(run);
    status = train(run, run->student->model, NULL, NULL, run->train.encoder_cache,
                   run->validation.encoder_cache);
    run->trained = status == KD_OK;
    return status;
}

/* The encoder, rounded too, hears everything anew. */
int kd_speech_run_train_rounded(kd_speech_run *run, kd_whisper *copy, const kd_speech_quantize *how,
                                kd_quantized *quantized) {
    kd_encoder_cache *encoder_cache = NULL, *validation_cache = NULL;
    int status = kd_quantized_round(quantized);
    if (status == KD_OK) status = fill_cache(run, &run->train, copy, &encoder_cache);
    if (status == KD_OK) status = fill_cache(run, &run->validation, copy, &validation_cache);
    if (status == KD_OK) status = train(run, copy, how, quantized, encoder_cache, validation_cache);
    kd_encoder_cache_close(encoder_cache);
    kd_encoder_cache_close(validation_cache);
    return status;
}
