/* `distill train`: every stage of a run, then the same test set through every model. */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/size.h"
#include "tasks/classify/run.h"

/* The models of a run as they become ready. */
typedef struct {
    kd_run *run;
    kd_learner *student, *baseline;
    float *logits; /* (test samples,classes) of the float student */
    kd_report report;
} pipeline;

/* Adds a measurement to the table, which then owns its counts; passes an error on. */
static int add_result(pipeline *p, const char *name, const char *kind, const char *stage,
                      int status, const kd_result *values) {
    if (status < 0) return status;
    KD_CONTRACT(p->report.count < KD_RESULTS_MAX, "%d results", p->report.count);
    kd_result *row = &p->report.result[p->report.count++];
    *row = *values;
    snprintf(row->name, sizeof row->name, "%s", name);
    snprintf(row->kind, sizeof row->kind, "%s", kind);
    snprintf(row->stage, sizeof row->stage, "%s", stage);
    return KD_OK;
}

static int measure_teacher(pipeline *p) {
    kd_ensemble *teacher = &p->run->teacher;
    if (teacher->count == 0 || p->run->known_teacher) return KD_OK;
    kd_result r;
    int status = kd_evaluate_with(&r, kd_ensemble_logits, teacher, p->run->test, NULL);
    if (status < 0) return status;
    for (int i = 0; i < teacher->count; i++) {
        const kd_learner *member = teacher->member[i];
        r.parameters += kd_learner_parameters(member);
        int64_t peak = kd_net_peak_activations(member->net) * (int64_t)sizeof(float);
        if (peak > r.memory) r.memory = peak;
    }
    r.bytes = r.parameters * (int64_t)sizeof(float);
    r.memory += r.bytes;
    return add_result(p, "teacher", "teacher", "", status, &r);
}

static int measure_float(pipeline *p, const kd_learner *learner, const char *name, const char *kind,
                         const char *stage, float *logits) {
    kd_result r;
    int status = kd_evaluate(&r, learner, KD_RUN_FLOAT, p->run->tape, p->run->test, logits);
    return add_result(p, name, kind, stage, status, &r);
}

static int measure_student(pipeline *p) {
    const kd_dataset *test = p->run->test;
    const size_t bytes = kd_array_bytes(test->count * test->classes, sizeof *p->logits);
    p->logits = malloc(bytes + 1);
    if (!p->logits) return kd_fail_memory(bytes, "the student's logits");
    return measure_float(p, p->student, "student float", "student", "train", p->logits);
}

/* The student with its biases corrected, when the config asks for it. */
static int measure_corrected(pipeline *p) {
    const kd_dataset *test = p->run->test;
    kd_class_bias bias;
    int status = kd_run_choose_bias(p->run, p->student, KD_RUN_FLOAT, &bias);
    if (status < 0 || bias.count == 0) return status;
    kd_result r;
    kd_result plain = {0};
    size_t bytes = kd_array_bytes(test->count * test->classes, sizeof(float));
    float *logits = malloc(bytes);
    if (!logits) return kd_fail_memory(bytes, "logits");
    status = kd_evaluate(&plain, p->student, KD_RUN_FLOAT, p->run->tape, test, logits);
    if (status == KD_OK) {
        kd_class_bias_add(&bias, test->count, test->classes, logits);
        status = kd_evaluate_logits(&r, test, logits);
    }
    if (status == KD_OK) {
        kd_result_copy_costs(&r, &plain);
        r.bias_shift = bias.shift;
        kd_log("correct_bias: %+.3f, chosen on %lld validation samples", bias.shift,
               (long long)p->run->validation->count);
        status = add_result(p, "student, bias corrected", "corrected", "", status, &r);
    }
    kd_result_free_counts(&plain);
    free(logits);
    return status;
}

/* What an exported file takes while it is used: weights are floats then. */
static int64_t memory_of(const kd_learner *quantized, int64_t bytes) {
    const int64_t peak = kd_net_peak_activations(quantized->net);
    if (quantized->quantized->how->makes_network) return bytes + peak;
    return (kd_learner_parameters(quantized) + peak) * (int64_t)sizeof(float);
}

/* Logits (test samples,classes) of a file, whose every bit is the fake-quant model's. */
static int compare_with_float(const pipeline *p, kd_result *r, const float *logits) {
    const kd_dataset *test = p->run->test;
    kd_fidelity f = {0};
    const int status = kd_fidelity_add_logits(&f, p->logits, logits, test->count, test->classes);
    if (status == KD_OK) r->fidelity = kd_fidelity_summarise(&f);
    kd_fidelity_clear(&f);
    return status;
}

/* The exported file beside the fake-quant model it was written from: the export gate. */
static int measure_blob(pipeline *p, const kd_learner *quantized,
                        const kd_quantize_config *quantize, bool qat) {
    const kd_dataset *test = p->run->test;
    const kd_learner_spec model = {.model = &p->run->config->model,
                                   .input = {test->h, test->w, test->c},
                                   .classes = test->classes,
                                   .seed = p->run->config->seed};
    char path[KD_PATH_MAX], name[KD_RESULT_NAME_MAX];
    kd_result fake = {0}, r = {0};
    size_t bytes = kd_array_bytes(test->count * test->classes, sizeof(float));
    float *reference = malloc(bytes);
    int status = reference ? KD_OK : kd_fail_memory(bytes, "the fake-quant model's logits");
    if (status == KD_OK)
        status = kd_evaluate(&fake, quantized, KD_RUN_FAKE_EVAL, p->run->tape, test, reference);
    if (status == KD_OK) status = kd_run_blob_path(p->run, quantize, qat, path);
    if (status == KD_OK)
        status = kd_evaluate_exported(&r, path, &model, p->run->tape, test, reference);
    if (status == KD_OK) {
        r.parameters = kd_learner_parameters(quantized);
        r.memory = memory_of(quantized, r.bytes);
        kd_log("%s: %lld of %lld predictions differ from the fake-quant model's, largest "
               "difference of a logit %g",
               path, (long long)r.disagreements, (long long)test->count, r.largest_difference);
        kd_run_blob_name(name, quantize, qat);
        status = compare_with_float(p, &r, reference);
    }
    if (status == KD_OK) {
        status = add_result(p, name, qat ? "blob" : "ptq", qat ? quantize->stage : "", status, &r);
    }
    kd_result_free_counts(&fake);
    free(reference);
    return status;
}

static int quantize(pipeline *p, const kd_quantize_config *how, bool qat) {
    kd_learner *quantized = NULL;
    int status = kd_run_quantize(p->run, p->student, how, qat, &quantized);
    if (status == KD_OK) status = measure_blob(p, quantized, how, qat);
    kd_learner_free(quantized);
    return status;
}

static int run_stages(pipeline *p) {
    const kd_config *config = p->run->config;
    int status = kd_run_teachers(p->run);
    if (status == KD_OK) status = kd_run_teach(p->run);
    if (status == KD_OK) status = kd_run_train(p->run, false, &p->student);
    if (status == KD_OK && config->baseline) status = kd_run_train(p->run, true, &p->baseline);
    if (status == KD_OK) status = measure_teacher(p);
    if (status == KD_OK) status = measure_student(p);
    if (status == KD_OK) status = measure_corrected(p);
    if (status == KD_OK && p->baseline)
        status = measure_float(p, p->baseline, "student without a teacher", "baseline", "baseline",
                               NULL);
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++) {
        status = quantize(p, &config->quantize[i], false);
        if (status == KD_OK && config->quantize[i].qat)
            status = quantize(p, &config->quantize[i], true);
    }
    return status;
}

int kd_run_pipeline(kd_run *run) {
    pipeline p = {.run = run};
    p.report = (kd_report){.config = run->config,
                           .run_folder = run->folder,
                           .classes = run->test->classes,
                           .class_name = (const char(*)[KD_CLASS_NAME_MAX])run->test->class_name,
                           .budget = (const kd_budget *const *)run->budget,
                           .label = run->test->label};
    int status = run_stages(&p);
    if (status == KD_OK && !run->quiet) kd_report_print(&p.report);
    if (status == KD_OK) status = kd_report_write(&p.report);
    if (status == KD_OK && !run->quiet) kd_log("report: %s/report.html", run->folder);
    for (int i = 0; i < p.report.count; i++) kd_result_free_counts(&p.report.result[i]);
    free(p.logits);
    kd_learner_free(p.student);
    kd_learner_free(p.baseline);
    return status;
}
