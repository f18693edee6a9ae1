/* Speech recognisers: the task's row of the registry. */
#include <stdlib.h>

#include "base/error.h"
#include "distill/task.h"
#include "tasks/speech/metrics.h"
#include "tasks/speech/speech.h"
#include "tasks/speech/speech_calibrate.h"
#include "tasks/speech/speech_run.h"

static int load(void **config, const char *path, int set_count, const char *const *sets) {
    return kd_speech_config_load((kd_speech_config **)config, path, set_count, sets);
}

static void free_config(void *config) {
    kd_speech_config_free(config);
}

static const char *run_name(const void *config) {
    return ((const kd_speech_config *)config)->name;
}

static const kd_train_spec *training(const void *config) {
    return &((const kd_speech_config *)config)->train;
}

static int measure(const void *config, const kd_measurement *what) {
    kd_speech_run run;
    if (what->bias_count > 0)
        return kd_fail(KD_EUSAGE, "--bias is for models that answer with a class");
    int status = kd_speech_run_look(&run, config);
    if (status == KD_OK) status = kd_speech_run_measure(&run, what->model);
    kd_speech_run_close(&run);
    return status;
}

static int check(const void *config, kd_stage_kind stage) {
    const kd_speech_config *c = config;
    if (stage == KD_STAGE_QUANTIZE && c->quantize_count == 0)
        return kd_fail(KD_ECONFIG, "%s: has no \"quantize\"", c->path);
    return KD_OK;
}

static int open_run(void **run, const void *config, const char *runs, bool fresh) {
    *run = calloc(1, sizeof(kd_speech_run));
    if (!*run) return kd_fail_memory(sizeof(kd_speech_run), "a run");
    return kd_speech_run_open(*run, config, runs, fresh);
}

static void close_run(void *run) {
    kd_speech_run_close(run);
    free(run);
}

static int label(void *run) {
    return kd_speech_run_label(run);
}

static int teach(void *run) {
    return kd_speech_run_teach(run);
}

static int quantize(void *run) {
    return kd_speech_run_quantize(run);
}

static int export(void *run) {
    int status = kd_speech_run_export(run);
    return status < 0 ? status : kd_speech_run_print_files(run);
}

static int pipeline(void *run) {
    return kd_speech_run_pipeline(run);
}

extern const kd_task kd_task_speech;
const kd_task kd_task_speech = {.name = "speech",
                                .kinds = KD_SPEECH_KINDS,
                                .keys = &kd_speech_config_root,
                                .validation = kd_speech_validation,
                                .test = kd_speech_test,
                                .test_count = KD_HEARD_METRICS,
                                .load = load,
                                .free_config = free_config,
                                .run_name = run_name,
                                .training = training,
                                .inspect = kd_speech_inspect,
                                .plan = kd_speech_plan,
                                .measure = measure,
                                .check = check,
                                .open = open_run,
                                .close = close_run,
                                .stage = {[KD_STAGE_LABEL] = label,
                                          [KD_STAGE_TEACH] = teach,
                                          [KD_STAGE_QUANTIZE] = quantize,
                                          [KD_STAGE_EXPORT] = export,
                                           [KD_STAGE_ALL] = pipeline},
                                .imatrix = kd_speech_imatrix,
                                .sweep = &kd_speech_sweep};
