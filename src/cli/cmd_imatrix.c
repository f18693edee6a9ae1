/* `distill imatrix`: what the matrices of a model are multiplied by. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/stage.h"
#include "tasks/registry.h"

static const kd_option OPTIONS[] = {
    {"language", "NAME", "what is spoken, for multilingual Whisper models (default: en)"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "imatrix",
    .positional = "MODEL DATA OUT",
    .least = 3,
    .most = 3,
    .summary =
        "Gathers an importance matrix: how large the inputs of each matrix of a model are, of\n"
        "Whisper while it hears the recordings of a list and says what is in them, of a language\n"
        "model while it reads a text. OUT is a GGUF as llama.cpp has it; distill convert "
        "--imatrix\n"
        "uses it.",
    .options = OPTIONS,
    .example =
        "distill imatrix ggml-base.en.bin train.tsv base.imatrix.gguf\n"
        "distill convert ggml-base.en.bin base.gguf --type q4_K_M --imatrix base.imatrix.gguf\n"
        "distill imatrix SmolLM2-135M wikitext2_valid.txt smollm2.imatrix.gguf"};

/* The one that knows the model, or else one that takes any. */
static const kd_task *task_of(const char *model) {
    const kd_task *task, *any = NULL;
    for (int i = 0; (task = kd_task_at(i)); i++) {
        if (!task->imatrix) continue;
        if (task->knows_model && task->knows_model(model)) return task;
        if (!task->knows_model) any = task;
    }
    return any;
}

int kd_cmd_imatrix(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    char **given = arguments.positional;
    const char *language = kd_arguments_value(&arguments, "language");
    kd_stage_catch_signals();
    status = task_of(given[0])->imatrix(given[0], given[1], language ? language : "en", given[2]);
    if (status == KD_OK) puts(given[2]);
    return status;
}
