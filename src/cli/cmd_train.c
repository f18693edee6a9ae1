#include "base/log.h"
#include "cli/plan.h"
#include "cli/stage.h"

static const kd_option OPTIONS[] = {
    KD_STAGE_OPTIONS,
    {"dry-run", NULL,
     "say what would be done, how long it takes and whether it fits; train nothing"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "train",
    .positional = "CONFIG",
    .least = 1,
    .most = 1,
    .summary =
        "Runs the stages of a config that are missing: labels (speech), teachers, soft targets,\n"
        "training, quantization (PTQ, then QAT), export. Ends with one table of every model on "
        "the\n"
        "test set, and writes runs/<name>/report.html. An interrupted run goes on by itself.",
    .options = OPTIONS,
    .example = "distill train configs/fashion_mnist.json\n"
               "distill train configs/fashion_mnist.json --dry-run\n"
               "distill train configs/fashion_mnist.json --set train.epochs=3 --set name=short"};

int kd_cmd_train(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    const bool dry = kd_arguments_has(&arguments, "dry-run");
    if (kd_speech_config_is(arguments.positional[0]))
        return dry ? kd_plan_print_speech(&arguments)
                   : kd_stage_speech(&arguments, kd_speech_run_everything);
    if (dry) return kd_plan_print(&arguments);
    kd_stage stage;
    status = kd_stage_open(&stage, &arguments, NULL);
    if (status == KD_OK) status = kd_run_everything(&stage.run, false);
    kd_stage_close(&stage);
    return status;
}
