/* `distill convert`: Whisper models between the formats of other programs. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cli/cli.h"
#include "quant/whisper_file.h"

static const kd_option OPTIONS[] = {
    {"type", "TYPE",
     "of the weights: f32, f16, q8_0, q5_0 or q4_0 (default: f16 in a .bin,\n"
     "f32 in a folder; a folder has f32 or f16)"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "convert",
    .positional = "MODEL OUT",
    .least = 2,
    .most = 2,
    .summary =
        "Writes a Whisper model (whisper.cpp's .bin or a Hugging Face folder) in another format: "
        "a\n"
        ".bin when OUT ends in .bin, else a Hugging Face folder. Tokens and mel filters go along.",
    .options = OPTIONS,
    .example = "distill convert whisper-small.en ggml-small.en-q8_0.bin --type q8_0\n"
               "distill convert ggml-base.en.bin whisper-base.en"};

static bool ends_in_bin(const char *path) {
    const size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".bin") == 0;
}

int kd_cmd_convert(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    const char *out = arguments.positional[1], *type = kd_arguments_value(&arguments, "type");
    const bool bin = ends_in_bin(out);
    const kd_number_format *format = type  ? kd_number_format_named(type)
                                     : bin ? &kd_format_f16
                                           : &kd_format_f32;
    if (!format || !format->encode)
        return kd_fail(KD_EUSAGE, "--type %s: there are f32, f16, q8_0, q5_0 and q4_0", type);
    if (!bin && format->block > 1)
        return kd_fail(KD_EUSAGE,
                       "--type %s: a Hugging Face folder has f32 or f16; block formats "
                       "are for files that end in .bin",
                       type);
    if (bin && format == &kd_format_f32)
        kd_warn("%s: whisper.cpp itself does not run f32 files, since its convolutions are f16",
                out);
    kd_whisper_file *file;
    status = kd_whisper_file_open(&file, arguments.positional[0], KD_WHISPER_TRAIN_NOTHING);
    if (status < 0) return status;
    status = (bin ? kd_whisper_bin_write : kd_whisper_folder_write)(out, file, format);
    kd_whisper_file_free(file);
    if (status == KD_OK) puts(out);
    return status;
}
