/* Classifiers of pictures and of short sounds: the task's row of the registry. */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "distill/task.h"
#include "tasks/classify/classify.h"
#include "tasks/classify/metrics.h"
#include "tasks/classify/run.h"

static int load(void **config, const char *path, int set_count, const char *const *sets) {
    return kd_config_load((kd_config **)config, path, set_count, sets);
}

static void free_config(void *config) {
    kd_config_free(config);
}

static const char *run_name(const void *config) {
    return ((const kd_config *)config)->name;
}

static const kd_train_spec *training(const void *config) {
    return &((const kd_config *)config)->train;
}

static int check(const void *config, kd_stage_kind stage) {
    const kd_config *c = config;
    bool trained = false;
    for (int i = 0; i < c->quantize_count; i++) trained |= c->quantize[i].qat;
    if (stage == KD_STAGE_TEACH && !c->teacher.present)
        return kd_fail(KD_ECONFIG, "%s: has no \"teacher\"", c->path);
    if ((stage == KD_STAGE_QUANTIZE || stage == KD_STAGE_EXPORT) && c->quantize_count == 0)
        return kd_fail(KD_ECONFIG, "%s: has no \"quantize\"", c->path);
    if (stage == KD_STAGE_EXPORT && !trained)
        return kd_fail(KD_ECONFIG,
                       "%s: has no \"quantize.qat\"; `distill quantize` exports without training",
                       c->path);
    return KD_OK;
}

static int open_run(void **run, const void *config, const char *runs, bool fresh) {
    *run = calloc(1, sizeof(kd_run));
    if (!*run) return kd_fail_memory(sizeof(kd_run), "a run");
    return kd_run_open(*run, config, runs, fresh);
}

static void close_run(void *run) {
    kd_run_close(run);
    free(run);
}

static int teach(void *context) {
    kd_run *run = context;
    int status = kd_run_teachers(run);
    if (status == KD_OK) status = kd_run_teach(run);
    if (status == KD_OK)
        kd_log("%lld rows of soft targets stand in %s/store", (long long)kd_store_rows(run->store),
               run->folder);
    return status;
}

/* Writes one file and prints its path. */
static int quantize_as(kd_run *run, const kd_learner *student, const kd_quantize_config *how,
                       bool qat) {
    kd_learner *quantized = NULL;
    char path[KD_PATH_MAX];
    int status = kd_run_quantize(run, student, how, qat, &quantized);
    if (status == KD_OK) status = kd_run_blob_path(run, how, qat, path);
    if (status == KD_OK) puts(path);
    kd_learner_free(quantized);
    return status;
}

static int quantize_all(kd_run *run, bool qat) {
    const kd_config *config = run->config;
    kd_learner *student = NULL;
    int status = kd_run_teachers(run);
    if (status == KD_OK) status = kd_run_teach(run);
    if (status == KD_OK) status = kd_run_train(run, false, &student);
    for (int i = 0; status == KD_OK && i < config->quantize_count; i++)
        if (!qat || config->quantize[i].qat)
            status = quantize_as(run, student, &config->quantize[i], qat);
    kd_learner_free(student);
    return status;
}

static int quantize(void *run) {
    return quantize_all(run, false);
}

static int export(void *run) {
    return quantize_all(run, true);
}

static int pipeline(void *run) {
    return kd_run_pipeline(run);
}

extern const kd_task kd_task_classify;
const kd_task kd_task_classify = {.name = "classify",
                                  .kinds = KD_CLASSIFY_KINDS,
                                  .keys = &kd_config_root,
                                  .validation = kd_classify_validation,
                                  .test = kd_classify_test,
                                  .test_count = KD_TEST_METRICS,
                                  .load = load,
                                  .free_config = free_config,
                                  .run_name = run_name,
                                  .training = training,
                                  .inspect = kd_classify_inspect,
                                  .plan = kd_classify_plan,
                                  .measure = kd_classify_measure,
                                  .onnx = kd_classify_onnx,
                                  .check = check,
                                  .open = open_run,
                                  .close = close_run,
                                  .stage = {[KD_STAGE_TEACH] = teach,
                                            [KD_STAGE_QUANTIZE] = quantize,
                                            [KD_STAGE_EXPORT] = export,
                                            [KD_STAGE_ALL] = pipeline},
                                  .sweep = &kd_classify_sweep};
