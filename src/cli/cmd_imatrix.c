/* `distill imatrix`: what the matrices of a model are multiplied by. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/stage.h"
#include "tasks/registry.h"

static const kd_option OPTIONS[] = {
    {"language", "NAME", "what is spoken, for multilingual models (default: en)"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "imatrix",
    .positional = "MODEL DATA OUT",
    .least = 3,
    .most = 3,
    .summary =
        "Gathers an importance matrix: how large the inputs of each matrix of a Whisper model are\n"
        "while it hears the recordings of a list and says what is in them. OUT is a GGUF as\n"
        "llama.cpp has it; distill convert --imatrix uses it.",
    .options = OPTIONS,
    .example =
        "distill imatrix ggml-base.en.bin train.tsv base.imatrix.gguf\n"
        "distill convert ggml-base.en.bin base.gguf --type q4_K_M --imatrix base.imatrix.gguf"};

int kd_cmd_imatrix(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    char **given = arguments.positional;
    const char *language = kd_arguments_value(&arguments, "language");
    const kd_task *task = kd_task_at(0);
    for (int i = 1; !task->imatrix; i++) task = kd_task_at(i);
    kd_stage_catch_signals();
    status = task->imatrix(given[0], given[1], language ? language : "en", given[2]);
    if (status == KD_OK) puts(given[2]);
    return status;
}
