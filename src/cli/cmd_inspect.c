#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/file_kind.h"
#include "cli/inspect.h"

static const kd_usage USAGE = {
    .command = "inspect",
    .positional = "FILE…",
    .least = 1,
    .most = -1,
    .summary =
        "Prints what is in a file: a config (its networks, node by node), a checkpoint, a teacher\n"
        "store, an exported or foreign GGUF, a safetensors file, an .onnx file, a Whisper model "
        "(whisper.cpp's\n"
        ".bin, GGUF, a Hugging Face folder), a language model (GGUF, a Hugging Face folder).",
    .example = "distill inspect configs/fashion_mnist.json\n"
               "distill inspect runs/fashion_mnist/student.int8.gguf"};

void kd_inspect_add_shape(kd_text *out, int rank, const int64_t *shape) {
    if (rank == 0) kd_text_add(out, "single");
    for (int i = 0; i < rank; i++) kd_text_add(out, "%s%lld", i ? "×" : "", (long long)shape[i]);
}

void kd_inspect_add_total(kd_text *rows, int64_t tensors, int64_t numbers, double bytes) {
    char count[32], size[32];
    kd_format_count(count, sizeof count, numbers);
    kd_format_bytes(size, sizeof size, bytes);
    kd_text_add(rows, "all %lld\t\t\t%s\t%s\n", (long long)tensors, count, size);
}

static int inspect(void *context, char *path) {
    bool *behind = context; /* another file's text */
    static int (*const of_kind[])(kd_text *, const char *) = {
        [KD_FILE_CONFIG] = kd_inspect_config,
        [KD_FILE_CHECKPOINT] = kd_inspect_checkpoint,
        [KD_FILE_STORE] = kd_inspect_store,
        [KD_FILE_GGUF] = kd_inspect_gguf,
        [KD_FILE_SAFETENSORS] = kd_inspect_safetensors,
        [KD_FILE_ONNX] = kd_inspect_onnx,
        [KD_FILE_WHISPER_BIN] = kd_inspect_whisper_bin,
        [KD_FILE_WHISPER_FOLDER] = kd_inspect_whisper_folder,
        [KD_FILE_LLAMA_FOLDER] = kd_inspect_llama_folder,
        [KD_FILE_BERT_FOLDER] = kd_inspect_bert_folder};
    kd_file_kind kind;
    kd_text text = {0};
    int status = kd_file_kind_of(&kind, path);
    if (status == KD_OK) status = of_kind[kind](&text, path);
    if (status == KD_OK) status = kd_text_finish(&text, path);
    if (status == KD_OK && *behind) putchar('\n');
    if (status == KD_OK) fputs(text.text, stdout);
    *behind = *behind || status == KD_OK;
    free(text.text);
    return status;
}

int kd_cmd_inspect(int argc, char **argv) {
    kd_arguments arguments;
    bool behind = false;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    return status == KD_OK ? kd_arguments_each(&arguments, 0, inspect, &behind) : status;
}
