#include "cli/stage.h"

static const kd_option OPTIONS[] = {KD_STAGE_OPTIONS, {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "label",
    .positional = "CONFIG",
    .least = 1,
    .most = 1,
    .summary =
        "Writes down what the teacher of a speech config hears in every recording, with its\n"
        "word error rate where the list has the words: runs/<name>/labels. Whole shards\n"
        "survive an interruption.",
    .options = OPTIONS,
    .example = "distill label configs/whisper_base_en.json"};

int kd_cmd_label(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    return kd_stage_speech(&arguments, kd_speech_run_label);
}
