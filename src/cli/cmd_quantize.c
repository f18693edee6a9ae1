/* `distill quantize` and `distill export`: the student in few bits without and with training. */
#include "cli/stage.h"

static const kd_option OPTIONS[] = {KD_STAGE_OPTIONS, {NULL, NULL, NULL}};

static const kd_usage QUANTIZE = {
    .command = "quantize",
    .positional = "CONFIG",
    .least = 1,
    .most = 1,
    .summary = "Post-training quantization: calibrates the trained student of a config on a few\n"
               "hundred samples and writes runs/<name>/student.<bits>.ptq.gguf, for each entry of\n"
               "\"quantize\". Runs the stages before it\n"
               "when they are missing.",
    .options = OPTIONS,
    .example = "distill quantize configs/fashion_mnist.json"};

static const kd_usage EXPORT = {
    .command = "export",
    .positional = "CONFIG",
    .least = 1,
    .most = 1,
    .summary = "Quantization-aware training and export: writes runs/<name>/student.int8.gguf,\n"
               "or as each entry of \"quantize\" is called.\n"
               "Runs the stages before it when they are missing.",
    .options = OPTIONS,
    .example = "distill export configs/fashion_mnist.json"};

static int carry_out(const kd_usage *usage, kd_stage_kind stage, int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, usage, argc, argv);
    return status == KD_OK ? kd_stage_carry_out(&arguments, stage) : status;
}

int kd_cmd_quantize(int argc, char **argv) {
    return carry_out(&QUANTIZE, KD_STAGE_QUANTIZE, argc, argv);
}

int kd_cmd_export(int argc, char **argv) {
    return carry_out(&EXPORT, KD_STAGE_EXPORT, argc, argv);
}
