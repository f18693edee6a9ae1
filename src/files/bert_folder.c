/* Encoders as Hugging Face folders. */
#include <stdlib.h>

#include "base/error.h"
#include "base/file.h"
#include "files/bert_file.h"
#include "files/folder_weights.h"

static int read_tokenizer(kd_bert_file *file, const char *folder) {
    const int status = kd_text_tokenizer_read(&file->own_tokenizer, folder);
    if (status == KD_ENOINPUT) return KD_OK; /* a folder may be without */
    file->tokenizer = file->own_tokenizer;
    return status == KD_OK ? kd_bert_file_need_tokenizer(file, folder) : status;
}

/* Which parts the weights have. */
static void find_parts(kd_bert_spec *spec, const kd_folder_weights *shards) {
    const bool bert = spec->types > 0;
    spec->head =
        kd_folder_weights_have(shards, bert ? "cls.predictions.bias" : "vocab_projector.bias");
    spec->pooler = kd_folder_weights_have(shards, bert ? "bert.pooler.dense.weight"
                                                       : "pre_classifier.weight") ||
                   kd_folder_weights_have(shards, "pooler.dense.weight");
    if (!kd_folder_weights_have(shards, "classifier.weight")) spec->classes = 0;
}

static bool is_older(const kd_folder_weights *shards) {
    return kd_folder_weights_have(shards, "bert.embeddings.LayerNorm.gamma") ||
           kd_folder_weights_have(shards, "embeddings.LayerNorm.gamma");
}

static int read_weights(kd_bert_file *file, const char *folder, const kd_folder_weights *shards) {
    const kd_bert *m = file->model;
    const bool bert = m->spec.types > 0;
    const kd_repeated bias = {"cls.predictions.decoder.bias", m->bias,
                              "the head's bias, which it repeats", NULL};
    const kd_repeated output = {
        bert ? "cls.predictions.decoder.weight" : "vocab_projector.weight", m->embedding.table,
        "the token embedding; config.json says that the output matrix is", bert ? &bias : NULL};
    const int n = m->params->count;
    kd_stored *list = calloc((size_t)n, sizeof *list);
    if (!list) return kd_fail_memory((size_t)n * sizeof *list, folder);
    kd_packing packing;
    int status = kd_packing_read(&packing, folder);
    if (status == KD_OK)
        status = kd_folder_weights_list(list, shards, m->params,
                                        kd_bert_hugging(&m->spec, is_older(shards)),
                                        m->spec.head ? &output : NULL, &packing);
    if (status == KD_OK) status = kd_bert_layout_blank(file->model);
    if (status == KD_OK) status = kd_stored_load(m->params, list, folder);
    free(list);
    return status;
}

static int read_folder(kd_bert_file *file, const char *folder, bool frozen) {
    kd_bert_spec spec;
    kd_folder_weights *shards = NULL;
    int status = kd_bert_config_read(&spec, folder);
    if (status == KD_OK) status = kd_folder_weights_open(&shards, folder);
    if (status == KD_OK) {
        find_parts(&spec, shards);
        status = kd_bert_spec_check(&spec, folder);
    }
    if (status == KD_OK) status = kd_bert_create(&file->model, &spec, frozen);
    if (status == KD_OK) status = read_tokenizer(file, folder);
    if (status == KD_OK) status = read_weights(file, folder, shards);
    kd_folder_weights_close(shards);
    return status;
}

int kd_bert_folder_read(kd_bert_file **out, const char *folder, bool frozen) {
    *out = NULL;
    kd_bert_file *file = calloc(1, sizeof *file);
    if (!file) return kd_fail_memory(sizeof *file, folder);
    const int status = read_folder(file, folder, frozen);
    if (status < 0) {
        kd_bert_file_free(file);
        return status;
    }
    *out = file;
    return KD_OK;
}

int kd_bert_folder_write(const char *folder, const kd_bert_file *file,
                         const kd_number_format *format) {
    const kd_bert_spec *spec = &file->model->spec;
    kd_text config = {0};
    if (format != &kd_format_f32 && format != &kd_format_f16)
        return kd_fail(KD_EUSAGE, "%s: a Hugging Face folder is written in f32 or f16, not %s",
                       folder, format->name);
    kd_bert_config_text(&config, spec, file->class_name,
                        format == &kd_format_f16 ? "float16" : "float32");
    int status = kd_file_make_folders(folder);
    if (status == KD_OK)
        status = kd_text_save(&config, folder, "config.json");
    else
        free(config.text);
    if (status == KD_OK && file->tokenizer)
        status = kd_text_tokenizer_write(file->tokenizer, folder);
    return status == KD_OK ? kd_folder_weights_write(folder, file->model->params,
                                                     kd_bert_hugging(spec, false), format)
                           : status;
}
