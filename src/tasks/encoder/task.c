/* Encoders: the task's row of the registry. */
#include <stdlib.h>

#include "base/error.h"
#include "distill/task.h"
#include "tasks/encoder/encoder.h"
#include "tasks/encoder/encoder_run.h"
#include "tasks/encoder/metrics.h"

static int load(void **config, const char *path, int set_count, const char *const *sets) {
    return kd_encoder_config_load((kd_encoder_config **)config, path, set_count, sets);
}

static void free_config(void *config) {
    kd_encoder_config_free(config);
}

static const char *run_name(const void *config) {
    return ((const kd_encoder_config *)config)->name;
}

static const kd_train_spec *training(const void *config) {
    return &((const kd_encoder_config *)config)->train;
}

static int measure(const void *config, const kd_measurement *what) {
    kd_encoder_run run;
    if (what->bias_count > 0) return kd_fail(KD_EUSAGE, "--bias is for classifiers of pictures");
    int status = kd_encoder_run_look(&run, config);
    if (status == KD_OK) status = kd_encoder_run_measure(&run, what->model);
    kd_encoder_run_close(&run);
    return status;
}

static int check(const void *config, kd_stage_kind stage) {
    const kd_encoder_config *c = config;
    if (stage == KD_STAGE_QUANTIZE && c->quantize_count == 0)
        return kd_fail(KD_ECONFIG, "%s: has no \"quantize\"", c->path);
    return KD_OK;
}

static int open_run(void **run, const void *config, const char *runs, bool fresh) {
    *run = calloc(1, sizeof(kd_encoder_run));
    if (!*run) return kd_fail_memory(sizeof(kd_encoder_run), "a run");
    return kd_encoder_run_open(*run, config, runs, fresh);
}

static void close_run(void *run) {
    kd_encoder_run_close(run);
    free(run);
}

static int export(void *run) {
    int status = kd_encoder_run_export(run);
    return status < 0 ? status : kd_encoder_run_print_files(run);
}

static int pipeline(void *run) {
    return kd_encoder_run_pipeline(run);
}

extern const kd_task kd_task_encoder;
const kd_task kd_task_encoder = {
    .name = "encoder",
    .kinds = KD_ENCODER_KINDS,
    .keys = &kd_encoder_config_root,
    .validation = kd_encoder_validation,
    .test = kd_encoder_test,
    .test_count = KD_SEEN_METRICS,
    .load = load,
    .free_config = free_config,
    .run_name = run_name,
    .training = training,
    .inspect = kd_encoder_inspect,
    .plan = kd_encoder_plan,
    .measure = measure,
    .check = check,
    .open = open_run,
    .close = close_run,
    .knows_model = kd_bert_file_is,
    .stage = {[KD_STAGE_QUANTIZE] = export, [KD_STAGE_EXPORT] = export, [KD_STAGE_ALL] = pipeline},
    .sweep = &kd_encoder_sweep};
