#include "cli/stage.h"

static const kd_option OPTIONS[] = {KD_STAGE_OPTIONS, {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "label",
    .positional = "CONFIG",
    .least = 1,
    .most = 1,
    .summary =
        "Writes down what the teacher of a speech config hears in every recording:\n"
        "runs/<name>/labels. A label belongs to the content of a sound, so lists can change and\n"
        "nothing is heard twice. Recordings that cannot be read are left out and named; three or\n"
        "more of them, if they are more than one in ten, end it. An interruption loses nothing.",
    .options = OPTIONS,
    .example = "distill label configs/whisper_base_en.json"};

int kd_cmd_label(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    return status == KD_OK ? kd_stage_carry_out(&arguments, KD_STAGE_LABEL) : status;
}
