#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/stage.h"

static const kd_option OPTIONS[] = {
    {"set", "KEY=VALUE", "change one key of the config; may be repeated"}, {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "eval",
    .positional = "CONFIG MODEL",
    .least = 2,
    .most = 2,
    .summary =
        "Measures a model on the test set of a config, class by class. MODEL is an exported\n"
        ".gguf, or a checkpoint or .safetensors file of the config's \"model\".",
    .options = OPTIONS,
    .example = "distill eval configs/fashion_mnist.json runs/fashion_mnist/student.int8.gguf"};

static bool is_blob(const char *path) {
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".gguf") == 0;
}

static int eval_blob(kd_result *out, const char *path, const kd_dataset *test) {
    kd_blob *blob;
    int status = kd_blob_open(&blob, path);
    if (status < 0) return status;
    kd_extent in = kd_blob_input(blob);
    if (in.h != test->h || in.w != test->w || in.c != test->c ||
        kd_blob_classes(blob) != test->classes)
        status =
            kd_fail(KD_EDATA,
                    "%s: takes %lldx%lldx%lld and knows %d classes, the data are "
                    "%lldx%lldx%lld with %d",
                    path, (long long)in.h, (long long)in.w, (long long)in.c, kd_blob_classes(blob),
                    (long long)test->h, (long long)test->w, (long long)test->c, test->classes);
    if (status == KD_OK) status = kd_evaluate_blob(out, blob, test, NULL);
    if (status == KD_OK) {
        struct stat info;
        out->parameters = kd_blob_parameters(blob);
        if (stat(path, &info) == 0) out->bytes = info.st_size;
        out->memory = out->bytes;
        snprintf(out->kind, sizeof out->kind, "blob");
    }
    kd_blob_free(blob);
    return status;
}

static int eval_learner(kd_result *out, const char *path, const kd_config *config,
                        const kd_dataset *test) {
    kd_learner *learner;
    kd_tape *tape = NULL;
    kd_learner_spec spec = {.model = &config->model,
                            .input = {test->h, test->w, test->c},
                            .classes = test->classes,
                            .seed = config->seed};
    int status = kd_learner_create(&learner, &spec);
    if (status < 0) return status;
    status = kd_learner_load(learner, path);
    if (status == KD_OK) status = kd_tape_create(&tape, config->seed);
    if (status == KD_OK) status = kd_precision_parse(&tape->precision, config->precision);
    if (status == KD_OK) status = kd_evaluate(out, learner, KD_RUN_FLOAT, tape, test, NULL);
    if (status == KD_OK) snprintf(out->kind, sizeof out->kind, "student");
    kd_tape_free(tape);
    kd_learner_free(learner);
    return status;
}

int kd_cmd_eval(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    kd_config *config;
    kd_dataset *test = NULL;
    status = kd_stage_config(&config, &arguments);
    if (status < 0) return status;
    const char *path = arguments.positional[1];
    kd_report report = {.config = config, .count = 1};
    status = kd_dataset_open(&test, &config->data, KD_SPLIT_TEST);
    if (status == KD_OK)
        status = is_blob(path) ? eval_blob(&report.result[0], path, test)
                               : eval_learner(&report.result[0], path, config, test);
    if (status == KD_OK) {
        const char *slash = strrchr(path, '/');
        snprintf(report.result[0].name, sizeof report.result[0].name, "%s",
                 slash ? slash + 1 : path);
        report.classes = test->classes;
        report.class_name = (const char(*)[KD_CLASS_NAME_MAX])test->class_name;
        kd_report_print(&report);
        kd_result_free_counts(&report.result[0]);
    }
    kd_dataset_free(test);
    kd_config_free(config);
    return status;
}
