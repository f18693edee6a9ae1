/* Whisper models: whisper.cpp's `.bin`, a Hugging Face folder, and the part that GGUF shares. */
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "cli/inspect.h"
#include "files/whisper_names.h"

/* Numbers of the parameters that `name` begins with. */
static int64_t count_of(const kd_params *params, const char *name) {
    int64_t count = 0;
    for (int i = 0; i < params->count; i++)
        if (strncmp(params->list[i]->name, name, strlen(name)) == 0)
            count += params->list[i]->tensor.size;
    return count;
}

static void add_row(kd_text *rows, const char *name, int layers, int width, int heads, int context,
                    int64_t numbers) {
    char count[32];
    kd_format_count(count, sizeof count, numbers);
    kd_text_add(rows, "%s\t%d\t%d\t%d\t%d\t%s\n", name, layers, width, heads, context, count);
}

/* What the files state of how text is generated. */
static void add_generation(kd_text *out, const kd_whisper_file *file) {
    const kd_whisper_generation *g = &file->model->generation;
    const kd_tokenizer *t = file->tokenizer;
    const kd_token_ids *ids = kd_tokenizer_ids(t);
    if (ids->added < ids->vocabulary)
        kd_text_add(out, "         %d of them beyond Whisper's, from id %d on\n",
                    (int)(ids->vocabulary - ids->added), (int)ids->added);
    if (g->suppress.stated)
        kd_text_add(out, "never    %d tokens are suppressed\n", g->suppress.count);
    if (g->begin_suppress.stated)
        kd_text_add(out, "first    %d tokens are suppressed\n", g->begin_suppress.count);
    if (g->max_length > 0) kd_text_add(out, "length   at most %d tokens\n", g->max_length);
    if (g->language >= 0)
        kd_text_add(out, "language %s unless another is given\n",
                    kd_tokenizer_language_code(t, g->language));
    if (g->task >= 0)
        kd_text_add(out, "task     %s unless another is given\n",
                    g->task == ids->translate ? "translate" : "transcribe");
}

int kd_inspect_add_whisper(kd_text *out, const kd_whisper_file *file) {
    const kd_whisper_spec *s = &file->model->spec;
    const kd_token_ids *ids = kd_tokenizer_ids(file->tokenizer);
    const int64_t encoder = count_of(file->model->params, "encoder.");
    const int64_t decoder = count_of(file->model->params, "decoder.");
    char count[32];
    kd_text rows = {0};
    kd_text_add(&rows, "\tlayers\twidth\theads\tcontext\tnumbers\n");
    add_row(&rows, "encoder", s->audio_layers, s->width, s->audio_heads, s->audio_context, encoder);
    add_row(&rows, "decoder", s->text_layers, s->width, s->text_heads, s->text_context, decoder);
    kd_format_count(count, sizeof count, encoder + decoder);
    kd_text_add(&rows, "all\t\t\t\t\t%s\n", count);
    const int status = kd_text_add_rows(out, "lrrrrr", &rows);
    kd_format_count(count, sizeof count, s->vocabulary);
    kd_text_add(out, "\nsound    %d mel bands, windows of %g s\nwords    %s tokens, ", s->mels,
                s->audio_context / 50.0, count);
    if (ids->multilingual)
        kd_text_add(out, "%d languages\n", (int)ids->languages);
    else
        kd_text_add(out, "English only\n");
    add_generation(out, file);
    if (file->head_count > 0)
        kd_text_add(out, "times    %d attention heads follow the words\n", file->head_count);
    return status;
}

static int add_tensors(kd_text *out, const kd_whisper_file *file) {
    const kd_params *params = file->model->params;
    kd_text rows = {0};
    int64_t numbers = 0;
    double bytes = 0;
    kd_text_add(&rows, "tensor\ttype\tshape\tnumbers\tsize\n");
    for (int i = 0; i < params->count; i++) {
        const kd_param *p = params->list[i];
        const double own = (double)kd_number_format_bytes(file->stored[i], p->tensor.size);
        char count[32], size[32];
        kd_named named;
        kd_names_find(&named, &kd_whisper_ggml, p);
        kd_format_count(count, sizeof count, p->tensor.size);
        kd_format_bytes(size, sizeof size, own);
        kd_text_add(&rows, "%s\t%s\t", named.name, file->stored[i]->name);
        kd_inspect_add_shape(&rows, named.rank, named.shape);
        kd_text_add(&rows, "\t%s\t%s\n", count, size);
        numbers += p->tensor.size;
        bytes += own;
    }
    kd_inspect_add_total(&rows, params->count, numbers, bytes);
    return kd_text_add_rows(out, "llrrr", &rows);
}

int kd_inspect_whisper_bin(kd_text *out, const char *path) {
    kd_whisper_file *file;
    int status = kd_whisper_bin_read(&file, path, KD_WHISPER_TRAIN_NOTHING);
    if (status < 0) return status;
    kd_text_add(out, "%s: Whisper, a .bin of whisper.cpp\n\n", path);
    status = kd_inspect_add_whisper(out, file);
    kd_text_add(out, "\n");
    if (status == KD_OK) status = add_tensors(out, file);
    kd_whisper_file_free(file);
    return status;
}

/* The tensors are those of its safetensors files, which can be inspected themselves. */
int kd_inspect_whisper_folder(kd_text *out, const char *path) {
    kd_whisper_file *file;
    int status = kd_whisper_folder_read(&file, path, KD_WHISPER_TRAIN_NOTHING);
    if (status < 0) return status;
    kd_text_add(out, "%s: Whisper, a Hugging Face folder\n\n", path);
    status = kd_inspect_add_whisper(out, file);
    kd_whisper_file_free(file);
    return status;
}
