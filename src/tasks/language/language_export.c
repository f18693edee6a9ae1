/* The files of the student: as it is, and as each entry of "quantize" has it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/ranks.h"
#include "distill/budget.h"
#include "distill/results.h"
#include "tasks/language/calibrate.h"
#include "tasks/language/language_run.h"
#include "tasks/language/student.h"

int kd_language_run_file(const kd_language_run *run, const kd_language_quantize *how, bool ptq,
                         char out[KD_PATH_MAX]) {
    char name[64];
    snprintf(name, sizeof name, "student%s%s%s%s", how ? "." : "", how ? how->name : "",
             ptq && how->qat ? ".ptq" : "", how && how->layout[0] ? "" : ".gguf");
    return kd_path_join(out, run->folder, name);
}

static int write_folder(const char *path, const kd_language_quantize *how,
                        const kd_llama_file *file, const float *inputs) {
    kd_packing packing = how->packing;
    packing.inputs = inputs;
    const int status = kd_results_write_origin(path, file->origin);
    return status == KD_OK ? kd_llama_folder_write_packed(path, file, &packing) : status;
}

/* `format`: that of most of its matrices; `inputs` as in kd_packing. */
static int write_file(const kd_language_run *run, const kd_language_quantize *how, bool ptq,
                      kd_llama_file *file, const kd_number_format *format, const float *inputs) {
    char path[KD_PATH_MAX], *text;
    kd_origin origin;
    kd_language_origin_file(&origin, run, how, ptq);
    int status = kd_origin_text(&text, &origin);
    file->origin = text;
    if (status == KD_OK) status = kd_language_run_file(run, how, ptq, path);
    if (status == KD_OK)
        status = how && how->layout[0] ? write_folder(path, how, file, inputs)
                                       : kd_llama_gguf_write(path, file, format);
    file->origin = NULL;
    kd_origin_clear(&origin);
    free(text);
    return status;
}

static kd_quantizable quantizable(const kd_llama_file *file) {
    return (kd_quantizable){.params = file->model->params,
                            .rule = kd_llama_format_of,
                            .scalings = kd_llama_scalings,
                            .layers = file->model};
}

/* Formats for the student, where the entry has a budget; they are chosen once. */
static int choose(kd_language_run *run, const kd_language_quantize *how) {
    kd_budget **budget = &run->budget[how - run->config->quantize];
    const kd_quantizable model = quantizable(run->student);
    if (!how->budget.asked || *budget) return KD_OK;
    int status = kd_language_budget(budget, &how->budget, &model, run->student->model, run->train,
                                    how->name);
    return status < 0 ? status : kd_budget_save(*budget, run->folder, how->name);
}

/* The student, or a copy that may be trained, with a quantizer on it that has seen what it must. */
static int quantize(kd_quantized **out, const kd_language_run *run, kd_llama_file *file,
                    const kd_language_quantize *how, const kd_budget *budget) {
    kd_quantizable model = quantizable(file);
    if (how->layout[0]) model.rule = kd_packed_format_of;
    const kd_quantize_spec spec = budget ? kd_budget_quantize(&how->spec, budget) : how->spec;
    int status = kd_quantized_create(out, &model, &spec);
    if (status == KD_OK) status = kd_quantized_start(*out);
    if (status == KD_OK && how->spec.how->sees != KD_SEES_NOTHING)
        status = kd_language_calibrate(*out, file->model, run->train, how->calibration_samples);
    return status;
}

/* The largest inputs of the matrices as they are rounded now; the caller frees. */
static int see_inputs(float **out, const kd_language_run *run, const kd_language_quantize *how,
                      const kd_llama *model) {
    const int count = model->params->count;
    kd_input_squares *seen = NULL;
    *out = calloc((size_t)count, sizeof **out);
    if (!*out) return kd_fail_memory((size_t)count * sizeof **out, "largest inputs");
    int status = kd_input_squares_create(&seen, model->params);
    if (status == KD_OK)
        status = kd_language_watch(seen, model, run->train, how->calibration_samples);
    for (int i = 0; i < count && status == KD_OK; i++)
        (*out)[i] = kd_input_squares_largest(seen, i);
    kd_input_squares_free(seen);
    return status;
}

/* Its file: the encodings are those of the last rounding, the rest its own weights. */
static int write_rounded(const kd_language_run *run, const kd_language_quantize *how, bool ptq,
                         kd_llama_file *file, kd_quantized *quantized) {
    float *inputs = NULL;
    int status = kd_quantized_round(quantized);
    if (status == KD_OK && how->inputs) status = see_inputs(&inputs, run, how, file->model);
    kd_quantized_leave(quantized);
    file->encoding = kd_quantized_encodings(quantized);
    const kd_budget *budget = run->budget[how - run->config->quantize];
    kd_text chosen = {0};
    if (budget) kd_budget_add_metadata(&chosen, budget);
    if (status == KD_OK) status = kd_text_finish(&chosen, "a budget");
    file->budget = budget ? chosen.text : NULL;
    if (status == KD_OK) status = write_file(run, how, ptq, file, quantized->spec.format, inputs);
    file->encoding = NULL;
    file->budget = NULL;
    free(chosen.text);
    free(inputs);
    return status;
}

static int write_quantized(kd_language_run *run, const kd_language_quantize *how) {
    static const kd_language_model same = {.start = KD_START_TEACHER};
    kd_llama_file *copy = NULL;
    kd_quantized *quantized = NULL;
    int status = choose(run, how);
    if (status == KD_OK)
        status = kd_language_student_create(&copy, run->student, &same, NULL, 0, KD_LLAMA_TRAIN);
    if (status == KD_OK)
        status = quantize(&quantized, run, copy, how, run->budget[how - run->config->quantize]);
    if (status == KD_OK && how->qat)
        status = kd_language_run_train_rounded(run, copy->model, how, quantized);
    if (status == KD_OK) status = write_rounded(run, how, false, copy, quantized);
    kd_quantized_free(quantized);
    kd_llama_file_free(copy);
    return status;
}

int kd_language_run_export(kd_language_run *run) {
    char folder[KD_PATH_MAX];
    int status = kd_language_run_train(run);
    if (status == KD_OK) status = write_file(run, NULL, false, run->student, &kd_format_f16, NULL);
    if (status == KD_OK) status = kd_path_join(folder, run->folder, "student");
    if (status == KD_OK) status = kd_llama_folder_write(folder, run->student, &kd_format_f32);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++)
        status = write_quantized(run, &run->config->quantize[i]);
    return kd_ranks_worst(status); /* and the files are there */
}

static int print_file(const kd_language_run *run, const kd_language_quantize *how, bool ptq) {
    char path[KD_PATH_MAX];
    int status = kd_language_run_file(run, how, ptq, path);
    if (status == KD_OK) puts(path);
    return status;
}

int kd_language_run_quantize(kd_language_run *run) {
    int status = kd_language_run_train(run);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++) {
        const kd_language_quantize *how = &run->config->quantize[i];
        kd_quantized *quantized = NULL;
        status = choose(run, how);
        if (status == KD_OK) status = quantize(&quantized, run, run->student, how, run->budget[i]);
        if (status == KD_OK) status = write_rounded(run, how, true, run->student, quantized);
        if (status == KD_OK) status = print_file(run, how, true);
        kd_quantized_free(quantized);
    }
    return status;
}

int kd_language_run_print_files(const kd_language_run *run) {
    int status = print_file(run, NULL, false);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++)
        status = print_file(run, &run->config->quantize[i], false);
    return status;
}
