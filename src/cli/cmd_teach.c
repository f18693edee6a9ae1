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

int kd_cmd_teach(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    return status == KD_OK ? kd_stage_carry_out(&arguments, KD_STAGE_TEACH) : status;
}
