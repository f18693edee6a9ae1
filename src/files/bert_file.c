#include "files/bert_file.h"

#include <stdlib.h>

#include "base/file.h"
#include "files/text_model.h"

void kd_bert_file_free(kd_bert_file *file) {
    if (!file) return;
    kd_bert_free(file->model);
    kd_text_tokenizer_free(file->own_tokenizer);
    free(file);
}

bool kd_bert_file_is(const char *path) {
    return kd_text_model_is(path, kd_bert_config_is, kd_gguf_is_bert);
}

int kd_bert_file_open(kd_bert_file **out, const char *path, bool frozen) {
    return kd_file_is_folder(path) ? kd_bert_folder_read(out, path, frozen)
                                   : kd_bert_gguf_read(out, path, frozen);
}

const kd_number_format *kd_bert_format_of(const kd_param *param, const kd_number_format *matrices) {
    return param->tensor.rank == 1 ? &kd_format_f32 : matrices;
}

int kd_bert_file_need_tokenizer(const kd_bert_file *file, const char *path) {
    return kd_text_model_need_tokenizer(file->tokenizer, file->model->spec.vocabulary, path);
}
