#include "files/bert_file.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/file.h"
#include "files/folder_config.h"

void kd_bert_file_free(kd_bert_file *file) {
    if (!file) return;
    kd_bert_free(file->model);
    kd_text_tokenizer_free(file->own_tokenizer);
    free(file);
}

static bool is_folder_of_one(const char *folder) {
    char path[KD_PATH_MAX];
    kd_json *json;
    const int status = kd_folder_json(&json, path, folder, "config.json");
    const bool is = status == KD_OK && kd_bert_config_is(json);
    kd_json_free(json);
    return is;
}

static bool is_gguf_of_one(const char *path) {
    kd_file_map map;
    kd_gguf *gguf = NULL;
    if (kd_file_map_open(&map, path) < 0) return false;
    const bool is =
        kd_gguf_parse(&gguf, map.bytes, map.length, path) == KD_OK && kd_gguf_is_bert(gguf);
    kd_gguf_free(gguf);
    kd_file_map_close(&map);
    return is;
}

bool kd_bert_file_is(const char *path) {
    return kd_file_is_folder(path) ? is_folder_of_one(path) : is_gguf_of_one(path);
}

int kd_bert_file_open(kd_bert_file **out, const char *path, bool frozen) {
    return kd_file_is_folder(path) ? kd_bert_folder_read(out, path, frozen)
                                   : kd_bert_gguf_read(out, path, frozen);
}

const kd_number_format *kd_bert_format_of(const kd_param *param, const kd_number_format *matrices) {
    return param->tensor.rank == 1 ? &kd_format_f32 : matrices;
}

int kd_bert_file_need_tokenizer(const kd_bert_file *file, const char *path) {
    const int V = file->model->spec.vocabulary;
    if (!file->tokenizer) return kd_fail(KD_EDATA, "%s: has no tokenizer", path);
    const int32_t tokens = kd_text_tokenizer_ids(file->tokenizer)->vocabulary;
    if (tokens <= V) return KD_OK;
    return kd_fail(KD_EDATA,
                   "%s: its tokenizer has %d tokens, its embedding %d: they are of two models",
                   path, (int)tokens, V);
}
