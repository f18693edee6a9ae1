/* Whisper as GGUF, the writing half; whisper_file.h has the layout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "data/token_letters.h"
#include "data/tokenizer_write.h"
#include "quant/gguf.h"
#include "quant/whisper_gguf.h"

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

/* --- tensors ------------------------------------------------------------------------------------
 */

/* One row of int8 is a float and its bytes (number_format.h): all rows as two tensors. */
static int add_scaled(kd_gguf_writer *w, const kd_param *p, const unsigned char *rows) {
    const kd_tensor *t = &p->tensor;
    const size_t N = (size_t)t->shape[0], C = (size_t)t->shape[1], stride = sizeof(float) + C;
    char name[KD_WHISPER_GGUF_NAME_MAX];
    float *scale = malloc(N * sizeof *scale);
    unsigned char *step = malloc(N * C);
    if (scale && step) {
        for (size_t row = 0; row < N; row++) {
            memcpy(scale + row, rows + row * stride, sizeof *scale);
            memcpy(step + row * C, rows + row * stride + sizeof *scale, C);
        }
        kd_whisper_gguf_scale_name(name, p);
        kd_gguf_add_tensor(w, p->name, KD_GGUF_TENSOR_I8, 2, (uint64_t[]){C, N}, step);
        kd_gguf_add_tensor(w, name, KD_GGUF_TENSOR_F32, 1, (uint64_t[]){N}, scale);
    }
    const int status = scale && step ? KD_OK : kd_fail_memory(N * C, p->name);
    free(scale);
    free(step);
    return status;
}

static int add_encoded(kd_gguf_writer *w, const kd_param *p, const kd_number_format *format,
                       const unsigned char *rows) {
    int64_t ne[4];
    uint64_t sizes[4];
    if (format->ggml_type == KD_NO_GGML_TYPE) return add_scaled(w, p, rows);
    const int rank = kd_whisper_sizes(ne, p);
    for (int i = 0; i < rank; i++) sizes[i] = (uint64_t)ne[i];
    kd_gguf_add_tensor(w, p->name, format->ggml_type, rank, sizes, rows);
    return KD_OK;
}

static int add_param(kd_gguf_writer *w, const kd_param *p, const kd_number_format *format) {
    const kd_tensor *t = &p->tensor;
    const int64_t N = t->shape[0], C = t->size / N;
    const size_t stride = (size_t)kd_number_format_bytes(format, C);
    float *values = malloc((size_t)t->size * sizeof *values);
    unsigned char *rows = malloc((size_t)N * stride);
    int status = values && rows ? KD_OK : kd_fail_memory((size_t)t->size * sizeof *values, p->name);
    if (status == KD_OK) {
        kd_whisper_get_values(values, p);
#pragma omp parallel for
        for (int64_t row = 0; row < N; row++)
            format->encode(rows + (size_t)row * stride, values + row * C, C);
        status = add_encoded(w, p, format, rows);
    }
    free(values);
    free(rows);
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

int kd_whisper_gguf_write(const char *path, const kd_whisper_file *file,
                          const kd_number_format *format) {
    const kd_whisper *model = file->model;
    const int type = kd_whisper_file_type(format);
    kd_gguf_writer *w;
    KD_CONTRACT(format->encode, "%s has no encoder", format->name);
    int status = kd_whisper_format_check(&model->spec, format, path);
    if (status == KD_OK) status = kd_gguf_writer_create(&w, "whisper");
    if (status < 0) return status;
    if (type >= 0) kd_gguf_add_u32(w, "general.file_type", (uint32_t)type);
    add_sizes(w, &model->spec);
    status = add_heads(w, file);
    if (status == KD_OK) status = add_tokenizer(w, file->tokenizer);
    kd_gguf_add_tensor(w, KD_WHISPER_GGUF_FILTERS, KD_GGUF_TENSOR_F32, 2,
                       (uint64_t[]){(uint64_t)file->bins, (uint64_t)model->spec.mels},
                       file->filters);
    for (int i = 0; i < model->params->count && status == KD_OK; i++) {
        const kd_param *p = model->params->list[i];
        status = add_param(w, p, kd_whisper_format_of(p, format));
    }
    if (status == KD_OK) status = kd_gguf_write(path, w);
    kd_gguf_writer_free(w);
    return status;
}
