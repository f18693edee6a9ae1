/* Language models: the task's row of the registry. */
#include <stdlib.h>

#include "base/error.h"
#include "distill/task.h"
#include "files/llama_file.h"
#include "tasks/language/language.h"
#include "tasks/language/language_imatrix.h"
#include "tasks/language/language_run.h"
#include "tasks/language/metrics.h"

static int load(void **config, const char *path, int set_count, const char *const *sets) {
    return kd_language_config_load((kd_language_config **)config, path, set_count, sets);
}

static void free_config(void *config) {
    kd_language_config_free(config);
}

static const char *run_name(const void *config) {
    return ((const kd_language_config *)config)->name;
}

static const kd_train_spec *training(const void *config) {
    return &((const kd_language_config *)config)->train;
}

static int measure(const void *config, const kd_measurement *what) {
    kd_language_run run;
    if (what->bias_count > 0)
        return kd_fail(KD_EUSAGE, "--bias is for models that answer with a class");
    int status = kd_language_run_look(&run, config, what->runs);
    if (status == KD_OK) status = kd_language_run_measure(&run, what->model);
    kd_language_run_close(&run);
    return status;
}

static int check(const void *config, kd_stage_kind stage) {
    const kd_language_config *c = config;
    if (stage == KD_STAGE_QUANTIZE && c->quantize_count == 0)
        return kd_fail(KD_ECONFIG, "%s: has no \"quantize\"", c->path);
    if (stage == KD_STAGE_TEACH && !kd_language_has_store(c))
        return kd_fail(
            KD_ECONFIG,
            "%s: nothing is written down: teacher.targets.kind is \"online\", or loss.kl "
            "is 0",
            c->path);
    return KD_OK;
}

static int open_run(void **run, const void *config, const char *runs, bool fresh) {
    *run = calloc(1, sizeof(kd_language_run));
    if (!*run) return kd_fail_memory(sizeof(kd_language_run), "a run");
    return kd_language_run_open(*run, config, runs, fresh);
}

static void close_run(void *run) {
    kd_language_run_close(run);
    free(run);
}

static int teach(void *run) {
    return kd_language_run_teach(run);
}

static int quantize(void *run) {
    return kd_language_run_quantize(run);
}

static int export(void *run) {
    int status = kd_language_run_export(run);
    return status < 0 ? status : kd_language_run_print_files(run);
}

static int everything(void *run) {
    return kd_language_run_everything(run);
}

extern const kd_task kd_task_language;
const kd_task kd_task_language = {.name = "language",
                                  .kinds = KD_LANGUAGE_KINDS,
                                  .keys = &kd_language_config_root,
                                  .validation = kd_language_validation,
                                  .test = kd_language_test,
                                  .test_count = KD_TOLD_METRICS,
                                  .load = load,
                                  .free_config = free_config,
                                  .run_name = run_name,
                                  .training = training,
                                  .inspect = kd_language_inspect,
                                  .plan = kd_language_plan,
                                  .measure = measure,
                                  .check = check,
                                  .open = open_run,
                                  .close = close_run,
                                  .knows_model = kd_llama_file_is,
                                  .imatrix = kd_language_imatrix,
                                  .stage = {[KD_STAGE_TEACH] = teach,
                                            [KD_STAGE_QUANTIZE] = quantize,
                                            [KD_STAGE_EXPORT] = export,
                                            [KD_STAGE_ALL] = everything},
                                  .sweep = &kd_language_sweep};
