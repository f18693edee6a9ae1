/* Whisper as GGUF, the writing half; whisper_file.h has the layout. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "data/token_letters.h"
#include "data/tokenizer_write.h"
#include "files/gguf_params.h"
#include "files/whisper_gguf.h"
#include "files/whisper_names.h"

/* tokenizer.ggml.token_type */
enum { TOKEN_ORDINARY = 1, TOKEN_SPECIAL = 3 };

static void add_sizes(kd_gguf_writer *w, const kd_whisper_spec *spec) {
    for (int i = 0; i < KD_WHISPER_GGUF_SIZES; i++) {
        int size;
        memcpy(&size, (const char *)spec + kd_whisper_gguf_size[i].place, sizeof size);
        kd_gguf_add_u32(w, kd_whisper_gguf_size[i].key, (uint32_t)size);
    }
}

/* --- the tokenizer ------------------------------------------------------------------------------
 */

/* A key whose texts are the lines, which become 0-terminated. Frees them. */
static int add_lines(kd_gguf_writer *w, const char *key, kd_text *lines, int status) {
    if (status == KD_OK) status = kd_text_finish(lines, key);
    if (status < 0) {
        free(lines->text);
        return status;
    }
    uint64_t count = 0;
    const char **line = malloc((lines->length + 1) * sizeof *line);
    if (!line) status = kd_fail_memory(lines->length * sizeof *line, key);
    for (char *at = lines->text; line && at < lines->text + lines->length;) {
        const size_t n = strcspn(at, "\n");
        at[n] = '\0';
        line[count++] = at;
        at += n + 1;
    }
    if (line) kd_gguf_add_strings(w, key, line, count);
    free(line);
    free(lines->text);
    return status;
}

/* All V: ordinary tokens in letters, special ones by their text. */
static int add_tokens(kd_gguf_writer *w, const kd_tokenizer *t) {
    const kd_token_ids *ids = kd_tokenizer_ids(t);
    kd_text lines = {0};
    size_t longest = 0;
    for (int32_t id = 0; id < ids->vocabulary; id++) {
        const size_t length = kd_tokenizer_token(t, id).length;
        longest = length > longest ? length : longest;
    }
    char *letters = malloc(2 * longest + 1);
    for (int32_t id = 0; id < ids->vocabulary && letters; id++) {
        const kd_token_bytes token = kd_tokenizer_token(t, id);
        if (id < ids->end) {
            kd_letters_spell(letters, token.bytes, token.length);
            kd_text_add(&lines, "%s\n", letters);
        } else {
            kd_text_add(&lines, "%.*s\n", (int)token.length, token.bytes);
        }
    }
    const int status = letters ? KD_OK : kd_fail_memory(2 * longest + 1, "a token");
    free(letters);
    return add_lines(w, KD_WHISPER_GGUF_TOKENS, &lines, status);
}

static int add_token_types(kd_gguf_writer *w, const kd_token_ids *ids) {
    int32_t *type = malloc((size_t)ids->vocabulary * sizeof *type);
    if (!type) return kd_fail_memory((size_t)ids->vocabulary * sizeof *type, "types of tokens");
    for (int32_t id = 0; id < ids->vocabulary; id++)
        type[id] = id < ids->end ? TOKEN_ORDINARY : TOKEN_SPECIAL;
    kd_gguf_add_i32s(w, "tokenizer.ggml.token_type", type, (uint64_t)ids->vocabulary);
    free(type);
    return KD_OK;
}

static int add_tokenizer(kd_gguf_writer *w, const kd_tokenizer *t) {
    const kd_token_ids *ids = kd_tokenizer_ids(t);
    kd_text merges = {0};
    kd_gguf_add_string(w, "tokenizer.ggml.model", "gpt2");
    int status = add_tokens(w, t);
    if (status == KD_OK) status = add_token_types(w, ids);
    if (status == KD_OK)
        status =
            add_lines(w, "tokenizer.ggml.merges", &merges, kd_tokenizer_add_merges(&merges, t));
    kd_gguf_add_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)ids->start);
    kd_gguf_add_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)ids->end);
    return status;
}

/* --- the file -----------------------------------------------------------------------------------
 */

static int add_heads(kd_gguf_writer *w, const kd_whisper_file *file) {
    const size_t count = 2 * (size_t)file->head_count;
    if (count == 0) return KD_OK;
    int32_t *pair = malloc(count * sizeof *pair);
    if (!pair) return kd_fail_memory(count * sizeof *pair, "alignment heads");
    for (int i = 0; i < file->head_count; i++) {
        pair[2 * i] = file->head[i].layer;
        pair[2 * i + 1] = file->head[i].head;
    }
    kd_gguf_add_i32s(w, KD_WHISPER_GGUF_HEADS, pair, count);
    free(pair);
    return KD_OK;
}

static void add_list(kd_gguf_writer *w, const char *key, const kd_token_list *list) {
    if (list->stated) kd_gguf_add_i32s(w, key, list->id, (uint64_t)list->count);
}

static void add_generation(kd_gguf_writer *w, const kd_whisper_generation *g,
                           const kd_tokenizer *t) {
    const kd_whisper_generation own = kd_whisper_generation_own();
    add_list(w, KD_WHISPER_GGUF_SUPPRESS, &g->suppress);
    add_list(w, KD_WHISPER_GGUF_BEGIN_SUPPRESS, &g->begin_suppress);
    add_list(w, KD_WHISPER_GGUF_LANGUAGES, &g->languages);
    if (g->max_length > 0) kd_gguf_add_u32(w, KD_WHISPER_GGUF_MAX_LENGTH, (uint32_t)g->max_length);
    if (g->max_initial_timestamp != own.max_initial_timestamp)
        kd_gguf_add_u32(w, KD_WHISPER_GGUF_FIRST_TIMESTAMP, (uint32_t)g->max_initial_timestamp);
    if (g->language >= 0)
        kd_gguf_add_string(w, KD_WHISPER_GGUF_LANGUAGE, kd_tokenizer_language_code(t, g->language));
    if (g->task >= 0)
        kd_gguf_add_string(w, KD_WHISPER_GGUF_TASK,
                           g->task == kd_tokenizer_ids(t)->translate ? "translate" : "transcribe");
}

static int add_keys(kd_gguf_writer *w, const kd_whisper_file *file,
                    const kd_number_format *format) {
    if (format->gguf_file_type >= 0)
        kd_gguf_add_u32(w, "general.file_type", (uint32_t)format->gguf_file_type);
    if (file->origin) kd_gguf_add_string(w, "distill.origin", file->origin);
    if (file->budget) kd_gguf_add_string(w, "distill.budget", file->budget);
    add_sizes(w, &file->model->spec);
    add_generation(w, &file->model->generation, file->tokenizer);
    int status = add_heads(w, file);
    return status < 0 ? status : add_tokenizer(w, file->tokenizer);
}

int kd_whisper_gguf_write(const char *path, const kd_whisper_file *file,
                          const kd_number_format *format) {
    const kd_whisper *model = file->model;
    const kd_gguf_array filters = {.name = KD_WHISPER_GGUF_FILTERS,
                                   .rank = 2,
                                   .ne = {(uint64_t)file->bins, (uint64_t)model->spec.mels},
                                   .values = file->filters};
    kd_gguf_writer *w = NULL;
    const kd_encoding *how;
    kd_encoding *own;
    if (!kd_number_format_in_gguf(format))
        return kd_fail(KD_EUSAGE, "%s: GGUF has no %s", path, format->name);
    int status = kd_whisper_encodings(&how, &own, file, format);
    if (status == KD_OK) status = kd_gguf_writer_create(&w, "whisper");
    if (status == KD_OK) status = add_keys(w, file, format);
    if (status == KD_OK)
        status = kd_gguf_write_params(path, w, &filters, model->params, &kd_whisper_ggml, how);
    if (status == KD_OK) kd_encoding_tell(path, model->params, how, kd_whisper_format_of, format);
    kd_gguf_writer_free(w);
    free(own);
    return status;
}
