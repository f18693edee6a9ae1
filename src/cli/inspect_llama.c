/* Language models: a Hugging Face folder, and the part that GGUF shares. */
#include "cli/inspect.h"

#include "base/log.h"
#include "data/chat.h"
#include "files/llama_names.h"

/* Numbers of `count` parameters from `first` on. */
static int64_t count_of(const kd_params *params, int first, int count) {
    int64_t numbers = 0;
    for (int i = first; i < first + count; i++) numbers += params->list[i]->tensor.size;
    return numbers;
}

static int add_parts(kd_text *out, const kd_llama *model) {
    const kd_llama_spec *s = &model->spec;
    const int64_t all = count_of(model->params, 0, model->params->count);
    const int64_t table = (int64_t)s->vocabulary * s->width;
    char count[32];
    kd_text rows = {0};
    kd_text_add(&rows, "\tlayers\twidth\theads\tkey heads\thidden\tcontext\tnumbers\n");
    kd_format_count(count, sizeof count, table);
    kd_text_add(&rows, "embedding\t\t%d\t\t\t\t\t%s\n", s->width, count);
    kd_format_count(count, sizeof count, all - table * (s->tied ? 1 : 2));
    kd_text_add(&rows, "decoder\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", s->layers, s->width, s->heads,
                s->key_heads, s->hidden, s->context, count);
    kd_format_count(count, sizeof count, table);
    kd_text_add(&rows, "output\t\t%d\t\t\t\t\t%s\n", s->width, s->tied ? "tied" : count);
    kd_format_count(count, sizeof count, all);
    kd_text_add(&rows, "all\t\t\t\t\t\t\t%s\n", count);
    return kd_text_add_rows(out, "lrrrrrrr", &rows);
}

/* "2 <|im_end|>" */
static void add_token(kd_text *out, const kd_text_tokenizer *tokenizer, int32_t id) {
    kd_text_add(out, " %d", (int)id);
    if (!tokenizer || id >= kd_text_tokenizer_ids(tokenizer)->vocabulary) return;
    const kd_token_bytes token = kd_text_tokenizer_token(tokenizer, id);
    kd_text_add(out, " ");
    kd_text_add_plain(out, token.bytes, (size_t)token.length);
}

static void add_words(kd_text *out, const kd_llama_file *file) {
    const kd_text_tokenizer *tokenizer = file->tokenizer;
    const kd_llama_ends *ends = &file->ends;
    char count[32];
    kd_format_count(count, sizeof count, file->model->spec.vocabulary);
    kd_text_add(out, "\nwords    %s tokens", count);
    if (tokenizer && kd_text_tokenizer_ids(tokenizer)->vocabulary < file->model->spec.vocabulary) {
        kd_format_count(count, sizeof count, kd_text_tokenizer_ids(tokenizer)->vocabulary);
        kd_text_add(out, ", of which the tokenizer has %s", count);
    }
    kd_text_add(out, tokenizer ? "\n" : "; no tokenizer\n");
    if (ends->bos >= 0) {
        kd_text_add(out, "begin   ");
        add_token(out, tokenizer, ends->bos);
        kd_text_add(out, "\n");
    }
    for (int i = 0; i < ends->stop_count; i++) {
        kd_text_add(out, i ? "," : "end     ");
        add_token(out, tokenizer, ends->stop[i]);
    }
    if (ends->stop_count > 0) kd_text_add(out, "\n");
}

static void add_chat(kd_text *out, const kd_text_tokenizer *tokenizer) {
    const char *text = tokenizer ? kd_text_tokenizer_template(tokenizer) : NULL;
    kd_chat chat;
    if (!text) return;
    if (kd_chat_recognise(&chat, text) < 0)
        kd_text_add(out, "chat     a template that is not known here\n");
    else
        kd_text_add(out, "chat     %s\n", chat.form == KD_CHAT_CHATML ? "ChatML" : "Llama 3");
}

int kd_inspect_add_llama(kd_text *out, const kd_llama_file *file) {
    int status = add_parts(out, file->model);
    add_words(out, file);
    add_chat(out, file->tokenizer);
    return status;
}

/* The tensors are those of its safetensors files, which can be inspected themselves. */
int kd_inspect_llama_folder(kd_text *out, const char *path) {
    kd_llama_file *file;
    int status = kd_llama_folder_read(&file, path, KD_LLAMA_ONLY_READ);
    if (status < 0) return status;
    kd_text_add(out, "%s: %s, a language model in a Hugging Face folder\n\n", path,
                kd_llama_family_name(kd_llama_family_of(&file->model->spec)));
    status = kd_inspect_add_llama(out, file);
    kd_llama_file_free(file);
    return status;
}
