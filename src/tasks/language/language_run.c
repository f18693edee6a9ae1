#include "tasks/language/language_run.h"

#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/owner.h"
#include "base/ranks.h"
#include "distill/checkpoint.h"
#include "distill/results.h"
#include "tasks/language/language_task.h"
#include "tasks/language/language_teach.h"
#include "tasks/language/student.h"

/* --- opening -----------------------------------------------------------------------------------
 */

/* Everything that is missing is named at once, and where it comes from. */
static int check_inputs(const kd_language_config *config) {
    const kd_language_data *data = &config->data;
    const struct {
        const kd_text_paths *list;
        const char *what;
    } lists[] = {{&data->train, "a training text"},
                 {&data->validation, "a validation text"},
                 {&data->test, "a test text"}};
    const int teacher = kd_results_missing(config->teacher.weights, "the teacher");
    int texts = 0;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (int k = 0; k < lists[i].list->count; k++)
            texts += kd_results_missing(lists[i].list->path[k], lists[i].what);
    if (teacher + texts == 0) return KD_OK;
    if (teacher) kd_results_say_source("the teacher comes from", config->teacher.source);
    if (texts) kd_results_say_source("the texts come from", data->source);
    return kd_fail(KD_ENOINPUT, "%s: %d of the files it names %s missing", config->path,
                   teacher + texts, teacher + texts > 1 ? "are" : "is");
}

/* What --fresh removes. */
static const char *const RESULTS[] = {"*.last.h5", "*.best.h5",  "student*.gguf", "log.jsonl",
                                      "report.*",  "pareto.svg", "config.json",   "text-*.tokens",
                                      "budget.*",  NULL};

/* The student's sizes are those of a model without values. */
static int check_budgets(const kd_language_config *config, const kd_llama_spec *student) {
    kd_llama *model;
    int status = kd_llama_create(&model, student, KD_LLAMA_FROZEN);
    if (status < 0) return status;
    const kd_quantizable sizes = {.params = model->params, .rule = kd_llama_format_of};
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++)
        if (config->quantize[i].budget.asked)
            status = kd_budget_check(&sizes, &config->quantize[i].budget);
    kd_llama_free(model);
    return status;
}

static int read_teacher(kd_language_run *run) {
    const kd_language_config *config = run->config;
    const char *path = config->teacher.weights;
    kd_llama_spec student;
    int status = kd_llama_file_open(&run->teacher, path, KD_LLAMA_FROZEN);
    if (status == KD_OK) status = kd_llama_file_need_tokenizer(run->teacher, path);
    if (status == KD_OK) status = kd_params_hash(&run->teacher_hash, run->teacher->model->params);
    if (status < 0) return status;
    if (config->data.context > run->teacher->model->spec.context)
        return kd_fail(KD_ECONFIG, "data.context: %lld tokens, but the teacher has %d positions",
                       (long long)config->data.context, run->teacher->model->spec.context);
    const int V = run->teacher->model->spec.vocabulary;
    if (config->teacher.targets == KD_TEACHER_SAMPLED &&
        config->teacher.draws > KD_STORE_DRAWN_MAX / V)
        return kd_fail(KD_ECONFIG,
                       "teacher.targets.draws: %d, at most %d of %d tokens can be stored",
                       config->teacher.draws, KD_STORE_DRAWN_MAX / V, V);
    status = kd_language_student_spec(&student, &config->model, &run->teacher->model->spec);
    return status == KD_OK ? check_budgets(config, &student) : status;
}

static int read_texts(kd_language_run *run, const char *cache) {
    const kd_language_data *data = &run->config->data;
    const struct {
        kd_contexts **to;
        const kd_text_paths *paths;
        const char *name;
    } list[] = {{&run->train, &data->train, "train"},
                {&run->validation, &data->validation, "validation"},
                {&run->test, &data->test, "test"}};
    int status = KD_OK;
    for (int i = 0; i < 3 && status == KD_OK; i++)
        if (list[i].paths->count > 0)
            status = kd_contexts_open(list[i].to, list[i].paths, list[i].name,
                                      run->teacher->tokenizer, data->context, cache);
    return status;
}

static int look(kd_language_run *run, const kd_language_config *config) {
    *run = (kd_language_run){.config = config, .lock = -1};
    int status = kd_precision_parse(&run->precision, config->precision);
    if (status == KD_OK) status = check_inputs(config);
    return status == KD_OK ? read_teacher(run) : status;
}

int kd_language_run_look(kd_language_run *run, const kd_language_config *config, const char *runs) {
    char folder[KD_PATH_MAX];
    int status = look(run, config);
    if (status == KD_OK && runs) status = kd_path_join(folder, runs, config->name);
    return status == KD_OK ? read_texts(run, runs ? folder : NULL) : status;
}

/* So that the next start need not tokenize the texts again. */
static int keep_texts(const kd_language_run *run) {
    int status = kd_contexts_keep(run->train, run->folder);
    if (status == KD_OK) status = kd_contexts_keep(run->validation, run->folder);
    return status == KD_OK ? kd_contexts_keep(run->test, run->folder) : status;
}

typedef struct {
    kd_language_run *run;
    bool fresh;
} opening;

/* Looks at the folder and takes it. */
static int open_folder(void *context) {
    const opening *o = context;
    kd_language_run *run = o->run;
    int status = read_texts(run, run->folder);
    if (status == KD_OK) status = kd_folder_own_existing(&run->lock, run->folder);
    if (status == KD_OK && !o->fresh) status = kd_language_compare(run);
    if (status == KD_OK)
        status = kd_results_take_folder(&run->lock, run->folder, o->fresh, RESULTS);
    if (status == KD_OK) status = keep_texts(run);
    return status < 0 ? status : kd_results_write_config(run->folder, run->config->resolved);
}

/* All ranks read the teacher at the same time; texts are tokenized by the first, once. */
int kd_language_run_open(kd_language_run *run, const kd_language_config *config, const char *runs,
                         bool fresh) {
    static const char *const written[] = {"student*", NULL};
    int status = look(run, config);
    if (status == KD_OK) status = kd_path_join(run->folder, runs, config->name);
    if (status == KD_OK)
        status = kd_results_check_input(config->teacher.weights, run->folder, written);
    status = kd_ranks_worst(status);
    return status < 0 ? status : kd_ranks_take_turns(open_folder, &(opening){run, fresh});
}

void kd_language_run_close(kd_language_run *run) {
    for (int i = 0; i < KD_LANGUAGE_QUANTIZE_MAX; i++) kd_budget_free(run->budget[i]);
    kd_contexts_close(run->train);
    kd_contexts_close(run->validation);
    kd_contexts_close(run->test);
    kd_store_free(run->store);
    kd_llama_file_free(run->student); /* which borrows of the teacher */
    kd_llama_file_free(run->teacher);
    kd_folder_leave(&run->lock);
}

/* --- teach -------------------------------------------------------------------------------------
 */

int kd_language_run_teach(kd_language_run *run) {
    const kd_language_config *config = run->config;
    char path[KD_PATH_MAX];
    kd_origin origin;
    if (run->store || !kd_language_has_store(config)) return KD_OK;
    int status = kd_path_join(path, run->folder, "store");
    if (status < 0) return status;
    kd_language_origin_store(&origin, run);
    const kd_language_teaching teaching = {.teacher = run->teacher,
                                           .hash = run->teacher_hash,
                                           .contexts = run->train,
                                           .how = &config->teacher,
                                           .temperature = config->loss.temperature,
                                           .seed = config->seed,
                                           .precision = run->precision,
                                           .origin = &origin,
                                           .description = config->teacher.weights};
    status = kd_language_teach(&run->store, &run->stored, path, &teaching);
    kd_origin_clear(&origin);
    return status;
}

/* --- train -------------------------------------------------------------------------------------
 */

/* Trains `student` in the stage "train" or, with `how`, in that of its own, computing then with the
 * weights that `quantized` rounds. */
static int train(kd_language_run *run, kd_llama *student, const kd_language_quantize *how,
                 kd_quantized *quantized) {
    const kd_language_config *config = run->config;
    const bool online = kd_language_is_taught(config) && !kd_language_has_store(config);
    kd_language_job job = {.loop = {.stage = how ? how->stage : "train",
                                    .folder = run->folder,
                                    .spec = how ? &how->train : &config->train,
                                    .precision = run->precision,
                                    .seed = config->seed,
                                    .config_json = config->resolved},
                           .loss = &config->loss,
                           .train = run->train,
                           .validation = run->validation,
                           .teacher = online ? run->teacher->model : NULL,
                           .store = run->store,
                           .quantized = quantized};
    kd_origin origin;
    kd_language_origin_stage(&origin, run, how);
    job.loop.origin = &origin;
    int status = kd_origin_hash(&job.loop.key, &origin);
    if (status == KD_OK) status = kd_language_train(student, &job);
    kd_origin_clear(&origin);
    return status;
}

int kd_language_run_train(kd_language_run *run) {
    if (run->trained) return KD_OK;
    int status = kd_language_run_teach(run);
    if (status == KD_OK && !run->student)
        status = kd_language_student_create(&run->student, run->teacher, &run->config->model,
                                            run->train, run->config->seed, KD_LLAMA_TRAIN);
    if (status == KD_OK) status = train(run, run->student->model, NULL, NULL);
    run->trained = status == KD_OK;
    return status;
}

int kd_language_run_train_rounded(kd_language_run *run, kd_llama *copy,
                                  const kd_language_quantize *how, kd_quantized *quantized) {
    int status = kd_quantized_round(quantized);
    return status == KD_OK ? train(run, copy, how, quantized) : status;
}
