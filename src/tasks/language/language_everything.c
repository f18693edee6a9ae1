/* `distill train` of a language config: every stage, then the same texts through every model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"
#include "distill/budget.h"
#include "distill/quantize_keys.h"
#include "report/compression.h"
#include "report/page.h"
#include "tasks/language/language_run.h"
#include "tasks/language/metrics.h"
#include "tasks/language/score.h"
#include "tasks/language/student.h"

enum { MODELS_MAX = 3 + KD_LANGUAGE_QUANTIZE_MAX };

/* What is measured, and how far it is. */
typedef struct {
    kd_language_run *run;
    kd_tape *tape;
    kd_measured_table table;
} measuring;

/* Of a folder that of its weights. */
static double size_of(const char *path) {
    struct stat info;
    char weights[KD_PATH_MAX];
    if (kd_file_is_folder(path) && kd_path_join(weights, path, "model.safetensors") == KD_OK)
        path = weights;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (double)info.st_size : NAN;
}

static double nats(double perplexity) {
    return log(perplexity);
}

static int compare_with_float(measuring *m, kd_estimate *value, const kd_llama *model,
                              const kd_llama *like) {
    kd_fidelity f = {0};
    const int status = kd_language_fidelity(&f, model, like, m->run->test, m->tape);
    const kd_fidelity_summary summary = kd_fidelity_summarise(&f);
    if (status == KD_OK) kd_fidelity_fill(&value[KD_TOLD_FIDELITY], &summary);
    kd_fidelity_clear(&f);
    return status;
}

/* Adds a row; `bytes` NAN: not known; `like`: the float student, NULL where it is not compared. */
static int add(measuring *m, const char *name, const char *kind, const char *stage,
               const kd_llama *model, double bytes, const kd_llama *like) {
    kd_contexts *test = m->run->test;
    const kd_llama *teacher = m->run->teacher->model;
    kd_language_score score;
    int status =
        kd_language_score_of(&score, model, model == teacher ? NULL : teacher, test, m->tape);
    if (status < 0) return status;
    kd_estimate *value = kd_measured_add(&m->table, name, kind, stage)->value;
    const int64_t n = (int64_t)score.targets;
    const double mean = score.nats / score.targets, reach = 1.96 * score.error;
    value[KD_TOLD_PERPLEXITY] = (kd_estimate){exp(mean), exp(mean - reach), exp(mean + reach), n};
    if (score.seconds > 0) value[KD_TOLD_SPEED].value = score.targets / score.seconds;
    value[KD_TOLD_BITS].value = score.nats / log(2) / kd_contexts_bytes(test);
    value[KD_TOLD_RIGHT] = kd_estimate_share(llround(score.right), n);
    if (model != teacher) {
        value[KD_TOLD_DIVERGENCE].value = score.divergence / score.targets;
        value[KD_TOLD_AGREEMENT] = kd_estimate_share(llround(score.agreed), n);
    }
    value[KD_TOLD_PARAMETERS].value = (double)kd_llama_size(&model->spec);
    value[KD_TOLD_BYTES].value = bytes;
    value[KD_TOLD_TOKENS].value = score.targets;
    return like ? compare_with_float(m, value, model, like) : KD_OK;
}

static int add_file(measuring *m, const char *name, const char *kind, const char *stage,
                    const char *path, const kd_llama *like) {
    kd_llama_file *file;
    int status = kd_llama_file_open(&file, path, KD_LLAMA_FROZEN);
    if (status < 0) return status;
    if (file->model->spec.vocabulary != m->run->teacher->model->spec.vocabulary)
        status = kd_fail(KD_EDATA, "%s: a vocabulary of %d, the teacher's has %d", path,
                         file->model->spec.vocabulary, m->run->teacher->model->spec.vocabulary);
    if (status == KD_OK) status = add(m, name, kind, stage, file->model, size_of(path), like);
    kd_llama_file_free(file);
    return status;
}

static int add_initial(measuring *m) {
    const kd_language_config *config = m->run->config;
    kd_llama_file *initial;
    int status = kd_language_student_create(&initial, m->run->teacher, &config->model,
                                            m->run->train, config->seed, KD_LLAMA_FROZEN);
    if (status == KD_OK)
        status = add(m, "student before training", "initial", "", initial->model, NAN, NULL);
    kd_llama_file_free(initial);
    return status;
}

static int add_files(measuring *m) {
    const kd_language_config *config = m->run->config;
    char path[KD_PATH_MAX], name[KD_MEASURED_NAME_MAX];
    int status = kd_language_run_file(m->run, NULL, false, path);
    if (status == KD_OK) status = add_file(m, "student", "student", "train", path, NULL);
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++) {
        const kd_language_quantize *how = &config->quantize[i];
        snprintf(name, sizeof name, "student %s (%s)",
                 kd_quantize_title(&how->budget, how->format_name, how->name),
                 how->qat ? "QAT" : "PTQ");
        status = kd_language_run_file(m->run, how, false, path);
        if (status == KD_OK)
            status = add_file(m, name, how->qat ? "blob" : "ptq", how->qat ? how->stage : "", path,
                              m->run->student->model);
    }
    return status;
}

/* Of the nats that the student lost to its teacher before it learnt, how many each has won back. */
static void fill_gaps(kd_measured_table *table) {
    const kd_measured *initial = kd_measured_of(table, "initial");
    const kd_measured *teacher = kd_measured_teacher(table);
    if (!initial || !teacher) return;
    const double lost = nats(initial->value[KD_TOLD_PERPLEXITY].value) -
                        nats(teacher->value[KD_TOLD_PERPLEXITY].value);
    for (int i = 0; i < table->count && lost > 0; i++) {
        kd_measured *model = &table->model[i];
        if (model == initial || model == teacher) continue;
        model->value[KD_TOLD_GAP].value = (nats(initial->value[KD_TOLD_PERPLEXITY].value) -
                                           nats(model->value[KD_TOLD_PERPLEXITY].value)) /
                                          lost;
    }
}

static int begin(measuring *m, kd_language_run *run) {
    *m = (measuring){.run = run};
    int status = kd_tape_create(&m->tape, 0);
    if (status == KD_OK)
        status = kd_measured_create(&m->table, MODELS_MAX, KD_TOLD_METRICS, kd_language_test, 0);
    if (status < 0) return status;
    m->tape->precision = run->precision;
    m->table.unit = "tokens";
    m->table.speed = kd_language_test[KD_TOLD_SPEED].name;
    return add(m, "teacher", "teacher", "", run->teacher->model,
               size_of(run->config->teacher.weights), NULL);
}

static void end(measuring *m) {
    kd_measured_clear(&m->table);
    kd_tape_free(m->tape);
}

static int print(const measuring *m) {
    kd_text text = {0};
    kd_measured_add_text(&text, &m->table);
    if (kd_compression_is_shown(&m->table)) kd_compression_add_text(&text, &m->table);
    int status = kd_text_finish(&text, "the table");
    if (status == KD_OK) fputs(text.text, stdout);
    free(text.text);
    return status;
}

/* What the models are, and which matrices have which formats by a budget. */
static int write_page(const measuring *m) {
    const kd_language_config *config = m->run->config;
    kd_text page = {0};
    kd_report_begin_page(&page, config->name);
    kd_report_begin_body(&page, config->name);
    kd_report_add_settings(&page, config->seed, config->precision, &config->hash);
    kd_compression_add_html(&page, &m->table);
    for (int i = 0; i < config->quantize_count; i++) {
        if (!m->run->budget[i]) continue;
        kd_text_add(&page, "<div class=\"charts\">\n");
        kd_budget_add_plot(&page, m->run->budget[i], config->quantize[i].name, KD_PLOT_ON_PAGE);
        kd_text_add(&page, "</div>\n");
    }
    kd_report_end_page(&page, config->resolved);
    return kd_text_save(&page, m->run->folder, "report.html");
}

static int write_report(const measuring *m) {
    const kd_language_run *run = m->run;
    kd_text json = {0};
    kd_text_add(&json, "{");
    kd_json_add_string(&json, "name", run->config->name);
    kd_text_add(&json, ",\n\"config_hash\": \"%s\",\n\"context\": %lld,\n", run->config->hash.hex,
                (long long)run->config->data.context);
    kd_measured_add_json(&json, &m->table);
    kd_text_add(&json, "}\n");
    int status = kd_text_save(&json, run->folder, "report.json");
    if (status == KD_OK) status = kd_compression_save(&m->table, run->config->name, run->folder);
    if (status == KD_OK) status = write_page(m);
    if (status == KD_OK && !run->quiet) kd_log("report: %s/report.html", run->folder);
    return status;
}

int kd_language_run_everything(kd_language_run *run) {
    measuring m;
    int status = kd_language_run_export(run);
    if (status < 0 || !run->test) return status;
    status = begin(&m, run);
    if (status == KD_OK) status = add_initial(&m);
    if (status == KD_OK) status = add_files(&m);
    if (status == KD_OK) fill_gaps(&m.table);
    if (status == KD_OK && !run->quiet) status = print(&m);
    if (status == KD_OK) status = write_report(&m);
    end(&m);
    return status;
}

int kd_language_run_measure(kd_language_run *run, const char *path) {
    measuring m;
    const char *slash = strrchr(path, '/');
    if (!run->test)
        return kd_fail(KD_ECONFIG, "%s: data.test names no texts to measure on", run->config->path);
    int status = begin(&m, run);
    if (status == KD_OK) status = add_file(&m, slash ? slash + 1 : path, "student", "", path, NULL);
    if (status == KD_OK) status = print(&m);
    end(&m);
    return status;
}
