#include "base/log.h"
#include "cli/stage.h"

static const kd_option OPTIONS[] = {KD_STAGE_OPTIONS, {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "teach",
    .positional = "CONFIG",
    .least = 1,
    .most = 1,
    .summary = "Trains or loads the teacher of a config and writes its soft targets to\n"
               "runs/<name>/store. Whole shards survive an interruption.",
    .options = OPTIONS,
    .example = "distill teach configs/fashion_mnist.json"};

static int check_config(const kd_config *config) {
    if (config->teacher.present) return KD_OK;
    return kd_fail(KD_ECONFIG, "%s: has no \"teacher\"", config->path);
}

int kd_cmd_teach(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    if (kd_speech_config_is(arguments.positional[0]))
        return kd_stage_speech(&arguments, kd_speech_run_teach);
    kd_stage stage;
    status = kd_stage_open(&stage, &arguments, check_config);
    if (status == KD_OK) status = kd_run_teachers(&stage.run);
    if (status == KD_OK) status = kd_run_teach(&stage.run);
    if (status == KD_OK)
        kd_log("%lld rows of soft targets stand in %s/store",
               (long long)kd_store_rows(stage.run.store), stage.run.folder);
    kd_stage_close(&stage);
    return status;
}
