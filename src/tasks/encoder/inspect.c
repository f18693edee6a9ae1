/* An encoder's config, for `distill inspect`. */
#include "base/error.h"
#include "tasks/encoder/encoder.h"
#include "tasks/encoder/encoder_config.h"

static void add_texts(kd_text *out, const char *what, const kd_encoder_files *files) {
    for (int i = 0; i < files->count; i++) kd_text_add(out, "%s: %s\n", what, files->path[i]);
}

static void add_student(kd_text *out, const kd_encoder_student *model) {
    kd_text_add(out, "student: %s", model->type == KD_ENCODER_BERT ? "bert" : "distilbert");
    if (model->weights[0]) kd_text_add(out, " that begins as %s", model->weights);
    if (model->layers > 0) kd_text_add(out, ", %d layers", model->layers);
    for (int i = 0; i < model->keep_count; i++)
        kd_text_add(out, "%s%d", i ? " " : ", the teacher's layers ", model->keep[i]);
    kd_text_add(out, "\n");
}

int kd_encoder_inspect(kd_text *out, const void *context) {
    const kd_encoder_config *config = context;
    const kd_encoder_data *data = &config->data;
    kd_text_add(out, "%s: configuration of the run %s, hash %s\n", config->path, config->name,
                config->hash.hex);
    add_texts(out, "training texts", &data->train);
    add_texts(out, "validation texts", &data->validation);
    add_texts(out, "test texts", &data->test);
    for (int i = 0; i < data->class_count; i++)
        kd_text_add(out, "%s%s%s", i ? ", " : "classes: ", data->class_name[i],
                    i + 1 < data->class_count ? "" : "\n");
    if (config->teacher.weights[0]) kd_text_add(out, "teacher: %s\n", config->teacher.weights);
    add_student(out, &config->model);
    for (int i = 0; i < config->quantize_count; i++)
        kd_text_add(out, "student.%s: %s\n", config->quantize[i].name,
                    config->quantize[i].format_name);
    return KD_OK;
}
