/* `distill perplexity`: how well a language model foretells a text. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"
#include "files/llama_file.h"
#include "tasks/language/perplexity.h"

static const kd_option OPTIONS[] = {
    {"context", "N", "tokens of a context (default 512, or the model's if that is less)"},
    {"stride", "N",
     "contexts begin this many tokens behind one another (default: N of --context);\n"
     "only tokens count that no context before had"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "perplexity",
    .positional = "MODEL FILE",
    .least = 2,
    .most = 2,
    .summary =
        "Prints the perplexity of a text, e to the mean of −log p over its tokens. MODEL is a\n"
        "Hugging Face folder or a GGUF of the LLaMA architecture; FILE is UTF-8. The text is cut\n"
        "into contexts, the last of which may be shorter; every token but a context's first "
        "counts.",
    .options = OPTIONS,
    .example = "distill perplexity SmolLM2-135M wikitext2_valid.txt --context 1024"};

static const size_t TEXT_LIMIT = (size_t)1 << 28;
enum { CONTEXT = 512 };

static void show(void *progress, int64_t tokens) {
    kd_progress_show(progress, tokens, "");
}

static void print(const kd_perplexity *p, size_t bytes, int64_t context, int64_t stride) {
    const double mean = p->nats / (double)p->tokens;
    printf("perplexity %.3f\n", exp(mean));
    printf("%lld tokens of %zu bytes in contexts of %lld", (long long)p->tokens, bytes,
           (long long)context);
    if (stride > 0) printf(", stride %lld", (long long)stride);
    printf("; %.4f nats a token, %.4f bits a byte\n", mean, p->nats / log(2) / (double)bytes);
}

static int measure(const kd_llama_file *file, const char *path, int64_t context, int64_t stride) {
    char *text = NULL;
    size_t length = 0;
    int32_t *id = NULL;
    int64_t n = 0;
    kd_perplexity result;
    int status = kd_file_read(&text, &length, path, TEXT_LIMIT);
    if (status == KD_OK) {
        status = kd_text_tokenizer_encode(&id, &n, file->tokenizer, text, length, true);
        if (status < 0) kd_fail_in(status, "%s", path);
    }
    if (status == KD_OK && n < 2)
        status = kd_fail(KD_EDATA, "%s: %lld tokens; a text has 2 or more", path, (long long)n);
    if (status == KD_OK) {
        kd_progress progress;
        kd_progress_begin(&progress, "perplexity", "tokens", 1, 0, n);
        status = kd_perplexity_of(&result, file->model, id, n, context, stride, show, &progress);
        kd_progress_end(&progress);
    }
    if (status == KD_OK) print(&result, length, context, stride);
    free(id);
    free(text);
    return status;
}

int kd_cmd_perplexity(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    kd_llama_file *file = NULL;
    int64_t context, stride;
    const char *path = arguments.positional[0];
    status = kd_llama_file_open(&file, path, KD_LLAMA_FROZEN);
    if (status == KD_OK) status = kd_llama_file_need_tokenizer(file, path);
    if (status == KD_OK) {
        const int64_t most = file->model->spec.context;
        status = kd_arguments_integer(&context, &arguments, "context", 2, most,
                                      most < CONTEXT ? most : CONTEXT);
    }
    if (status == KD_OK)
        status = kd_arguments_integer(&stride, &arguments, "stride", 1, context, 0);
    if (status == KD_OK) status = measure(file, arguments.positional[1], context, stride);
    kd_llama_file_free(file);
    return status;
}
