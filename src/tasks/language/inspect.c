/* A language model's config, for `distill inspect`. */
#include "base/error.h"
#include "distill/quantize_keys.h"
#include "tasks/language/language.h"
#include "tasks/language/language_config.h"

static void add_texts(kd_text *out, const char *what, const kd_text_paths *paths) {
    for (int i = 0; i < paths->count; i++) kd_text_add(out, "%s: %s\n", what, paths->path[i]);
}

static void add_student(kd_text *out, const kd_language_model *model) {
    kd_text_add(out, "student: as the teacher");
    if (model->start == KD_START_RANDOM) kd_text_add(out, ", of random numbers");
    if (model->layers > 0) kd_text_add(out, ", %d layers", model->layers);
    for (int i = 0; i < model->keep_count; i++)
        kd_text_add(out, "%s%d", i ? " " : ", its layers ", model->keep[i]);
    kd_text_add(out, "\n");
}

int kd_language_inspect(kd_text *out, const void *context) {
    const kd_language_config *config = context;
    kd_text_add(out, "%s: configuration of the run %s, hash %s\n", config->path, config->name,
                config->hash.hex);
    add_texts(out, "training texts", &config->data.train);
    add_texts(out, "validation texts", &config->data.validation);
    add_texts(out, "test texts", &config->data.test);
    kd_text_add(out, "teacher: %s\n", config->teacher.weights);
    add_student(out, &config->model);
    for (int i = 0; i < config->quantize_count; i++)
        kd_text_add(out, "student.%s: %s%s\n", config->quantize[i].name,
                    kd_quantize_title(&config->quantize[i].budget, config->quantize[i].format_name,
                                      "formats by a budget"),
                    config->quantize[i].qat ? ", trained with rounded weights" : "");
    return KD_OK;
}
