/* `distill eval` of a classifier: one model on the test set of a config. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "base/text.h"
#include "tasks/classify/bias_option.h"
#include "tasks/classify/classify.h"
#include "tasks/classify/evaluate.h"

/* What is measured: the one or the other. */
typedef struct {
    kd_blob *blob;
    kd_learner *learner;
    kd_tape *tape; /* the learner's */
    const char *path;
} model;

/* A GGUF of integers; one of weights is a learner's. */
static int find_blob(bool *out, const char *path) {
    bool weights = false;
    *out = kd_ends_with(path, ".gguf");
    int status = *out ? kd_weights_gguf_is_at(&weights, path) : KD_OK;
    *out = *out && !weights;
    return status;
}

/* The blob sees its inputs with its own normaliser, whatever the config says. */
static int open_blob(model *m, const kd_config *config, kd_dataset *test) {
    int status = kd_blob_open(&m->blob, m->path);
    if (status < 0) return status;
    const kd_extent in = kd_blob_input(m->blob);
    const kd_data_spec *data = kd_blob_data(m->blob);
    const kd_dataset blob = {.h = in.h,
                             .w = in.w,
                             .c = in.c,
                             .classes = kd_blob_classes(m->blob),
                             .class_name = kd_blob_class_names(m->blob),
                             .audio = data->audio};
    status = kd_dataset_agree(&blob, m->path, test, config->path);
    if (status < 0) return status;
    const kd_normaliser *own = kd_blob_normaliser(m->blob);
    if (!kd_normaliser_equal(own, &test->normaliser))
        kd_warn("%s: data.mean and data.deviation of %s are not those of the file; its inputs are "
                "normalised as the file says",
                m->path, config->path);
    test->normaliser = *own;
    return KD_OK;
}

static int open_learner(model *m, const kd_config *config, const kd_dataset *test) {
    kd_learner_spec spec = {.model = &config->model,
                            .onnx = kd_learner_onnx(m->path),
                            .input = {test->h, test->w, test->c},
                            .classes = test->classes,
                            .seed = config->seed};
    int status = kd_learner_create(&m->learner, &spec);
    if (status == KD_OK) status = kd_learner_load(m->learner, m->path, test);
    if (status == KD_OK) status = kd_tape_create(&m->tape, config->seed);
    return status < 0 ? status : kd_precision_parse(&m->tape->precision, config->precision);
}

/* The test samples, which must be of the training samples' size where those are there. */
static int open_test(kd_dataset **out, const kd_config *config) {
    kd_dataset *train;
    int status = kd_dataset_open(out, &config->data, KD_SPLIT_TEST);
    if (status < 0) return status;
    status = kd_dataset_head(&train, &config->data, KD_SPLIT_TRAIN);
    if (status < 0) return status == KD_ENOINPUT ? KD_OK : status;
    status = kd_dataset_agree(train, "training samples", *out, "test samples");
    kd_dataset_free(train);
    return status < 0 ? kd_fail_in(status, "%s", config->path) : KD_OK;
}

static void close_model(model *m) {
    kd_blob_free(m->blob);
    kd_tape_free(m->tape);
    kd_learner_free(m->learner);
}

static int run_blob(void *blob, int64_t n, const float *x, float *logits) {
    return kd_blob_run(blob, n, x, logits);
}

/* The counts and, into logits (count,classes), what the model answers. */
static int measure(kd_result *out, model *m, const kd_dataset *data, float *logits) {
    struct stat info;
    if (m->learner) {
        int status = kd_evaluate(out, m->learner, KD_RUN_FLOAT, m->tape, data, logits);
        const bool exported = kd_ends_with(m->path, ".gguf");
        if (status == KD_OK) snprintf(out->kind, sizeof out->kind, exported ? "blob" : "student");
        if (exported && stat(m->path, &info) == 0) out->bytes = info.st_size;
        return status;
    }
    int status = kd_evaluate_with(out, run_blob, m->blob, data, logits);
    if (status < 0) return status;
    out->parameters = kd_blob_parameters(m->blob);
    if (stat(m->path, &info) == 0) out->bytes = info.st_size;
    out->memory = out->bytes;
    snprintf(out->kind, sizeof out->kind, "blob");
    return KD_OK;
}

static float *allocate_logits(const kd_dataset *data) {
    size_t bytes = kd_array_bytes(data->count * data->classes, sizeof(float));
    float *logits = malloc(bytes);
    if (!logits) kd_fail_memory(bytes, "logits");
    return logits;
}

/* Chooses the shifts that are "auto", each with those before it in force. */
static int choose_biases(kd_bias_options *options, model *m, const kd_config *config) {
    kd_dataset *held = NULL;
    kd_result result = {0};
    float *logits = NULL;
    int status = kd_dataset_open(&held, &config->data, KD_SPLIT_VALIDATION);
    if (status == KD_OK && !(logits = allocate_logits(held))) status = KD_EINTERNAL;
    if (status == KD_OK && m->blob) held->normaliser = *kd_blob_normaliser(m->blob);
    if (status == KD_OK) status = measure(&result, m, held, logits);
    if (status == KD_OK) status = kd_bias_options_choose(options, &result, held, logits);
    kd_result_free_counts(&result);
    free(logits);
    kd_dataset_free(held);
    return status;
}

/* The second row: the same answers with the shifts added. */
static int measure_biased(kd_report *report, const kd_bias_options *options, const kd_dataset *test,
                          float *logits) {
    const kd_result *plain = &report->result[0];
    kd_result *out = &report->result[1];
    for (int i = 0; i < options->count; i++)
        kd_class_bias_add(&options->bias[i], test->count, test->classes, logits);
    int status = kd_evaluate_logits(out, test, logits);
    if (status < 0) return status;
    report->count = 2;
    memcpy(out->kind, plain->kind, sizeof out->kind);
    kd_result_copy_costs(out, plain);
    kd_bias_options_name(options, test, out->name, sizeof out->name);
    return KD_OK;
}

static int measure_all(kd_report *report, kd_bias_options *options, model *m,
                       const kd_dataset *test) {
    float *logits = allocate_logits(test);
    int status = logits ? measure(&report->result[0], m, test, logits) : KD_EINTERNAL;
    if (status == KD_OK) {
        report->count = 1;
        const char *slash = strrchr(m->path, '/');
        snprintf(report->result[0].name, sizeof report->result[0].name, "%s",
                 slash ? slash + 1 : m->path);
        if (kd_bias_options_auto(options)) status = choose_biases(options, m, report->config);
    }
    if (status == KD_OK && options->count > 0)
        status = measure_biased(report, options, test, logits);
    free(logits);
    return status;
}

int kd_classify_measure(const void *context, const kd_measurement *what) {
    const kd_config *config = context;
    kd_dataset *test = NULL;
    kd_bias_options options = {0};
    model m = {.path = what->model};
    kd_report report = {.config = config};
    bool blob = false;
    int status = find_blob(&blob, m.path);
    if (status == KD_OK) status = open_test(&test, config);
    if (status == KD_OK)
        status = kd_bias_options_parse(&options, what->bias_count, what->bias, test);
    if (status == KD_OK)
        status = blob ? open_blob(&m, config, test) : open_learner(&m, config, test);
    if (status == KD_OK) {
        status = measure_all(&report, &options, &m, test);
        if (status == KD_EDATA) kd_fail_in(status, "%s", m.path);
    }
    if (status == KD_OK) {
        report.classes = test->classes;
        report.class_name = (const char(*)[KD_CLASS_NAME_MAX])test->class_name;
        kd_report_print(&report);
    }
    for (int i = 0; i < report.count; i++) kd_result_free_counts(&report.result[i]);
    close_model(&m);
    kd_dataset_free(test);
    return status;
}
