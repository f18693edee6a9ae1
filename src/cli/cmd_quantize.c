/* `distill quantize` and `distill export`: the int8 student without and with training. */
#include <stdio.h>

#include "base/log.h"
#include "cli/stage.h"

static const kd_option OPTIONS[] = {KD_STAGE_OPTIONS, {NULL, NULL, NULL}};

static const kd_usage QUANTIZE = {
    .command = "quantize",
    .positional = "CONFIG",
    .least = 1,
    .most = 1,
    .summary =
        "Post-training quantization: calibrates the trained student of a config on a few\n"
        "hundred samples and writes runs/<name>/student.ptq.gguf. Runs the stages before it\n"
        "when they are missing.",
    .options = OPTIONS,
    .example = "distill quantize configs/fashion_mnist.json"};

static const kd_usage EXPORT = {
    .command = "export",
    .positional = "CONFIG",
    .least = 1,
    .most = 1,
    .summary = "Quantization-aware training and export: writes runs/<name>/student.int8.gguf.\n"
               "Runs the stages before it when they are missing.",
    .options = OPTIONS,
    .example = "distill export configs/fashion_mnist.json"};

static int quantize(const kd_usage *usage, int argc, char **argv, bool qat) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, usage, argc, argv);
    if (status != KD_OK) return status;
    kd_stage stage;
    kd_learner *student = NULL, *quantized = NULL;
    char path[KD_PATH_MAX];
    status = kd_stage_open(&stage, &arguments);
    if (status == KD_OK && !stage.config->quantize.present)
        status = kd_fail(KD_ECONFIG, "%s: has no \"quantize\"", stage.config->path);
    if (status == KD_OK && qat && !stage.config->quantize.qat)
        status = kd_fail(KD_ECONFIG,
                         "%s: has no \"quantize.qat\"; `distill quantize` exports "
                         "without training",
                         stage.config->path);
    if (status == KD_OK) status = kd_run_teachers(&stage.run);
    if (status == KD_OK) status = kd_run_teach(&stage.run);
    if (status == KD_OK) status = kd_run_train(&stage.run, false, &student);
    if (status == KD_OK) status = kd_run_quantize(&stage.run, student, qat, &quantized);
    if (status == KD_OK) status = kd_run_blob_path(&stage.run, qat, path);
    if (status == KD_OK) puts(path);
    kd_learner_free(student);
    kd_learner_free(quantized);
    kd_stage_close(&stage);
    return status;
}

int kd_cmd_quantize(int argc, char **argv) {
    return quantize(&QUANTIZE, argc, argv, false);
}

int kd_cmd_export(int argc, char **argv) {
    return quantize(&EXPORT, argc, argv, true);
}
