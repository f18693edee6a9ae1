/* `distill train` of an encoder's config: every stage, then the same samples through every model.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"
#include "report/measured.h"
#include "tasks/encoder/encoder_run.h"
#include "tasks/encoder/metrics.h"
#include "tasks/encoder/score.h"
#include "tasks/encoder/student.h"

enum { MODELS_MAX = 3 + KD_ENCODER_QUANTIZE_MAX };

/* What is measured, and how far it is. */
typedef struct {
    kd_encoder_run *run;
    kd_tape *tape;
    kd_measured_table table;
} measuring;

static double size_of(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (double)info.st_size : NAN;
}

static bool is_sentences(const measuring *m) {
    return m->run->config->data.kind == KD_ENCODER_SENTENCES;
}

static int score_of(kd_encoder_score *out, const measuring *m, const kd_bert *model) {
    const kd_encoder_run *run = m->run;
    if (!is_sentences(m)) return kd_encoder_score_masked(out, model, run->test.masked, m->tape);
    return kd_encoder_score_sentences(out, model, &run->test.sentences, run->config->data.context,
                                      m->tape);
}

/* Adds a row; `bytes` NAN: not known. */
static int add(measuring *m, const char *name, const char *kind, const char *stage,
               const kd_bert *model, double bytes) {
    kd_encoder_score score;
    int status = score_of(&score, m, model);
    if (status < 0) return status;
    kd_measured *row = kd_measured_add(&m->table, name, kind, stage);
    kd_estimate *value = row->value;
    const double n = (double)score.samples;
    value[KD_SEEN_ACCURACY] = kd_estimate_share(score.right, score.samples);
    value[KD_SEEN_NATS].value = score.nats / n;
    value[KD_SEEN_PERPLEXITY].value = exp(score.nats / n);
    value[KD_SEEN_PARAMETERS].value = (double)kd_bert_size(&model->spec);
    value[KD_SEEN_BYTES].value = bytes;
    value[KD_SEEN_SAMPLES].value = n;
    for (int c = 0; c < m->table.group_count; c++) {
        kd_estimate *group = kd_measured_group(&m->table, row, c, 0);
        group[KD_SEEN_ACCURACY] = kd_estimate_share(score.class_right[c], score.class_samples[c]);
        group[KD_SEEN_SAMPLES].value = (double)score.class_samples[c];
    }
    return KD_OK;
}

/* That a model says what is asked here. */
static int check_model(const measuring *m, const kd_bert_file *file, const char *path) {
    const kd_bert_spec *spec = &file->model->spec;
    const kd_encoder_config *config = m->run->config;
    const kd_hash own = kd_text_tokenizer_hash(file->tokenizer);
    const kd_hash ours = kd_text_tokenizer_hash(kd_encoder_run_start(m->run)->tokenizer);
    if (strcmp(own.hex, ours.hex) != 0)
        return kd_fail(KD_EDATA, "%s: has another tokenizer than the run", path);
    if (is_sentences(m) && spec->classes != config->data.class_count)
        return kd_fail(KD_EDATA, "%s: tells %d classes, data.classes names %d", path, spec->classes,
                       config->data.class_count);
    if (!is_sentences(m) && !spec->head)
        return kd_fail(KD_EDATA, "%s: has no head for masked tokens", path);
    if (config->data.context > spec->context)
        return kd_fail(KD_EDATA, "%s: has %d positions, data.context is %lld", path, spec->context,
                       (long long)config->data.context);
    return KD_OK;
}

static int add_file(measuring *m, const char *name, const char *kind, const char *stage,
                    const char *path) {
    kd_bert_file *file;
    int status = kd_bert_file_open(&file, path, true);
    if (status == KD_OK) status = kd_bert_file_need_tokenizer(file, path);
    if (status == KD_OK) status = check_model(m, file, path);
    if (status == KD_OK) status = add(m, name, kind, stage, file->model, size_of(path));
    kd_bert_file_free(file);
    return status;
}

/* Heads of classes begin with random numbers, which are not worth a row. */
static int add_initial(measuring *m) {
    kd_bert_file *initial;
    if (is_sentences(m)) return KD_OK;
    int status =
        kd_encoder_student_create(&initial, m->run->config, kd_encoder_run_start(m->run), true);
    if (status == KD_OK)
        status = add(m, "student before training", "initial", "", initial->model, NAN);
    kd_bert_file_free(initial);
    return status;
}

static int add_files(measuring *m) {
    const kd_encoder_config *config = m->run->config;
    char path[KD_PATH_MAX], name[KD_MEASURED_NAME_MAX];
    int status = kd_encoder_run_file(m->run, NULL, path);
    if (status == KD_OK) status = add_file(m, "student", "student", "train", path);
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++) {
        const kd_encoder_quantize *how = &config->quantize[i];
        snprintf(name, sizeof name, "student %s", how->format_name);
        status = kd_encoder_run_file(m->run, how, path);
        if (status == KD_OK) status = add_file(m, name, "ptq", "", path);
    }
    return status;
}

static int begin(measuring *m, kd_encoder_run *run) {
    const int classes = run->config->data.class_count;
    *m = (measuring){.run = run};
    int status = kd_tape_create(&m->tape, 0);
    if (status == KD_OK)
        status =
            kd_measured_create(&m->table, MODELS_MAX, KD_SEEN_METRICS, kd_encoder_test, classes);
    if (status < 0) return status;
    m->tape->precision = run->precision;
    m->table.unit = is_sentences(m) ? "sentences" : "masked tokens";
    if (classes > 0) {
        m->table.group = "class";
        m->table.groups = "classes";
        for (int c = 0; c < classes; c++) m->table.group_name[c] = run->class_name[c];
    }
    if (!run->teacher) return KD_OK;
    return check_model(m, run->teacher, run->config->teacher.weights) < 0
               ? KD_OK /* it lends layers, and says nothing here */
               : add(m, "teacher", "teacher", "", run->teacher->model,
                     size_of(run->config->teacher.weights));
}

static void end(measuring *m) {
    kd_measured_clear(&m->table);
    kd_tape_free(m->tape);
}

static int print(const measuring *m) {
    kd_text text = {0};
    kd_measured_add_text(&text, &m->table);
    int status = kd_text_finish(&text, "the table");
    if (status == KD_OK) fputs(text.text, stdout);
    free(text.text);
    return status;
}

static int write_report(const measuring *m) {
    const kd_encoder_run *run = m->run;
    kd_text json = {0};
    kd_text_add(&json, "{");
    kd_json_add_string(&json, "name", run->config->name);
    kd_text_add(&json, ",\n\"config_hash\": \"%s\",\n\"context\": %lld,\n", run->config->hash.hex,
                (long long)run->config->data.context);
    kd_measured_add_json(&json, &m->table);
    kd_text_add(&json, "}\n");
    int status = kd_text_save(&json, run->folder, "report.json");
    if (status == KD_OK && !run->swept) kd_log("report: %s/report.json", run->folder);
    return status;
}

int kd_encoder_run_pipeline(kd_encoder_run *run) {
    measuring m;
    int status = kd_encoder_run_export(run);
    if (status < 0 || run->config->data.test.count == 0) return status;
    status = begin(&m, run);
    if (status == KD_OK) status = add_initial(&m);
    if (status == KD_OK) status = add_files(&m);
    if (status == KD_OK && !run->swept) status = print(&m);
    if (status == KD_OK) status = write_report(&m);
    end(&m);
    return status;
}

int kd_encoder_run_measure(kd_encoder_run *run, const char *path) {
    measuring m;
    const char *slash = strrchr(path, '/');
    if (run->config->data.test.count == 0)
        return kd_fail(KD_ECONFIG, "%s: data.test names no texts to measure on", run->config->path);
    int status = begin(&m, run);
    if (status == KD_OK) status = add_file(&m, slash ? slash + 1 : path, "student", "", path);
    if (status == KD_OK) status = print(&m);
    end(&m);
    return status;
}
