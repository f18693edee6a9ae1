/* `distill generate`: a language model goes on with a text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/size.h"
#include "base/text.h"
#include "cli/cli.h"
#include "data/chat.h"
#include "tasks/language/generate.h"

static const kd_option OPTIONS[] = {
    {"chat", NULL,
     "the prompt is a message to an assistant, written by the model's chat template (ChatML\n"
     "or Llama 3); its answer is printed"},
    {"tokens", "N", "at most this many are generated (default 256)"},
    {"temperature", "T", "how freely: 0 (default) always takes the likeliest token"},
    {"top-k", "K", "only the K likeliest tokens are drawn from (default 0: all)"},
    {"top-p", "P", "only the likeliest, of together this probability (default 1)"},
    {"draft", "MODEL",
     "a smaller model of the same tokens, such as a student of MODEL: it proposes tokens, of\n"
     "which MODEL looks at several at once; the text is distributed as without it, and with\n"
     "--temperature 0 the same; how many proposals stayed goes to stderr"},
    {"seed", "N", "of the draws (default 0): the same seed gives the same text"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "generate",
    .positional = "MODEL PROMPT",
    .least = 2,
    .most = 2,
    .summary =
        "Prints how a language model goes on with a text (- is the standard input). MODEL is a\n"
        "Hugging Face folder or a GGUF of the LLaMA architecture (Llama, SmolLM, Mistral, Qwen2,\n"
        "Qwen3). It ends with the token that ends a text, after --tokens, or with the model's\n"
        "context. How many tokens a second there were goes to stderr. Matrices that a GGUF holds "
        "as\n"
        "small whole numbers (q8_0, q4_0 … q6_K) are multiplied as such, with activations rounded\n"
        "to 8 bits; all others, and all of perplexity, exactly.",
    .options = OPTIONS,
    .example = "distill generate SmolLM2-135M \"The capital of France is\" --tokens 32\n"
               "distill generate SmolLM2-135M-Instruct.gguf \"What is gravity?\" --chat\n"
               "distill generate SmolLM2-1.7B.gguf \"Once upon a time\" --draft SmolLM2-135M.gguf\n"
               "distill generate student.gguf - --temperature 0.8 --top-p 0.95 < prompt.txt"};

/* Prints tokens as text, whole characters only. */
typedef struct {
    const kd_text_tokenizer *tokenizer;
    int32_t *id; /* (capacity) those generated */
    int64_t count, capacity;
    size_t printed; /* bytes of their text */
} printer;

static int print_token(void *context, int32_t id) {
    printer *p = context;
    char *text;
    size_t length;
    if (p->count == p->capacity) {
        const int64_t capacity = p->capacity ? 2 * p->capacity : 256;
        int32_t *grown = realloc(p->id, kd_array_bytes(capacity, sizeof *grown));
        if (!grown) return kd_fail_memory((size_t)capacity * sizeof *grown, "tokens");
        p->id = grown;
        p->capacity = capacity;
    }
    p->id[p->count++] = id;
    int status = kd_text_tokenizer_decode(&text, &length, p->tokenizer, p->id, p->count, false);
    if (status < 0) return status;
    /* The end may be the beginning of a character, which is U+FFFD as long as it is not whole. */
    static const char broken[] = "\xef\xbf\xbd";
    const bool whole = length < 3 || memcmp(text + length - 3, broken, 3) != 0;
    if (whole && length > p->printed) {
        fwrite(text + p->printed, 1, length - p->printed, stdout);
        fflush(stdout);
        p->printed = length;
    }
    free(text);
    return KD_OK;
}

static int read_number(double *out, const kd_arguments *arguments, const char *name, double least,
                       double most, double otherwise) {
    const char *text = kd_arguments_value(arguments, name);
    char *end;
    *out = text ? strtod(text, &end) : otherwise;
    if (text && (end == text || *end || !(*out >= least && *out <= most)))
        return kd_fail(KD_EUSAGE, "--%s %s: should be a number from %g to %g", name, text, least,
                       most);
    return KD_OK;
}

static int read_options(kd_generating *out, const kd_arguments *arguments) {
    int64_t top_k, seed;
    int status = kd_arguments_integer(&out->tokens, arguments, "tokens", 1, 1 << 20, 256);
    if (status == KD_OK)
        status = read_number(&out->sampling.temperature, arguments, "temperature", 0, 100, 0);
    if (status == KD_OK) status = kd_arguments_integer(&top_k, arguments, "top-k", 0, 1 << 20, 0);
    if (status == KD_OK) status = read_number(&out->sampling.top_p, arguments, "top-p", 0, 1, 1);
    if (status == KD_OK) status = kd_arguments_integer(&seed, arguments, "seed", 0, INT64_MAX, 0);
    if (status < 0) return status;
    out->sampling.top_k = (int)top_k;
    out->seed = (uint64_t)seed;
    return KD_OK;
}

/* The prompt, or all of the standard input, without the newline at its end. The caller frees. */
static int read_prompt(kd_text *out, const char *argument) {
    char buffer[4096];
    size_t n;
    const bool stream = strcmp(argument, "-") == 0;
    if (!stream) kd_text_add(out, "%s", argument);
    while (stream && (n = fread(buffer, 1, sizeof buffer, stdin)) > 0)
        for (size_t i = 0; i < n; i++) kd_text_add(out, "%c", buffer[i]);
    int status = kd_text_finish(out, "the prompt");
    if (status == KD_OK && stream && out->length > 0 && out->text[out->length - 1] == '\n')
        out->text[--out->length] = '\0';
    return status;
}

static void tell_speed(const kd_generated *g) {
    if (g->drafted > 0)
        kd_log("draft: %lld of %lld tokens accepted, %.1f %%", (long long)g->accepted,
               (long long)g->drafted, 100 * (double)g->accepted / (double)g->drafted);
    kd_log("prompt: %lld tokens, %.1f tokens/s; generated: %lld tokens, %.1f tokens/s%s",
           (long long)g->prompt, (double)g->prompt / g->prompt_seconds, (long long)g->tokens,
           (double)g->tokens / (g->tokens_seconds > 0 ? g->tokens_seconds : 1),
           g->stopped ? "; the text ended" : "");
}

/* The token that ends an answer ends the text, whatever else the model's file says. */
static int end_answers(kd_llama_ends *ends, const kd_text_tokenizer *tokenizer, kd_chat_form form) {
    const char *text = form == KD_CHAT_CHATML ? "<|im_end|>" : "<|eot_id|>";
    const int32_t id = kd_text_tokenizer_find(tokenizer, text);
    if (id < 0)
        return kd_fail(KD_EDATA, "its chat template has %s, which is no token of its tokenizer",
                       text);
    for (int i = 0; i < ends->stop_count; i++)
        if (ends->stop[i] == id) return KD_OK;
    if (ends->stop_count == KD_STOPS_MAX)
        return kd_fail(KD_EDATA, "%d tokens end a text, and %s is none of them", KD_STOPS_MAX,
                       text);
    ends->stop[ends->stop_count++] = id;
    return KD_OK;
}

/* A message to the assistant and the head of its answer, as the model's template has them. Of a
 * prompt no part is an answer, so that there is one. */
static int encode_chat(int32_t **id, int64_t *n, kd_llama_file *file, const char *path,
                       const kd_text *prompt) {
    const kd_text_tokenizer *t = file->tokenizer;
    const char *template = kd_text_tokenizer_template(t);
    const int32_t bos = kd_text_tokenizer_ids(t)->bos;
    const kd_chat_message message = {"user", prompt->text};
    char begin[256] = "";
    kd_chat chat;
    kd_chat_text text = {0};
    if (!template) return kd_fail(KD_EDATA, "%s: it has no chat template", path);
    if (strlen(prompt->text) < prompt->length)
        return kd_fail(KD_EDATA, "%s", "the prompt: byte 0, which no message has");
    if (bos >= 0) {
        const kd_token_bytes token = kd_text_tokenizer_token(t, bos);
        snprintf(begin, sizeof begin, "%.*s", (int)token.length, token.bytes);
    }
    int status = kd_chat_recognise(&chat, template);
    if (status == KD_OK) status = end_answers(&file->ends, t, chat.form);
    if (status == KD_OK) status = kd_chat_render(&text, &chat, &message, 1, begin, true);
    if (status < 0) kd_fail_in(status, "%s", path);
    if (status == KD_OK) {
        status = kd_text_tokenizer_encode(id, n, t, text.text.text, text.text.length, false);
        if (status < 0) kd_fail_in(status, "%s", "the prompt in the chat template");
    }
    kd_chat_text_clear(&text);
    return status;
}

static int encode(int32_t **id, int64_t *n, const kd_text_tokenizer *tokenizer,
                  const kd_text *prompt) {
    const int status =
        kd_text_tokenizer_encode(id, n, tokenizer, prompt->text, prompt->length, true);
    return status < 0 ? kd_fail_in(status, "%s", "the prompt") : status;
}

static int generate(kd_llama_file *file, const char *path, const kd_text *prompt, bool chat,
                    const kd_generating *how) {
    int32_t *id = NULL;
    int64_t n = 0;
    kd_generated done;
    printer p = {.tokenizer = file->tokenizer};
    int status =
        chat ? encode_chat(&id, &n, file, path, prompt) : encode(&id, &n, file->tokenizer, prompt);
    if (status == KD_OK && n == 0)
        status = kd_fail(KD_EUSAGE, "%s", "the prompt is empty; there is nothing to go on with");
    if (status == KD_OK) {
        if (!chat) fwrite(prompt->text, 1, prompt->length, stdout);
        status = kd_generate(&done, file, id, n, how, print_token, &p);
    }
    if (status == KD_OK) {
        putchar('\n');
        tell_speed(&done);
    }
    free(id);
    free(p.id);
    return status;
}

static int open_model(kd_llama_file **out, const char *path) {
    const int status = kd_llama_file_open(out, path, KD_LLAMA_ONLY_READ);
    return status < 0 ? status : kd_llama_file_need_tokenizer(*out, path);
}

int kd_cmd_generate(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    kd_generating how = {0};
    kd_llama_file *file = NULL, *draft = NULL;
    kd_text prompt = {0};
    const char *path = arguments.positional[0], *other = kd_arguments_value(&arguments, "draft");
    status = read_options(&how, &arguments);
    if (status == KD_OK) status = read_prompt(&prompt, arguments.positional[1]);
    if (status == KD_OK) status = open_model(&file, path);
    if (status == KD_OK && other) status = open_model(&draft, other);
    if (status == KD_OK && other) status = kd_generate_check_draft(file, path, draft, other);
    how.draft = draft;
    if (status == KD_OK)
        status = generate(file, path, &prompt, kd_arguments_has(&arguments, "chat"), &how);
    free(prompt.text);
    kd_llama_file_free(file);
    kd_llama_file_free(draft);
    return status;
}
