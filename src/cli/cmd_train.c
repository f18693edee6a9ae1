#include "cli/stage.h"

static const kd_option OPTIONS[] = {
    KD_STAGE_OPTIONS,
    {"dry-run", NULL,
     "say what would be done, how long it takes and whether it fits; train nothing"},
    {"network", "GBITS",
     "with --dry-run: training on 1 to 64 machines whose network has so many Gbit/s"},
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

static int plan(kd_arguments *arguments) {
    enum { GIGABITS_MAX = 100000 };
    int64_t gigabits;
    int status = kd_arguments_integer(&gigabits, arguments, "network", 1, GIGABITS_MAX, 0);
    return status == KD_OK ? kd_stage_plan(arguments, (double)gigabits, NULL) : status;
}

int kd_cmd_train(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    if (kd_arguments_has(&arguments, "network") && !kd_arguments_has(&arguments, "dry-run"))
        return kd_fail(KD_EUSAGE, "distill train: --network is for --dry-run");
    return kd_arguments_has(&arguments, "dry-run") ? plan(&arguments)
                                                   : kd_stage_carry_out(&arguments, KD_STAGE_ALL);
}
