/* `distill convert`: models between the formats of other programs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "distill/checkpoint.h"
#include "files/bert_file.h"
#include "files/llama_file.h"
#include "files/llama_names.h"
#include "files/onnx_file.h"
#include "files/whisper_file.h"
#include "files/whisper_names.h"
#include "quant/imatrix.h"
#include "tasks/language/language_imatrix.h"
#include "tasks/registry.h"

static const kd_option OPTIONS[] = {
    {"type", "TYPE",
     "of the matrices: " KD_FORMAT_CHOICES "\n"
     "(default: f16, in a folder f32; a folder has f32, f16 or f8_e5m2, or what its layout packs;\n"
     "int8 is for GGUF and folders, f8_e4m3 and f8_e5m2 are for folders alone; a checkpoint\n"
     "becomes ONNX in f32, q4_0 as int4 or q8_0 as int8)"},
    {"layout", "LAYOUT",
     "how a folder packs the matrices of its layers: compressed-tensors (f8_e4m3, f8_e4m3_tensor,\n"
     "nvfp4, mxfp4, q4_0, q8_0, int8) or modelopt (f8_e4m3, f8_e4m3_tensor, nvfp4)"},
    {"calibrate", "FILE",
     "of a layout: the inputs of matrices are rounded, too, when others run the folder; states\n"
     "the largest of each while the model reads FILE, a text"},
    {"imatrix", "FILE",
     "of distill imatrix or llama-imatrix: scales of blocks lose least where inputs are large"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "convert",
    .positional = "MODEL OUT",
    .least = 2,
    .most = 2,
    .summary =
        "Writes a Whisper model (whisper.cpp's .bin, GGUF or a Hugging Face folder) or a language\n"
        "model (GGUF or a folder of Llama, SmolLM, Mistral, Qwen2, Qwen3) in another format: a "
        ".bin\n"
        "or GGUF when OUT ends in .bin or .gguf, else a Hugging Face folder. Tokens and, of "
        "Whisper,\n"
        "mel filters and the settings of text generation go along; a .bin has no place for the "
        "last,\n"
        "and a warning says what is lost.\n"
        "A classifier becomes ONNX when OUT ends in .onnx: an exported file with its integers "
        "between\n"
        "QuantizeLinear and DequantizeLinear, rounded weights in blocks, a checkpoint in float32.",
    .options = OPTIONS,
    .example =
        "distill convert whisper-small.en ggml-small.en-q8_0.bin --type q8_0\n"
        "distill convert ggml-base.en.bin whisper-base.en\n"
        "distill convert SmolLM2-135M smollm2-q8_0.gguf --type q8_0\n"
        "distill convert SmolLM2-135M smollm2-nvfp4 --type nvfp4 --layout compressed-tensors\n"
        "distill convert SmolLM2-135M smollm2-fp8 --type f8_e4m3_tensor --layout modelopt \\\n"
        "    --calibrate wikitext2_valid.txt\n"
        "distill convert runs/fashion_mnist/student.int8.gguf student.onnx"};

/* Where a model goes. */
typedef struct {
    const char *ending; /* of its name; NULL: any other */
    int (*write)(const char *path, const kd_whisper_file *file, const kd_number_format *format);
    const kd_number_format *standard;
} destination;

static const destination DESTINATIONS[] = {{".bin", kd_whisper_bin_write, &kd_format_f16},
                                           {".gguf", kd_whisper_gguf_write, &kd_format_f16},
                                           {NULL, kd_whisper_folder_write, &kd_format_f32}};

/* How the parameters of a model are encoded: as an importance matrix has it. */
typedef struct {
    const char *path; /* of the importance matrix; NULL: none, and nothing is done */
    kd_input_squares *seen;
    kd_encoding *how;
} importance;

static int weigh(const kd_encoding **encoding, importance *by, const kd_params *params,
                 const kd_names *names, kd_format_rule rule, const kd_number_format *format) {
    kd_hash model;
    if (!by->path) return KD_OK;
    int status = kd_params_hash(&model, params);
    if (status == KD_OK) status = kd_imatrix_read(&by->seen, by->path, params, names, model);
    if (status == KD_OK) status = kd_encodings_nearest(&by->how, params, rule, format);
    if (status < 0) return status;
    kd_imatrix_weigh(by->how, by->seen, params);
    *encoding = by->how;
    return KD_OK;
}

/* A folder whose matrices are packed. */
typedef struct {
    kd_packing packing; /* plain where no layout is asked for */
    const char *text;   /* of --calibrate, or NULL            */
} packed;

static int convert_whisper(const char *in, const char *out, const destination *to,
                           const kd_number_format *format, importance *by, const packed *how) {
    const bool packs = how->packing.layout != KD_LAYOUT_PLAIN;
    if (to->write == kd_whisper_bin_write && format == &kd_format_f32)
        kd_warn("%s: whisper.cpp itself does not run f32 files, since its convolutions are f16",
                out);
    if (how->text)
        return kd_fail(KD_EUSAGE, "--calibrate: inputs of language models alone are calibrated");
    kd_whisper_file *file;
    int status = kd_whisper_file_open(&file, in, KD_WHISPER_TRAIN_NOTHING);
    if (status < 0) return status;
    status = weigh(&file->encoding, by, file->model->params, &kd_whisper_ggml,
                   packs ? kd_packed_format_of : kd_whisper_format_of, format);
    if (status == KD_OK)
        status = packs ? kd_whisper_folder_write_packed(out, file, &how->packing)
                       : to->write(out, file, format);
    kd_whisper_file_free(file);
    return status;
}

/* With the largest inputs that the model sees while it reads a text. */
static int write_calibrated(const char *out, const kd_llama_file *file, const packed *how) {
    const int count = file->model->params->count;
    kd_packing packing = how->packing;
    kd_input_squares *seen = NULL;
    float *inputs = calloc((size_t)count, sizeof *inputs);
    int status = inputs ? KD_OK : kd_fail_memory((size_t)count * sizeof *inputs, how->text);
    if (status == KD_OK) status = kd_llama_file_need_tokenizer(file, out);
    if (status == KD_OK) status = kd_language_see(&seen, file, how->text, "calibrate");
    for (int i = 0; i < count && status == KD_OK; i++)
        inputs[i] = kd_input_squares_largest(seen, i);
    packing.inputs = inputs;
    if (status == KD_OK) status = kd_llama_folder_write_packed(out, file, &packing);
    kd_input_squares_free(seen);
    free(inputs);
    return status;
}

static int write_llama(const char *out, const kd_llama_file *file, const destination *to,
                       const kd_number_format *format, const packed *how) {
    if (how->text) return write_calibrated(out, file, how);
    if (how->packing.layout != KD_LAYOUT_PLAIN)
        return kd_llama_folder_write_packed(out, file, &how->packing);
    return to->ending ? kd_llama_gguf_write(out, file, format)
                      : kd_llama_folder_write(out, file, format);
}

static int convert_llama(const char *in, const char *out, const destination *to,
                         const kd_number_format *format, importance *by, const packed *how) {
    if (to->write == kd_whisper_bin_write)
        return kd_fail(KD_EUSAGE, "%s: a language model is written as GGUF or as a folder", out);
    kd_llama_file *file;
    int status = kd_llama_file_open(&file, in, KD_LLAMA_FROZEN);
    if (status < 0) return status;
    status = weigh(
        &file->encoding, by, file->model->params,
        kd_llama_ggml(kd_llama_family_of(&file->model->spec)),
        how->packing.layout == KD_LAYOUT_PLAIN ? kd_llama_format_of : kd_packed_format_of, format);
    if (status == KD_OK) status = write_llama(out, file, to, format, how);
    kd_llama_file_free(file);
    return status;
}

static int choose_layout(packed *how, const kd_arguments *arguments, const destination *to,
                         const kd_number_format *format, bool packs) {
    const char *layout = kd_arguments_value(arguments, "layout");
    how->text = kd_arguments_value(arguments, "calibrate");
    if (!layout && how->text)
        return kd_fail(KD_EUSAGE, "--calibrate goes with --layout: no other file states inputs");
    if (layout && !packs)
        return kd_fail(KD_EUSAGE,
                       "--layout: folders of language models and Whisper have one, and no %s",
                       to->ending ? to->ending : "other");
    return layout ? kd_packing_choose(&how->packing, layout, format, how->text != NULL) : KD_OK;
}

/* Of the tasks that have a form there; `format` NULL: not said. */
static int convert_onnx(const char *in, const char *out, const kd_number_format *format) {
    const kd_task *task;
    if (format && format != &kd_format_f32 && !kd_onnx_keeps(format))
        return kd_fail(KD_EUSAGE, "--type %s: ONNX has f32, q4_0 and q8_0", format->name);
    if (kd_llama_file_is(in))
        return kd_fail(KD_EUSAGE, "%s: a language model is written as GGUF or as a folder", in);
    for (int i = 0; (task = kd_task_at(i)); i++)
        if (task->onnx) return task->onnx(in, out, format);
    return kd_fail(KD_EUSAGE, "%s: no task writes ONNX", out);
}

static int convert_bert(const char *in, const char *out, const destination *to,
                        const kd_number_format *format, importance *by) {
    if (to->write == kd_whisper_bin_write)
        return kd_fail(KD_EUSAGE, "%s: an encoder is written as GGUF or as a folder", out);
    kd_bert_file *file;
    int status = kd_bert_file_open(&file, in, true);
    if (status < 0) return status;
    status =
        weigh(&file->encoding, by, file->model->params, &kd_bert_ggml, kd_bert_format_of, format);
    if (status == KD_OK)
        status = to->ending ? kd_bert_gguf_write(out, file, format)
                            : kd_bert_folder_write(out, file, format);
    kd_bert_file_free(file);
    return status;
}

int kd_cmd_convert(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    const char *out = arguments.positional[1], *type = kd_arguments_value(&arguments, "type");
    const destination *to = DESTINATIONS;
    while (to->ending && !kd_ends_with(out, to->ending)) to++;
    const bool onnx = kd_ends_with(out, ".onnx");
    const kd_number_format *format = type ? kd_number_format_named(type) : to->standard;
    char list[KD_FORMAT_LIST_MAX];
    if (!format || !kd_number_format_written(format))
        return kd_fail(KD_EUSAGE, "--type %s: there are %s", type,
                       kd_number_format_list_written(list));
    importance by = {.path = kd_arguments_value(&arguments, "imatrix")};
    if (by.path && onnx) return kd_fail(KD_EUSAGE, "--imatrix: there is none of classifiers");
    if (by.path && !format->grid && !format->mixture)
        return kd_fail(KD_EUSAGE, "--imatrix: %s has no scales to choose", format->name);
    const char *in = arguments.positional[0];
    packed how = {0};
    status =
        choose_layout(&how, &arguments, to, format, !to->ending && !onnx && !kd_bert_file_is(in));
    if (status == KD_OK)
        status = onnx                   ? convert_onnx(in, out, type ? format : NULL)
                 : kd_llama_file_is(in) ? convert_llama(in, out, to, format, &by, &how)
                 : kd_bert_file_is(in)  ? convert_bert(in, out, to, format, &by)
                                        : convert_whisper(in, out, to, format, &by, &how);
    kd_input_squares_free(by.seen);
    free(by.how);
    if (status == KD_OK) puts(out);
    return status;
}
