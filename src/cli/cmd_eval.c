#include <stdio.h>

#include "base/file.h"
#include "cli/stage.h"

static const kd_option OPTIONS[] = {
    {"set", "KEY=VALUE", "change one key of the config; may be repeated"},
    {"bias", "CLASSES=SHIFT",
     "measure also with SHIFT added to the output biases of CLASSES; auto: the best on the "
     "validation split"},
    {"runs", "FOLDER",
     "where runs are kept (default: runs); MODEL may be a file of the config's run"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "eval",
    .positional = "CONFIG MODEL",
    .least = 2,
    .most = 2,
    .summary =
        "Measures a model on the test set of a config, class by class. MODEL is an exported\n"
        ".gguf, or a checkpoint or .safetensors file of the config's \"model\"; of a speech\n"
        "config, a Whisper model, whose word error rates stand beside the teacher's.",
    .options = OPTIONS,
    .example = "distill eval configs/whisper_base_en.json runs/whisper_base_en/student.bin\n"
               "distill eval configs/whisper_base_en.json student.q4_0.bin --runs runs\n"
               "distill eval configs/fashion_mnist.json runs/fashion_mnist/student.int8.gguf\n"
               "distill eval mnist.json runs/mnist/train.best.h5 --bias 3=auto --bias 7,8=-7.6"};

/* MODEL, or the file of that name in the run's folder when it is there alone. */
static int find_model(char out[KD_PATH_MAX], kd_arguments *arguments, const char *run) {
    const char *name = arguments->positional[1], *runs = kd_stage_runs(arguments);
    char folder[KD_PATH_MAX];
    int status = kd_path_join(folder, runs, run);
    if (status == KD_OK) status = kd_path_join(out, folder, name);
    if (status < 0) return status;
    if (kd_file_exists(name) || !kd_file_exists(out)) snprintf(out, KD_PATH_MAX, "%s", name);
    return KD_OK;
}

int kd_cmd_eval(int argc, char **argv) {
    kd_arguments arguments;
    kd_stage_config config;
    char model[KD_PATH_MAX] = "";
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    status = kd_stage_config_load(&config, &arguments);
    if (status == KD_OK)
        status = find_model(model, &arguments, config.task->run_name(config.config));
    if (status == KD_OK) {
        kd_measurement what = {.model = model, .runs = kd_stage_runs(&arguments)};
        what.bias_count = kd_arguments_all(&arguments, "bias", &what.bias);
        status = config.task->measure(config.config, &what);
    }
    kd_stage_config_clear(&config);
    return status;
}
