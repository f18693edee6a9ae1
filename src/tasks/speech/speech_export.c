/* The files of the student: as it is, and as each entry of "quantize" has it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/file.h"
#include "base/late_file.h"
#include "base/ranks.h"
#include "distill/budget.h"
#include "distill/checkpoint.h"
#include "files/whisper_names.h"
#include "quant/imatrix.h"
#include "tasks/speech/speech_calibrate.h"
#include "tasks/speech/speech_look.h"
#include "tasks/speech/speech_run.h"

/* student.bin, student.q8_0.bin; of an entry that is trained, rounded without: student.q8_0.ptq.bin
 */
static int file_named(const kd_speech_run *run, const kd_speech_quantize *how, bool ptq,
                      const char *ending, char out[KD_PATH_MAX]) {
    char name[64];
    snprintf(name, sizeof name, "student%s%s%s%s", how ? "." : "", how ? how->name : "",
             ptq && how->qat ? ".ptq" : "", ending);
    return kd_path_join(out, run->folder, name);
}

/* The student is as wide as its teacher, one of which is there. */
static bool fits_bin(const kd_speech_run *run, const kd_speech_quantize *how) {
    const kd_whisper_file *like = run->student ? run->student : run->teacher;
    if (how && how->budget.asked) return false; /* a .bin has one format for all */
    return !how || kd_whisper_bin_fits(&like->model->spec, how->spec.format);
}

static int main_file(const kd_speech_run *run, const kd_speech_quantize *how, bool ptq,
                     char out[KD_PATH_MAX]) {
    return file_named(run, how, ptq, fits_bin(run, how) ? ".bin" : ".gguf", out);
}

int kd_speech_run_file(const kd_speech_run *run, const kd_speech_quantize *how,
                       char out[KD_PATH_MAX]) {
    return main_file(run, how, false, out);
}

int kd_speech_run_gguf(const kd_speech_run *run, const kd_speech_quantize *how, bool ptq,
                       char out[KD_PATH_MAX]) {
    return file_named(run, how, ptq, ".gguf", out);
}

static int write_gguf(const kd_speech_run *run, const kd_speech_quantize *how, bool ptq,
                      kd_whisper_file *file, const kd_number_format *format) {
    char path[KD_PATH_MAX], *text;
    kd_origin origin;
    kd_speech_origin_file(&origin, run, how, ptq);
    int status = kd_origin_text(&text, &origin);
    file->origin = text;
    if (status == KD_OK) status = kd_speech_run_gguf(run, how, ptq, path);
    if (status == KD_OK) status = kd_whisper_gguf_write(path, file, format);
    file->origin = NULL;
    kd_origin_clear(&origin);
    free(text);
    return status;
}

/* The student, or a quantized one, as GGUF and, where it fits, as a `.bin`; `format`: that of most
 * of its matrices. */
static int write_files(const kd_speech_run *run, const kd_speech_quantize *how, bool ptq,
                       kd_whisper_file *file, const kd_number_format *format) {
    char path[KD_PATH_MAX];
    int status = write_gguf(run, how, ptq, file, format);
    if (status < 0 || !fits_bin(run, how)) return status;
    status = file_named(run, how, ptq, ".bin", path);
    return status < 0 ? status : kd_whisper_bin_write(path, file, format);
}

/* What was seen elsewhere of this very student. */
static int show(kd_quantized *q, const kd_whisper *model, const char *path) {
    kd_input_squares *seen;
    kd_hash own;
    int status = kd_params_hash(&own, model->params);
    if (status == KD_OK)
        status = kd_imatrix_read(&seen, path, model->params, &kd_whisper_ggml, own);
    if (status == KD_OK) kd_quantized_show(q, seen);
    return status;
}

static kd_quantizable quantizable(const kd_whisper_file *file) {
    return (kd_quantizable){.params = file->model->params,
                            .rule = kd_whisper_format_of,
                            .scalings = kd_whisper_scalings,
                            .layers = file->model};
}

/* Formats for the student, where the entry has a budget; they are chosen once, by a copy whose
 * encoder has gradients, too. */
static int choose(kd_speech_run *run, const kd_speech_quantize *how) {
    kd_budget **budget = &run->budget[how - run->config->quantize];
    kd_whisper_file *copy = NULL;
    if (!how->budget.asked || *budget) return KD_OK;
    int status = kd_student_create(&copy, run->student, 0, 0, KD_WHISPER_TRAIN_ALL);
    if (status == KD_OK) {
        const kd_quantizable model = quantizable(copy);
        status = kd_speech_budget(budget, &how->budget, &model, copy->model, run->train.windows,
                                  how->name);
    }
    kd_whisper_file_free(copy);
    return status < 0 ? status : kd_budget_save(*budget, run->folder, how->name);
}

/* The student, or a copy that may be trained, with a quantizer on it that has seen what it must. */
static int quantize(kd_quantized **out, const kd_speech_run *run, kd_whisper_file *file,
                    const kd_speech_quantize *how, const kd_budget *budget) {
    const kd_quantizable model = quantizable(file);
    const kd_quantize_spec spec = budget ? kd_budget_quantize(&how->spec, budget) : how->spec;
    int status = kd_quantized_create(out, &model, &spec);
    if (status == KD_OK) status = kd_quantized_start(*out);
    if (status < 0 || how->spec.how->sees == KD_SEES_NOTHING) return status;
    if (how->imatrix[0]) return show(*out, file->model, how->imatrix);
    return kd_speech_calibrate(*out, file->model, run->train.windows, how->calibration_samples);
}

/* Its files: the encodings are those of the last rounding, the rest its own weights. */
static int write_rounded(const kd_speech_run *run, const kd_speech_quantize *how, bool ptq,
                         kd_whisper_file *file, kd_quantized *quantized) {
    int status = kd_quantized_round(quantized);
    kd_quantized_leave(quantized);
    file->encoding = kd_quantized_encodings(quantized);
    const kd_budget *budget = run->budget[how - run->config->quantize];
    kd_text chosen = {0};
    if (budget) kd_budget_add_metadata(&chosen, budget);
    if (status == KD_OK) status = kd_text_finish(&chosen, "a budget");
    file->budget = budget ? chosen.text : NULL;
    if (status == KD_OK) status = write_files(run, how, ptq, file, quantized->spec.format);
    file->encoding = NULL;
    file->budget = NULL;
    free(chosen.text);
    return status;
}

static int write_quantized(kd_speech_run *run, const kd_speech_quantize *how) {
    kd_whisper_file *copy = NULL;
    kd_quantized *quantized = NULL;
    int status = choose(run, how);
    if (status == KD_OK)
        status = kd_student_create(&copy, run->student, 0, 0, KD_WHISPER_TRAIN_DECODER);
    if (status == KD_OK)
        status = quantize(&quantized, run, copy, how, run->budget[how - run->config->quantize]);
    if (status == KD_OK && how->qat)
        status = kd_speech_run_train_rounded(run, copy->model, how, quantized);
    if (status == KD_OK) status = write_rounded(run, how, false, copy, quantized);
    kd_quantized_free(quantized);
    kd_whisper_file_free(copy);
    return status;
}

/* That this rank sees the files. */
static int await_files(const kd_speech_run *run) {
    char path[KD_PATH_MAX];
    int status = kd_speech_run_file(run, NULL, path);
    if (status == KD_OK) status = kd_file_await(path, KD_FILE_LATE);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++) {
        status = kd_speech_run_file(run, &run->config->quantize[i], path);
        if (status == KD_OK) status = kd_file_await(path, KD_FILE_LATE);
    }
    return status;
}

int kd_speech_run_export(kd_speech_run *run) {
    char folder[KD_PATH_MAX];
    int status = kd_speech_run_train(run);
    if (status == KD_OK) status = write_files(run, NULL, false, run->student, &kd_format_f16);
    if (status == KD_OK) status = kd_path_join(folder, run->folder, "student");
    if (status == KD_OK) status = kd_whisper_folder_write(folder, run->student, &kd_format_f32);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++)
        status = write_quantized(run, &run->config->quantize[i]);
    status = kd_ranks_worst(status);
    return status < 0 ? status : kd_ranks_worst(await_files(run));
}

static int print_file(const kd_speech_run *run, const kd_speech_quantize *how, bool ptq) {
    char path[KD_PATH_MAX];
    int status = main_file(run, how, ptq, path);
    if (status == KD_OK) puts(path);
    return status;
}

int kd_speech_run_quantize(kd_speech_run *run) {
    int status = kd_speech_run_train(run);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++) {
        const kd_speech_quantize *how = &run->config->quantize[i];
        kd_quantized *quantized = NULL;
        status = choose(run, how);
        if (status == KD_OK) status = quantize(&quantized, run, run->student, how, run->budget[i]);
        if (status == KD_OK) status = write_rounded(run, how, true, run->student, quantized);
        if (status == KD_OK) status = print_file(run, how, true);
        kd_quantized_free(quantized);
    }
    return status;
}

int kd_speech_run_print_files(const kd_speech_run *run) {
    int status = print_file(run, NULL, false);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++)
        status = print_file(run, &run->config->quantize[i], false);
    return status;
}
