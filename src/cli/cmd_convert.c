/* `distill convert`: Whisper models between the formats of other programs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/cli.h"
#include "distill/checkpoint.h"
#include "files/whisper_file.h"
#include "files/whisper_names.h"
#include "quant/imatrix.h"

static const kd_option OPTIONS[] = {
    {"type", "TYPE",
     "of the matrices: " KD_FORMAT_CHOICES "\n"
     "(default: f16, in a folder f32; a folder has f32 or f16, int8 is GGUF alone)"},
    {"imatrix", "FILE",
     "of distill imatrix or llama-imatrix: scales of blocks lose least where inputs are large"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "convert",
    .positional = "MODEL OUT",
    .least = 2,
    .most = 2,
    .summary =
        "Writes a Whisper model (whisper.cpp's .bin, GGUF or a Hugging Face folder) in another\n"
        "format: a .bin or GGUF when OUT ends in .bin or .gguf, else a Hugging Face folder.\n"
        "Tokens, mel filters and the settings of text generation go along; a .bin has no place for "
        "the\n"
        "last, and a warning says what is lost.",
    .options = OPTIONS,
    .example = "distill convert whisper-small.en ggml-small.en-q8_0.bin --type q8_0\n"
               "distill convert ggml-base.en.bin whisper-base.en"};

/* Where a model goes. */
typedef struct {
    const char *ending; /* of its name; NULL: any other */
    int (*write)(const char *path, const kd_whisper_file *file, const kd_number_format *format);
    const kd_number_format *standard;
} destination;

static const destination DESTINATIONS[] = {{".bin", kd_whisper_bin_write, &kd_format_f16},
                                           {".gguf", kd_whisper_gguf_write, &kd_format_f16},
                                           {NULL, kd_whisper_folder_write, &kd_format_f32}};

static bool ends_in(const char *path, const char *ending) {
    const size_t length = strlen(path), n = strlen(ending);
    return length > n && strcmp(path + length - n, ending) == 0;
}

/* The file's encoding, as the importance matrix at `path` has it; the caller frees all. */
typedef struct {
    kd_input_squares *seen;
    kd_encoding *how;
} importance;

static int weigh(importance *out, kd_whisper_file *file, const char *path,
                 const kd_number_format *format) {
    const kd_params *params = file->model->params;
    kd_hash model;
    int status = kd_params_hash(&model, params);
    if (status == KD_OK)
        status = kd_imatrix_read(&out->seen, path, params, &kd_whisper_ggml, model);
    if (status == KD_OK)
        status = kd_encodings_nearest(&out->how, params, kd_whisper_format_of, format);
    if (status < 0) return status;
    kd_imatrix_weigh(out->how, out->seen, params);
    file->encoding = out->how;
    return KD_OK;
}

int kd_cmd_convert(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    const char *out = arguments.positional[1], *type = kd_arguments_value(&arguments, "type");
    const destination *to = DESTINATIONS;
    while (to->ending && !ends_in(out, to->ending)) to++;
    const kd_number_format *format = type ? kd_number_format_named(type) : to->standard;
    char list[KD_FORMAT_LIST_MAX];
    if (!format || !kd_number_format_written(format))
        return kd_fail(KD_EUSAGE, "--type %s: there are %s", type,
                       kd_number_format_list_written(list));
    if (to->write == kd_whisper_bin_write && format == &kd_format_f32)
        kd_warn("%s: whisper.cpp itself does not run f32 files, since its convolutions are f16",
                out);
    const char *matrix = kd_arguments_value(&arguments, "imatrix");
    if (matrix && !format->grid && !format->mixture)
        return kd_fail(KD_EUSAGE, "--imatrix: %s has no scales to choose", format->name);
    kd_whisper_file *file;
    importance by = {NULL, NULL};
    status = kd_whisper_file_open(&file, arguments.positional[0], KD_WHISPER_TRAIN_NOTHING);
    if (status < 0) return status;
    if (matrix) status = weigh(&by, file, matrix, format);
    if (status == KD_OK) status = to->write(out, file, format);
    kd_whisper_file_free(file);
    kd_input_squares_free(by.seen);
    free(by.how);
    if (status == KD_OK) puts(out);
    return status;
}
