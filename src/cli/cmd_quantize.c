/* `distill quantize` and `distill export`: the student in few bits without and with training. */
#include "base/error.h"
#include "cli/device.h"
#include "cli/file_kind.h"
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

static const kd_option EXPORT_OPTIONS[] = {
    KD_STAGE_OPTIONS,
    {"c-array", "FILE",
     "write MODEL, an exported file, as a header in C: its bytes, its arena's size and\n"
     "its classes, for runtime/distill_run.h; nothing is trained"},
    {NULL, NULL, NULL}};

static const kd_usage EXPORT = {
    .command = "export",
    .positional = "CONFIG|MODEL",
    .least = 1,
    .most = 1,
    .summary = "Quantization-aware training and export: writes runs/<name>/student.int8.gguf,\n"
               "or as each entry of \"quantize\" is called.\n"
               "Runs the stages before it when they are missing. With --c-array an exported MODEL\n"
               "becomes C for a firmware.",
    .options = EXPORT_OPTIONS,
    .example = "distill export configs/fashion_mnist.json\n"
               "distill export runs/fashion_mnist/student.int8.gguf --c-array model.h"};

int kd_cmd_quantize(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &QUANTIZE, argc, argv);
    return status == KD_OK ? kd_stage_carry_out(&arguments, KD_STAGE_QUANTIZE) : status;
}

int kd_cmd_export(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &EXPORT, argc, argv);
    if (status != KD_OK) return status;
    const char *array = kd_arguments_value(&arguments, "c-array"), *what = arguments.positional[0];
    if (!array) return kd_stage_carry_out(&arguments, KD_STAGE_EXPORT);
    kd_file_kind kind = KD_FILE_CONFIG;
    status = kd_file_kind_of(&kind, what);
    if (status == KD_OK && kind != KD_FILE_GGUF)
        status = kd_fail(KD_EUSAGE,
                         "--c-array: %s is no exported model: name the .gguf that `distill export` "
                         "or `distill train` wrote",
                         what);
    return status == KD_OK ? kd_device_write_array(array, what) : status;
}
