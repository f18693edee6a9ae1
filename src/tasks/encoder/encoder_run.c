#include "tasks/encoder/encoder_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/owner.h"
#include "base/ranks.h"
#include "distill/checkpoint.h"
#include "distill/results.h"
#include "tasks/encoder/student.h"

/* Masks of validation and test are the same for every run. */
static const uint64_t HELD_SEED = 0x6d61736b;

/* --- opening ------------------------------------------------------------------------------------
 */

/* Everything that is missing is named at once, and where it comes from. */
static int check_inputs(const kd_encoder_config *config) {
    const kd_encoder_data *data = &config->data;
    const struct {
        const kd_encoder_files *list;
        const char *what;
    } lists[] = {{&data->train, "a training text"},
                 {&data->validation, "a validation text"},
                 {&data->test, "a test text"}};
    const struct {
        const char *path, *what;
    } models[] = {{config->teacher.weights, "the teacher"},
                  {config->model.weights, "what the student begins as"}};
    int teacher = 0, texts = 0;
    for (int i = 0; i < 2; i++)
        if (models[i].path[0]) teacher += kd_results_missing(models[i].path, models[i].what);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (int k = 0; k < lists[i].list->count; k++)
            texts += kd_results_missing(lists[i].list->path[k], lists[i].what);
    if (teacher + texts == 0) return KD_OK;
    if (teacher) kd_results_say_source("the teacher comes from", config->teacher.source);
    if (texts) kd_results_say_source("the texts come from", data->source);
    return kd_fail(KD_ENOINPUT, "%s: %d of the files it names %s missing", config->path,
                   teacher + texts, teacher + texts > 1 ? "are" : "is");
}

static int read_model(kd_bert_file **out, kd_hash *hash, const char *path) {
    int status = kd_bert_file_open(out, path, true);
    if (status == KD_OK) status = kd_bert_file_need_tokenizer(*out, path);
    return status == KD_OK ? kd_params_hash(hash, (*out)->model->params) : status;
}

/* `file` NULL: there is none. */
static int check_context(const kd_bert_file *file, const kd_encoder_config *config,
                         const char *path) {
    const int64_t context = config->data.context;
    if (!file || context <= file->model->spec.context) return KD_OK;
    return kd_fail(KD_ECONFIG, "data.context: %lld tokens, but %s has %d positions",
                   (long long)context, path, file->model->spec.context);
}

/* That the teacher can say what it is asked. */
static int check_teacher(const kd_encoder_run *run) {
    const kd_encoder_config *config = run->config;
    const kd_bert_spec *spec = &run->teacher->model->spec;
    const char *path = config->teacher.weights;
    const bool sentences = config->data.kind == KD_ENCODER_SENTENCES;
    if (!kd_encoder_is_taught(config)) return KD_OK;
    if (sentences && spec->classes != config->data.class_count)
        return kd_fail(KD_ECONFIG, "teacher.weights: %s tells %d classes, data.classes names %d",
                       path, spec->classes, config->data.class_count);
    if (!sentences && !spec->head)
        return kd_fail(KD_ECONFIG, "teacher.weights: %s has no head for masked tokens", path);
    return KD_OK;
}

static int check_student(const kd_encoder_run *run) {
    const kd_encoder_config *config = run->config;
    kd_bert_spec student;
    int status = kd_encoder_student_spec(&student, config, &kd_encoder_run_start(run)->model->spec);
    if (status < 0 || !run->teacher) return status;
    if (config->loss.cosine > 0 && student.width != run->teacher->model->spec.width)
        return kd_fail(KD_ECONFIG, "loss.cosine: the student is %d wide, its teacher %d",
                       student.width, run->teacher->model->spec.width);
    return KD_OK;
}

/* The models of a run that has the same, until that is closed. */
static bool borrow(kd_encoder_run *run, const kd_encoder_run *like) {
    const kd_encoder_config *mine = run->config, *its = like ? like->config : NULL;
    if (!its || strcmp(mine->teacher.weights, its->teacher.weights) != 0 ||
        strcmp(mine->model.weights, its->model.weights) != 0)
        return false;
    run->teacher = like->teacher;
    run->teacher_hash = like->teacher_hash;
    run->start = like->start;
    run->start_hash = like->start_hash;
    return true;
}

static int read_models(kd_encoder_run *run, const kd_encoder_run *like) {
    const kd_encoder_config *config = run->config;
    int status = KD_OK;
    run->borrowed = borrow(run, like);
    if (config->teacher.weights[0] && !run->borrowed)
        status = read_model(&run->teacher, &run->teacher_hash, config->teacher.weights);
    if (status == KD_OK && config->model.weights[0] && !run->borrowed)
        status = read_model(&run->start, &run->start_hash, config->model.weights);
    if (status == KD_OK) status = check_context(run->teacher, config, config->teacher.weights);
    if (status == KD_OK) status = check_context(run->start, config, config->model.weights);
    if (status == KD_OK && run->teacher && run->start) {
        const kd_hash a = kd_text_tokenizer_hash(run->teacher->tokenizer);
        const kd_hash b = kd_text_tokenizer_hash(run->start->tokenizer);
        if (strcmp(a.hex, b.hex) != 0)
            return kd_fail(KD_ECONFIG, "model.weights: %s has another tokenizer than the teacher",
                           config->model.weights);
    }
    if (status == KD_OK && run->teacher) status = check_teacher(run);
    return status == KD_OK ? check_student(run) : status;
}

static int read_samples(kd_encoder_run *run, const char *cache) {
    const kd_encoder_config *config = run->config;
    const kd_encoder_data *data = &config->data;
    const kd_text_tokenizer *tokenizer = kd_encoder_run_start(run)->tokenizer;
    const struct {
        kd_encoder_samples *to;
        const kd_encoder_files *files;
        const char *name;
        uint64_t seed;
    } list[] = {{&run->train, &data->train, "train", config->seed},
                {&run->validation, &data->validation, "validation", HELD_SEED},
                {&run->test, &data->test, "test", HELD_SEED}};
    int status = KD_OK;
    for (int i = 0; i < 3 && status == KD_OK; i++) {
        if (list[i].files->count == 0) continue;
        if (data->kind == KD_ENCODER_SENTENCES)
            status = kd_sentences_read(&list[i].to->sentences, list[i].files, tokenizer,
                                       data->context, data->class_count);
        else
            status = kd_masked_open(&list[i].to->masked, list[i].files, list[i].name, tokenizer,
                                    data->context, list[i].seed, cache);
    }
    return status;
}

static void begin(kd_encoder_run *run, const kd_encoder_config *config) {
    *run = (kd_encoder_run){.config = config, .lock = -1};
}

static int look(kd_encoder_run *run, const kd_encoder_run *like, const char *cache) {
    const kd_encoder_config *config = run->config;
    for (int i = 0; i < config->data.class_count; i++)
        run->class_name[i] = config->data.class_name[i];
    int status = kd_precision_parse(&run->precision, config->precision);
    if (status == KD_OK) status = check_inputs(config);
    if (status == KD_OK) status = read_models(run, like);
    return status == KD_OK ? read_samples(run, cache) : status;
}

int kd_encoder_run_look(kd_encoder_run *run, const kd_encoder_config *config) {
    begin(run, config);
    return look(run, NULL, NULL);
}

/* So that the next start need not tokenize the texts again. */
static int keep_texts(const kd_encoder_run *run, const char *cache) {
    int status = kd_masked_keep(run->train.masked, cache);
    if (status == KD_OK) status = kd_masked_keep(run->validation.masked, cache);
    return status == KD_OK ? kd_masked_keep(run->test.masked, cache) : status;
}

typedef struct {
    kd_encoder_run *run;
    const kd_part_options *how;
    kd_part_depth depth;
} opening;

/* What --fresh removes. */
static const char *const RESULTS[] = {"*.last.h5", "*.best.h5",   "student*.gguf", "log.jsonl",
                                      "report.*",  "config.json", "text-*.tokens", NULL};

static int open_run(void *context) {
    static const char *const written[] = {"student*", NULL};
    const opening *o = context;
    kd_encoder_run *run = o->run;
    const kd_encoder_config *config = run->config;
    const char *inputs[] = {config->teacher.weights, config->model.weights};
    const char *cache = run->swept ? o->how->runs : run->folder;
    int status = kd_path_join(run->folder, o->how->runs, config->name);
    if (status == KD_OK) status = look(run, o->how->like, cache);
    for (int i = 0; i < 2 && status == KD_OK; i++)
        if (inputs[i][0]) status = kd_results_check_input(inputs[i], run->folder, written);
    if (status < 0 || o->depth == KD_PART_INPUTS) return status;
    status = kd_folder_own_existing(&run->lock, run->folder);
    if (status == KD_OK && !o->how->fresh) status = kd_encoder_compare(run);
    if (status < 0 || o->depth == KD_PART_LOOK) return status;
    status = kd_results_take_folder(&run->lock, run->folder, o->how->fresh, RESULTS);
    if (status == KD_OK) status = keep_texts(run, cache);
    return status < 0 ? status : kd_results_write_config(run->folder, config->resolved);
}

int kd_encoder_run_open(kd_encoder_run *run, const kd_encoder_config *config, const char *runs,
                        bool fresh) {
    const kd_part_options how = {.runs = runs, .fresh = fresh};
    begin(run, config);
    return kd_ranks_take_turns(open_run, &(opening){run, &how, KD_PART_BEGIN});
}

int kd_encoder_run_open_part(kd_encoder_run *run, const kd_encoder_config *config,
                             const kd_part_options *how, kd_part_depth depth) {
    begin(run, config);
    run->swept = true;
    if (config->data.test.count == 0)
        return kd_fail(KD_ECONFIG,
                       "%s: data.test names no texts, on which the runs of a sweep are compared",
                       config->path);
    return kd_ranks_take_turns(open_run, &(opening){run, how, depth});
}

static void clear_samples(kd_encoder_samples *samples) {
    kd_masked_close(samples->masked);
    kd_sentences_clear(&samples->sentences);
}

void kd_encoder_run_close(kd_encoder_run *run) {
    clear_samples(&run->train);
    clear_samples(&run->validation);
    clear_samples(&run->test);
    kd_bert_file_free(run->student); /* which borrows of the others */
    if (!run->borrowed) {
        kd_bert_file_free(run->start);
        kd_bert_file_free(run->teacher);
    }
    kd_folder_leave(&run->lock);
}

/* --- train and export ---------------------------------------------------------------------------
 */

kd_encoder_job kd_encoder_run_job(const kd_encoder_run *run) {
    const kd_encoder_config *config = run->config;
    const bool sentences = config->data.kind == KD_ENCODER_SENTENCES;
    const bool held = sentences && run->validation.sentences.count > 0;
    return (kd_encoder_job){.loop = {.stage = "train",
                                     .folder = run->folder,
                                     .spec = &config->train,
                                     .precision = run->precision,
                                     .seed = config->seed,
                                     .config_json = config->resolved},
                            .loss = &config->loss,
                            .teacher = kd_encoder_is_taught(config) ? run->teacher->model : NULL,
                            .train = run->train.masked,
                            .validation = run->validation.masked,
                            .taught = sentences ? &run->train.sentences : NULL,
                            .held = held ? &run->validation.sentences : NULL,
                            .length = config->data.context};
}

int kd_encoder_run_train(kd_encoder_run *run) {
    kd_origin origin;
    if (run->trained) return KD_OK;
    int status =
        kd_encoder_student_create(&run->student, run->config, kd_encoder_run_start(run), false);
    if (status < 0) return status;
    if (run->config->data.class_count > 0) run->student->class_name = run->class_name;
    kd_encoder_job job = kd_encoder_run_job(run);
    kd_encoder_origin_stage(&origin, run);
    job.loop.origin = &origin;
    status = kd_origin_hash(&job.loop.key, &origin);
    if (status == KD_OK) status = kd_encoder_train(run->student->model, &job);
    kd_origin_clear(&origin);
    run->trained = status == KD_OK;
    return status;
}

int kd_encoder_run_file(const kd_encoder_run *run, const kd_encoder_quantize *how,
                        char out[KD_PATH_MAX]) {
    char name[64];
    snprintf(name, sizeof name, "student%s%s.gguf", how ? "." : "", how ? how->name : "");
    return kd_path_join(out, run->folder, name);
}

static int write_file(const kd_encoder_run *run, const kd_encoder_quantize *how) {
    char path[KD_PATH_MAX], *text;
    kd_origin origin;
    kd_encoder_origin_file(&origin, run, how);
    int status = kd_origin_text(&text, &origin);
    run->student->origin = text;
    if (status == KD_OK) status = kd_encoder_run_file(run, how, path);
    if (status == KD_OK)
        status = kd_bert_gguf_write(path, run->student, how ? how->format : &kd_format_f16);
    run->student->origin = NULL;
    kd_origin_clear(&origin);
    free(text);
    return status;
}

int kd_encoder_run_export(kd_encoder_run *run) {
    char folder[KD_PATH_MAX];
    int status = kd_encoder_run_train(run);
    if (status == KD_OK) status = write_file(run, NULL);
    if (status == KD_OK) status = kd_path_join(folder, run->folder, "student");
    if (status == KD_OK) status = kd_bert_folder_write(folder, run->student, &kd_format_f32);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++)
        status = write_file(run, &run->config->quantize[i]);
    return kd_ranks_worst(status); /* and the files are there */
}

static int print_file(const kd_encoder_run *run, const kd_encoder_quantize *how) {
    char path[KD_PATH_MAX];
    int status = kd_encoder_run_file(run, how, path);
    if (status == KD_OK) puts(path);
    return status;
}

int kd_encoder_run_print_files(const kd_encoder_run *run) {
    int status = print_file(run, NULL);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++)
        status = print_file(run, &run->config->quantize[i]);
    return status;
}
