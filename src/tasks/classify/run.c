#include "tasks/classify/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/late_file.h"
#include "base/log.h"
#include "base/owner.h"
#include "base/ranks.h"
#include "base/size.h"
#include "distill/results.h"
#include "tasks/classify/preflight.h"
#include "tasks/classify/run_look.h"
#include "tasks/classify/teach.h"

/* Of the shuffle that calibration samples are drawn from. */
static const uint64_t CALIBRATION_SEED = 0x63616c6962;

/* What a run leaves in its folder besides the store. */
static const char *const RESULTS[] = {
    "*.last.h5",    "*.best.h5",  "student.*.gguf", "log.jsonl", "report.html", "report.json",
    "accuracy.svg", "pareto.svg", "config.json",    "budget.*",  NULL};

/* What is read must not be among what the run removes or writes over. */
static int check_own_inputs(const kd_run *run) {
    static const char *const store[] = {"store", NULL};
    const kd_teacher_config *teacher = &run->config->teacher;
    int status = KD_OK;
    for (int i = 0; i < teacher->count && status == KD_OK; i++)
        status = kd_results_check_input(teacher->source[i].weights, run->folder, RESULTS);
    return status < 0 ? status : kd_results_check_input(teacher->store, run->folder, store);
}

/* The training samples as the network sees them: normalised, and augmented unless `clean`. */
static kd_hash data_hash(const kd_run *run, bool clean) {
    const kd_config *c = run->config;
    const kd_normaliser *n = &run->train->normaliser;
    const kd_augment *a = &c->augment;
    char text[512];
    int used = snprintf(text, sizeof text, "%s %.9g %d", run->train->hash.hex, (double)n->unit,
                        (int)run->train->audio.normalise);
    for (int i = 0; i < n->channels && used < (int)sizeof text; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, " %.9g %.9g", (double)n->mean[i],
                         (double)n->deviation[i]);
    if (!clean && used < (int)sizeof text)
        snprintf(text + used, sizeof text - (size_t)used, " %llu %lld %d %d %d %.9g %.9g %d %d",
                 (unsigned long long)c->seed, (long long)c->teacher.views, a->shift_h, a->shift_w,
                 a->flip, a->vocal_tract, a->tempo, a->mask_h, a->mask_w);
    return kd_hash_bytes(text, strlen(text));
}

/* The labels of correct_bias; the validation split must have samples of each. */
static int name_biases(kd_run *run) {
    const kd_config *config = run->config;
    const kd_dataset *held = run->validation;
    kd_class_bias *out = &run->bias;
    if (config->correct_bias_count == 0) return KD_OK;
    for (int i = 0; i < config->correct_bias_count; i++) {
        int64_t samples = 0;
        for (int64_t k = 0; k < held->count; k++)
            samples += held->label[k] == config->correct_bias[i];
        for (int k = 0; k < i; k++)
            if (config->correct_bias[k] == config->correct_bias[i])
                return kd_fail(KD_ECONFIG, "correct_bias: label %d twice", config->correct_bias[i]);
        if (samples == 0)
            return kd_fail(KD_ECONFIG,
                           "correct_bias: none of the %lld validation samples has label %d",
                           (long long)held->count, config->correct_bias[i]);
        out->label[out->count++] = config->correct_bias[i];
    }
    if (out->count < held->classes) return KD_OK;
    return kd_fail(KD_ECONFIG, "correct_bias: names all %d classes", held->classes);
}

/* The data sets: another run's, when both configs say the same of them, or opened. */
static int open_data(kd_run *run, const kd_run *like) {
    const kd_data_spec *spec = &run->config->data;
    if (like && memcmp(&like->config->data, spec, sizeof *spec) == 0) {
        run->borrowed = true;
        run->train = like->train;
        run->validation = like->validation;
        run->test = like->test;
        return KD_OK;
    }
    int status = kd_dataset_open(&run->train, spec, KD_SPLIT_TRAIN);
    if (status == KD_OK && spec->validation > 0)
        status = kd_dataset_open(&run->validation, spec, KD_SPLIT_VALIDATION);
    return status < 0 ? status : kd_dataset_open(&run->test, spec, KD_SPLIT_TEST);
}

static void begin(kd_run *run, const kd_config *config, const kd_run_options *options) {
    memset(run, 0, sizeof *run);
    run->config = config;
    run->lock = -1;
    run->quiet = options->quiet;
    run->seeded_teachers = options->seeded_teachers;
    run->shared_store = options->shared_store;
    run->known_teacher = options->known_teacher;
    run->as_teacher = options->as_teacher;
    run->pupil = options->pupil;
    snprintf(run->runs, sizeof run->runs, "%s", options->runs);
}

static int read_inputs(kd_run *run, const kd_run *like) {
    const kd_config *config = run->config;
    int status = run->pupil ? KD_OK : kd_preflight(config); /* which knows of its teachers */
    if (status == KD_OK) status = kd_precision_parse(&run->precision, config->precision);
    if (status == KD_OK) status = kd_path_join(run->folder, run->runs, config->name);
    if (status == KD_OK) status = check_own_inputs(run);
    if (status == KD_OK) status = open_data(run, like);
    if (status == KD_OK) status = name_biases(run);
    if (status == KD_OK) status = kd_teach_class_list(&run->classes, run->train);
    if (status == KD_OK) status = kd_tape_create(&run->tape, config->seed);
    if (status < 0) return status;
    run->tape->precision = run->precision;
    run->taught_data = data_hash(run, config->teacher.views == 0);
    if (run->as_teacher)
        snprintf(run->remedy, sizeof run->remedy,
                 "remove the folder to have this teacher made again, or give %s another name",
                 config->path);
    return kd_run_check_inputs(run, like);
}

int kd_run_inputs(kd_run *run, const kd_config *config, const kd_run_options *options) {
    begin(run, config, options);
    return read_inputs(run, options->like);
}

/* What is there, and whether it is this run's. */
static int look_at_folder(kd_run *run, bool fresh) {
    int status = kd_folder_own_existing(&run->lock, run->folder);
    return status < 0 || fresh ? status : kd_run_compare(run);
}

int kd_run_look(kd_run *run, const kd_config *config, const kd_run_options *options) {
    begin(run, config, options);
    run->looks = true;
    int status = read_inputs(run, options->like);
    return status < 0 ? status : look_at_folder(run, options->fresh);
}

typedef struct {
    kd_run *run;
    bool fresh;
} opening;

/* Looks at the folder and takes it. */
static int open_folder(void *context) {
    const opening *o = context;
    kd_run *run = o->run;
    int status = look_at_folder(run, o->fresh);
    if (status == KD_OK)
        status = kd_results_take_folder(&run->lock, run->folder, o->fresh, RESULTS);
    return status < 0 ? status : kd_results_write_config(run->folder, run->config->resolved);
}

/* All ranks read at the same time; the first changes the folder before the others look at it. */
int kd_run_open_as(kd_run *run, const kd_config *config, const kd_run_options *options) {
    begin(run, config, options);
    run->looks = true;
    int status = kd_ranks_worst(read_inputs(run, options->like));
    return status < 0 ? status : kd_ranks_take_turns(open_folder, &(opening){run, options->fresh});
}

int kd_run_open(kd_run *run, const kd_config *config, const char *runs, bool fresh) {
    return kd_run_open_as(run, config, &(kd_run_options){.runs = runs, .fresh = fresh});
}

void kd_run_close(kd_run *run) {
    for (int i = 0; i < KD_QUANTIZE_MAX; i++) kd_budget_free(run->budget[i]);
    kd_ensemble_clear(&run->teacher);
    kd_origin_clear(&run->teachers);
    kd_origin_clear(&run->origin);
    if (!run->borrowed_store) kd_store_free(run->store);
    if (!run->borrowed) {
        kd_dataset_free(run->train);
        kd_dataset_free(run->validation);
        kd_dataset_free(run->test);
    }
    kd_tape_free(run->tape);
    kd_folder_leave(&run->lock);
}

/* What decides the stage's result, and its key. */
static int describe_origin(kd_run *run, const char *stage, const kd_quantize_config *qat,
                           kd_train_job *job) {
    kd_origin_clear(&run->origin);
    kd_run_origin_stage(&run->origin, run, stage, qat);
    job->origin = &run->origin;
    return kd_origin_hash(&job->key, &run->origin);
}

int kd_run_job(kd_run *run, const char *stage, const kd_quantize_config *qat,
               kd_classifier_job *out) {
    const kd_config *c = run->config;
    bool baseline = strcmp(stage, "baseline") == 0;
    bool taught = !baseline && run->store;
    *out = (kd_classifier_job){.loop = {.stage = stage,
                                        .folder = run->folder,
                                        .spec = qat ? &qat->train : &c->train,
                                        .precision = run->precision,
                                        .seed = c->seed,
                                        .config_json = c->resolved},
                               .loss = baseline ? &c->loss_baseline : &c->loss,
                               .mode = qat ? KD_RUN_FAKE_TRAIN : KD_RUN_FLOAT,
                               .delay_steps = qat ? qat->delay_steps : 0,
                               .train = run->train,
                               .validation = run->validation,
                               .augment = c->augment,
                               .views = c->teacher.views,
                               .store = taught ? run->store : NULL};
    if (!baseline && c->loss.hint_count > 0 && run->teacher.count > 0)
        out->teacher = run->teacher.member[0];
    return describe_origin(run, stage, qat, &out->loop);
}

static kd_extent sample_extent(const kd_dataset *d) {
    return (kd_extent){d->h, d->w, d->c};
}

int kd_run_train(kd_run *run, bool baseline, kd_learner **out) {
    kd_classifier_job job;
    int status = kd_run_job(run, baseline ? "baseline" : "train", NULL, &job);
    if (status < 0) return status;
    kd_learner_spec spec = {.model = &run->config->model,
                            .input = sample_extent(run->train),
                            .classes = run->train->classes,
                            .seed = run->config->seed,
                            .loss = job.loss,
                            .teacher = job.teacher ? job.teacher->net : NULL};
    status = kd_learner_create(out, &spec);
    if (status < 0) return status;
    status = kd_classifier_train(*out, &job);
    if (status < 0) {
        kd_learner_free(*out);
        *out = NULL;
    }
    return status;
}

void kd_run_blob_name(char out[KD_RESULT_NAME_MAX], const kd_quantize_config *how, bool qat) {
    snprintf(out, KD_RESULT_NAME_MAX, "student %s (%s)", how->name, qat ? "QAT" : "PTQ");
}

int kd_run_blob_path(const kd_run *run, const kd_quantize_config *how, bool qat,
                     char out[KD_PATH_MAX]) {
    char name[64];
    snprintf(name, sizeof name, "student.%s%s.gguf", how->name, qat ? "" : ".ptq");
    return kd_path_join(out, run->folder, name);
}

void kd_run_calibration_order(int64_t *row, int64_t count) {
    kd_rng rng = kd_rng_init(CALIBRATION_SEED, 1);
    kd_rng_permutation(&rng, row, count);
}

/* Runs calibration samples through the observers, then fixes the ranges. The samples are the first
 * of one fixed shuffle, whatever the run's seed: a set may be sorted by class. */
static int calibrate(kd_run *run, kd_learner *learner, int64_t total) {
    enum { CALIBRATION_BATCH = 64 };
    const kd_dataset *d = run->train;
    const int64_t size = d->h * d->w * d->c;
    if (total > d->count) total = d->count;
    size_t bytes = kd_array_bytes(CALIBRATION_BATCH * size, sizeof(float));
    float *x = malloc(bytes);
    float *logits = malloc((size_t)(CALIBRATION_BATCH * d->classes) * sizeof *logits);
    int64_t *row = malloc(kd_array_bytes(d->count, sizeof *row));
    int status = x && logits && row ? KD_OK : kd_fail_memory(bytes, "calibration samples");
    if (status == KD_OK) kd_run_calibration_order(row, d->count);
    do {
        for (int64_t first = 0; first < total && status >= 0; first += CALIBRATION_BATCH) {
            int64_t n = total - first < CALIBRATION_BATCH ? total - first : CALIBRATION_BATCH;
            for (int64_t i = 0; i < n; i++) kd_dataset_sample(d, row[first + i], x + i * size);
            status = kd_learner_logits(learner, KD_RUN_OBSERVE, run->tape, n, x, logits);
        }
        if (status == KD_OK) status = kd_quantized_calibrated(learner->quantized);
    } while (status == KD_CALIBRATE_AGAIN);
    free(x);
    free(logits);
    free(row);
    return status;
}

/* Copies every parameter of the float net into the one with quantizers. */
static void copy_values(const kd_learner *from, kd_learner *to) {
    for (int i = 0; i < from->params->count; i++) {
        const kd_param *p = from->params->list[i];
        kd_param *q = kd_params_find(to->params, p->name);
        if (q) memcpy(q->tensor.value, p->tensor.value, (size_t)p->tensor.size * sizeof(kd_real));
    }
    kd_params_touch(to->params);
}

static int write_blob(const kd_run *run, const kd_quantize_config *how, bool qat,
                      const kd_learner *learner) {
    char path[KD_PATH_MAX], teacher[256] = "";
    int status = kd_run_blob_path(run, how, qat, path);
    if (status < 0) return status;
    if (run->store)
        snprintf(teacher, sizeof teacher, "%s", kd_store_describe(run->store)->description);
    char *origin;
    kd_origin made;
    kd_run_origin_blob(&made, run, how, qat);
    status = kd_origin_text(&origin, &made);
    kd_origin_clear(&made);
    if (status < 0) return status;
    const kd_quantized *q = learner->quantized;
    const kd_blob_info blob = {.name = run->config->name,
                               .teacher = teacher,
                               .origin = origin,
                               .dataset = run->train,
                               .data = &run->config->data};
    const kd_budget *budget = run->budget[how - run->config->quantize];
    kd_text chosen = {0};
    if (budget) kd_budget_add_metadata(&chosen, budget);
    status = kd_text_finish(&chosen, "a budget");
    const kd_weights_info weights = {.name = run->config->name,
                                     .teacher = teacher,
                                     .origin = origin,
                                     .budget = budget ? chosen.text : NULL,
                                     .config = run->config->resolved};
    if (status == KD_OK)
        status = q->how->write ? q->how->write(path, q, &blob)
                               : kd_learner_export(path, learner, &weights);
    free(chosen.text);
    free(origin);
    return status;
}

/* That this rank sees it. */
static int await_blob(const kd_run *run, const kd_quantize_config *how, bool qat) {
    char path[KD_PATH_MAX];
    int status = kd_run_blob_path(run, how, qat, path);
    return status < 0 ? status : kd_file_await(path, KD_FILE_LATE);
}

int kd_run_choose_bias(kd_run *run, const kd_learner *learner, kd_run_mode mode,
                       kd_class_bias *out) {
    *out = run->bias;
    if (out->count == 0) return KD_OK;
    const kd_dataset *held = run->validation;
    kd_result result = {0};
    size_t bytes = kd_array_bytes(held->count * held->classes, sizeof(float));
    float *logits = malloc(bytes);
    int status = logits ? kd_evaluate(&result, learner, mode, run->tape, held, logits)
                        : kd_fail_memory(bytes, "logits");
    if (status == KD_OK)
        status = kd_class_bias_choose(out, held->count, held->classes, logits, held->label);
    kd_result_free_counts(&result);
    free(logits);
    return status;
}

/* Shifts the output biases themselves, so that the exported file has them. */
static int correct_bias(kd_run *run, kd_learner *learner) {
    kd_class_bias bias;
    int status = kd_run_choose_bias(run, learner, KD_RUN_FAKE_EVAL, &bias);
    if (status < 0 || bias.count == 0) return status;
    kd_param *output = learner->net->node[learner->net->count - 1].bias;
    for (int k = 0; k < bias.count; k++) output->tensor.value[bias.label[k]] += (kd_real)bias.shift;
    kd_params_touch(learner->params);
    return KD_OK;
}

int kd_run_quantize(kd_run *run, const kd_learner *student, const kd_quantize_config *how, bool qat,
                    kd_learner **out) {
    kd_classifier_job job;
    int status = kd_run_job(run, how->stage, how, &job);
    if (status < 0) return status;
    status = kd_run_choose_formats(run, student, how);
    if (status < 0) return status;
    const kd_budget *budget = run->budget[how - run->config->quantize];
    const kd_quantize_spec chosen = budget ? kd_budget_quantize(&how->spec, budget) : how->spec;
    kd_learner_spec spec = {.model = &run->config->model,
                            .input = sample_extent(run->train),
                            .classes = run->train->classes,
                            .seed = run->config->seed,
                            .quantize = &chosen,
                            .loss = job.loss,
                            .teacher = job.teacher ? job.teacher->net : NULL};
    status = kd_learner_create(out, &spec);
    if (status < 0) return status;
    copy_values(student, *out);
    if (how->spec.how->sees != KD_SEES_NOTHING)
        status = calibrate(run, *out, how->calibration_samples);
    if (status == KD_OK && qat) status = kd_classifier_train(*out, &job);
    if (status == KD_OK) status = kd_quantized_round((*out)->quantized);
    if (status == KD_OK) status = correct_bias(run, *out);
    if (status == KD_OK) status = write_blob(run, how, qat, *out);
    status = kd_ranks_worst(status);
    if (status == KD_OK) status = kd_ranks_worst(await_blob(run, how, qat));
    if (status < 0) {
        kd_learner_free(*out);
        *out = NULL;
    }
    return status;
}
