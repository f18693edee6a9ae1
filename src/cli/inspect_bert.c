/* Encoders: a Hugging Face folder, and the part that GGUF shares. */
#include "base/log.h"
#include "cli/inspect.h"

static int add_parts(kd_text *out, const kd_bert_spec *s) {
    const int64_t tables = (int64_t)s->width * (s->vocabulary + s->context + s->types);
    const kd_bert_spec bare = {.width = s->width,
                               .layers = s->layers,
                               .hidden = s->hidden,
                               .vocabulary = s->vocabulary,
                               .context = s->context,
                               .types = s->types};
    const struct {
        const char *name;
        int64_t count;
    } part[] = {{"embeddings", tables},
                {"encoder", kd_bert_size(&bare) - tables},
                {"heads", kd_bert_size(s) - kd_bert_size(&bare)},
                {"all", kd_bert_size(s)}};
    kd_text rows = {0};
    char count[32];
    kd_text_add(&rows, "\tlayers\twidth\theads\thidden\tpositions\tnumbers\n");
    for (int i = 0; i < 4; i++) {
        kd_format_count(count, sizeof count, part[i].count);
        if (i == 1)
            kd_text_add(&rows, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", part[i].name, s->layers, s->width,
                        s->heads, s->hidden, s->context, count);
        else
            kd_text_add(&rows, "%s\t\t\t\t\t\t%s\n", part[i].name, count);
    }
    return kd_text_add_rows(out, "lrrrrrr", &rows);
}

int kd_inspect_add_bert(kd_text *out, const kd_bert_file *file) {
    const kd_bert_spec *s = &file->model->spec;
    char count[32];
    int status = add_parts(out, s);
    kd_format_count(count, sizeof count, s->vocabulary);
    kd_text_add(out, "\nwords    %s tokens%s\n", count, file->tokenizer ? "" : "; no tokenizer");
    kd_text_add(out, "heads    %s%s", s->head ? "masked tokens" : "",
                s->head && s->classes ? ", " : "");
    if (s->classes > 0) kd_text_add(out, "%d classes", s->classes);
    kd_text_add(out, s->head || s->classes ? "\n" : "none\n");
    return status;
}

/* The tensors are those of its safetensors files, which can be inspected themselves. */
int kd_inspect_bert_folder(kd_text *out, const char *path) {
    kd_bert_file *file;
    int status = kd_bert_folder_read(&file, path, true);
    if (status < 0) return status;
    kd_text_add(out, "%s: %s, an encoder in a Hugging Face folder\n\n", path,
                kd_bert_family_name(&file->model->spec));
    status = kd_inspect_add_bert(out, file);
    kd_bert_file_free(file);
    return status;
}
