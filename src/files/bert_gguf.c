/* Encoders as GGUF of llama.cpp's architecture "bert", both ways. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "files/bert_file.h"
#include "files/gguf_params.h"
#include "files/gguf_values.h"
#include "files/text_tokenizer_gguf.h"

enum { POOLED_BY_FIRST = 2 }; /* llama.cpp's number: a text's vector is that of its first token */

static const struct {
    const char *key;
    size_t place; /* of an int in kd_bert_spec */
} SIZES[] = {{"bert.context_length", offsetof(kd_bert_spec, context)},
             {"bert.embedding_length", offsetof(kd_bert_spec, width)},
             {"bert.block_count", offsetof(kd_bert_spec, layers)},
             {"bert.feed_forward_length", offsetof(kd_bert_spec, hidden)},
             {"bert.attention.head_count", offsetof(kd_bert_spec, heads)}};
enum { SIZE_COUNT = sizeof SIZES / sizeof *SIZES };
static const char EPSILON_KEY[] = "bert.attention.layer_norm_epsilon";

bool kd_gguf_is_bert(const kd_gguf *gguf) {
    return kd_gguf_says(gguf, "general.architecture", "bert");
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Rows of a matrix, 0 where it is not there. */
static int read_rows(int *out, const kd_gguf *g, const char *tensor, const char *name) {
    const kd_gguf_tensor *t = kd_gguf_find_tensor(g, tensor);
    *out = 0;
    if (!t) return KD_OK;
    if (t->rank != 2 || t->ne[1] < 1 || t->ne[1] > INT32_MAX)
        return kd_fail(KD_EDATA, "%s: tensor %s should be a matrix", name, tensor);
    *out = (int)t->ne[1];
    return KD_OK;
}

static int read_spec(kd_bert_spec *spec, const kd_gguf *g, const char *name) {
    int status = KD_OK;
    *spec = (kd_bert_spec){.head = kd_gguf_find_tensor(g, "head.bias") != NULL,
                           .pooler = kd_gguf_find_tensor(g, "cls.weight") != NULL};
    for (int i = 0; i < SIZE_COUNT && status == KD_OK; i++) {
        int size;
        status = kd_gguf_size(&size, g, SIZES[i].key, name);
        if (status == KD_OK) memcpy((char *)spec + SIZES[i].place, &size, sizeof size);
    }
    if (status == KD_OK) status = kd_gguf_number(&spec->epsilon, g, EPSILON_KEY, name);
    if (status == KD_OK) status = read_rows(&spec->vocabulary, g, "token_embd.weight", name);
    if (status == KD_OK) status = read_rows(&spec->types, g, "token_types.weight", name);
    if (status == KD_OK) status = read_rows(&spec->classes, g, "cls.output.weight", name);
    return status == KD_OK ? kd_bert_spec_check(spec, name) : status;
}

static int read_tokenizer(kd_bert_file *file, const kd_gguf *g, const char *name) {
    if (!kd_gguf_find_key(g, "tokenizer.ggml.model")) return KD_OK;
    const int status = kd_text_tokenizer_read_gguf(&file->own_tokenizer, g, name);
    file->tokenizer = file->own_tokenizer;
    return status == KD_OK ? kd_bert_file_need_tokenizer(file, name) : status;
}

static int read_weights(kd_bert_file *file, const kd_gguf *g, const char *name) {
    kd_params *params = file->model->params;
    kd_stored *list = calloc((size_t)params->count, sizeof *list);
    int status = list ? kd_gguf_list_params(list, g, params, &kd_bert_ggml, 0, name)
                      : kd_fail_memory((size_t)params->count * sizeof *list, name);
    if (status == KD_OK) status = kd_bert_layout_blank(file->model);
    if (status == KD_OK) status = kd_stored_load(params, list, name);
    free(list);
    return status;
}

static int read_file(kd_bert_file *file, const kd_gguf *g, const char *name, bool frozen) {
    kd_bert_spec spec;
    if (!kd_gguf_is_bert(g)) return kd_fail(KD_EDATA, "%s: general.architecture is not bert", name);
    int status = kd_gguf_checksum_place(g) ? kd_gguf_verify(g, name) : KD_OK;
    if (status == KD_OK) status = read_spec(&spec, g, name);
    if (status == KD_OK) status = kd_bert_create(&file->model, &spec, frozen);
    if (status == KD_OK) status = read_tokenizer(file, g, name);
    return status == KD_OK ? read_weights(file, g, name) : status;
}

int kd_bert_gguf_decode(kd_bert_file **out, const void *bytes, size_t length, const char *name,
                        bool frozen) {
    kd_gguf *gguf = NULL;
    *out = NULL;
    kd_bert_file *file = calloc(1, sizeof *file);
    if (!file) return kd_fail_memory(sizeof *file, name);
    int status = kd_gguf_parse(&gguf, bytes, length, name);
    if (status == KD_OK) status = read_file(file, gguf, name, frozen);
    kd_gguf_free(gguf);
    if (status < 0) {
        kd_bert_file_free(file);
        return status;
    }
    *out = file;
    return KD_OK;
}

int kd_bert_gguf_read(kd_bert_file **out, const char *path, bool frozen) {
    kd_file_map map;
    *out = NULL;
    int status = kd_file_map_open(&map, path);
    if (status < 0) return status;
    status = kd_bert_gguf_decode(out, map.bytes, map.length, path, frozen);
    kd_file_map_close(&map);
    return status;
}

/* --- writing ---------------------------------------------------------------------------------- */

static int add_keys(kd_gguf_writer *w, const kd_bert_file *file, const kd_number_format *format) {
    const kd_bert_spec *spec = &file->model->spec;
    if (format->gguf_file_type >= 0)
        kd_gguf_add_u32(w, "general.file_type", (uint32_t)format->gguf_file_type);
    if (file->origin) kd_gguf_add_string(w, "distill.origin", file->origin);
    for (int i = 0; i < SIZE_COUNT; i++) {
        int size;
        memcpy(&size, (const char *)spec + SIZES[i].place, sizeof size);
        kd_gguf_add_u32(w, SIZES[i].key, (uint32_t)size);
    }
    kd_gguf_add_f32(w, EPSILON_KEY, (float)spec->epsilon);
    kd_gguf_add_bool(w, "bert.attention.causal", false);
    kd_gguf_add_u32(w, "bert.pooling_type", POOLED_BY_FIRST);
    return file->tokenizer ? kd_text_tokenizer_add_gguf(w, file->tokenizer, spec->vocabulary)
                           : KD_OK;
}

int kd_bert_gguf_write(const char *path, const kd_bert_file *file, const kd_number_format *format) {
    const kd_params *params = file->model->params;
    const kd_encoding *how = file->encoding;
    kd_encoding *own = NULL;
    kd_gguf_writer *w = NULL;
    int status = KD_OK;
    if (!kd_number_format_in_gguf(format))
        return kd_fail(KD_EUSAGE, "%s: GGUF has no %s", path, format->name);
    if (!how) status = kd_encodings_nearest(&own, params, kd_bert_format_of, format);
    if (status == KD_OK) status = kd_gguf_writer_create(&w, "bert");
    if (status == KD_OK) status = add_keys(w, file, format);
    if (status == KD_OK)
        status = kd_gguf_write_params(path, w, NULL, params, &kd_bert_ggml, how ? how : own);
    if (status == KD_OK) kd_encoding_tell(path, params, how, kd_bert_format_of, format);
    kd_gguf_writer_free(w);
    free(own);
    return status;
}
