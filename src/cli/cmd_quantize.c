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

static int check_quantized(const kd_config *config) {
    if (config->quantize_count > 0) return KD_OK;
    return kd_fail(KD_ECONFIG, "%s: has no \"quantize\"", config->path);
}

static int check_trained(const kd_config *config) {
    bool trained = false;
    for (int i = 0; i < config->quantize_count; i++) trained |= config->quantize[i].qat;
    int status = check_quantized(config);
    if (status < 0 || trained) return status;
    return kd_fail(KD_ECONFIG,
                   "%s: has no \"quantize.qat\"; `distill quantize` exports without training",
                   config->path);
}

/* Writes one file and prints its path. */
static int quantize_as(kd_run *run, const kd_learner *student, const kd_quantize_config *how,
                       bool qat) {
    kd_learner *quantized = NULL;
    char path[KD_PATH_MAX];
    int status = kd_run_quantize(run, student, how, qat, &quantized);
    if (status == KD_OK) status = kd_run_blob_path(run, how, qat, path);
    if (status == KD_OK) puts(path);
    kd_learner_free(quantized);
    return status;
}

static int quantize(const kd_usage *usage, int argc, char **argv, bool qat) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, usage, argc, argv);
    if (status != KD_OK) return status;
    kd_stage stage;
    kd_learner *student = NULL;
    status = kd_stage_open(&stage, &arguments, qat ? check_trained : check_quantized);
    if (status == KD_OK) status = kd_run_teachers(&stage.run);
    if (status == KD_OK) status = kd_run_teach(&stage.run);
    if (status == KD_OK) status = kd_run_train(&stage.run, false, &student);
    for (int i = 0; status == KD_OK && i < stage.config->quantize_count; i++)
        if (!qat || stage.config->quantize[i].qat)
            status = quantize_as(&stage.run, student, &stage.config->quantize[i], qat);
    kd_learner_free(student);
    kd_stage_close(&stage);
    return status;
}

int kd_cmd_quantize(int argc, char **argv) {
    return quantize(&QUANTIZE, argc, argv, false);
}

int kd_cmd_export(int argc, char **argv) {
    return quantize(&EXPORT, argc, argv, true);
}
