/* The files of the student: as it is, and as each entry of "quantize" has it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/late_file.h"
#include "base/ranks.h"
#include "tasks/language/calibrate.h"
#include "tasks/language/language_run.h"
#include "tasks/language/student.h"

int kd_language_run_file(const kd_language_run *run, const kd_language_quantize *how, bool ptq,
                         char out[KD_PATH_MAX]) {
    char name[64];
    snprintf(name, sizeof name, "student%s%s%s.gguf", how ? "." : "", how ? how->name : "",
             ptq && how->qat ? ".ptq" : "");
    return kd_path_join(out, run->folder, name);
}

static int write_file(const kd_language_run *run, const kd_language_quantize *how, bool ptq,
                      kd_llama_file *file) {
    char path[KD_PATH_MAX], *text;
    kd_origin origin;
    kd_language_origin_file(&origin, run, how, ptq);
    int status = kd_origin_text(&text, &origin);
    file->origin = text;
    if (status == KD_OK) status = kd_language_run_file(run, how, ptq, path);
    if (status == KD_OK)
        status = kd_llama_gguf_write(path, file, how ? how->spec.format : &kd_format_f16);
    file->origin = NULL;
    kd_origin_clear(&origin);
    free(text);
    return status;
}

/* The student, or a copy that may be trained, with a quantizer on it that has seen what it must. */
static int quantize(kd_quantized **out, const kd_language_run *run, kd_llama_file *file,
                    const kd_language_quantize *how) {
    const kd_quantizable model = {.params = file->model->params,
                                  .rule = kd_llama_format_of,
                                  .scalings = kd_llama_scalings,
                                  .layers = file->model};
    int status = kd_quantized_create(out, &model, &how->spec);
    if (status == KD_OK) status = kd_quantized_start(*out);
    if (status == KD_OK && how->spec.how->sees != KD_SEES_NOTHING)
        status = kd_language_calibrate(*out, file->model, run->train, how->calibration_samples);
    return status;
}

/* Its file: the encodings are those of the last rounding, the rest its own weights. */
static int write_rounded(const kd_language_run *run, const kd_language_quantize *how, bool ptq,
                         kd_llama_file *file, kd_quantized *quantized) {
    int status = kd_quantized_round(quantized);
    kd_quantized_leave(quantized);
    file->encoding = kd_quantized_encodings(quantized);
    if (status == KD_OK) status = write_file(run, how, ptq, file);
    file->encoding = NULL;
    return status;
}

static int write_quantized(kd_language_run *run, const kd_language_quantize *how) {
    static const kd_language_model same = {.start = KD_START_TEACHER};
    kd_llama_file *copy = NULL;
    kd_quantized *quantized = NULL;
    int status = kd_language_student_create(&copy, run->student, &same, 0, KD_LLAMA_TRAIN);
    if (status == KD_OK) status = quantize(&quantized, run, copy, how);
    if (status == KD_OK && how->qat)
        status = kd_language_run_train_rounded(run, copy->model, how, quantized);
    if (status == KD_OK) status = write_rounded(run, how, false, copy, quantized);
    kd_quantized_free(quantized);
    kd_llama_file_free(copy);
    return status;
}

/* That this rank sees the files. */
static int await_files(const kd_language_run *run) {
    char path[KD_PATH_MAX];
    int status = kd_language_run_file(run, NULL, false, path);
    if (status == KD_OK) status = kd_file_await(path, KD_FILE_LATE);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++) {
        status = kd_language_run_file(run, &run->config->quantize[i], false, path);
        if (status == KD_OK) status = kd_file_await(path, KD_FILE_LATE);
    }
    return status;
}

int kd_language_run_export(kd_language_run *run) {
    char folder[KD_PATH_MAX];
    int status = kd_language_run_train(run);
    if (status == KD_OK) status = write_file(run, NULL, false, run->student);
    if (status == KD_OK) status = kd_path_join(folder, run->folder, "student");
    if (status == KD_OK) status = kd_llama_folder_write(folder, run->student, &kd_format_f32);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++)
        status = write_quantized(run, &run->config->quantize[i]);
    status = kd_ranks_worst(status);
    return status < 0 ? status : kd_ranks_worst(await_files(run));
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
        status = quantize(&quantized, run, run->student, how);
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
