#include "files/llama_file.h"

#include <stdlib.h>

#include "base/error.h"
#include "files/folder_weights.h"
#include "files/llama_config.h"
#include "files/llama_names.h"
#include "files/roles.h"
#include "files/text_model.h"

void kd_llama_file_free(kd_llama_file *file) {
    if (!file) return;
    kd_llama_free(file->model);
    kd_text_tokenizer_free(file->own_tokenizer);
    free(file->kept);
    kd_file_map_close(&file->map);
    kd_folder_weights_close(file->folder);
    free(file);
}

bool kd_llama_file_is(const char *path) {
    return kd_text_model_is(path, kd_llama_config_is, kd_gguf_is_llama);
}

int kd_llama_file_open(kd_llama_file **out, const char *path, kd_llama_training training) {
    return kd_file_is_folder(path) ? kd_llama_folder_read(out, path, training)
                                   : kd_llama_gguf_read(out, path, training);
}

const kd_number_format *kd_llama_format_of(const kd_param *param,
                                           const kd_number_format *matrices) {
    const kd_role role = kd_param_role(param);
    if (param->tensor.rank == 1) return &kd_format_f32;
    return matrices->largest > 0 && (role == KD_ROLE_EMBEDDING || role == KD_ROLE_OUTPUT)
               ? &kd_format_q8_0
               : matrices;
}

int kd_llama_file_need_tokenizer(const kd_llama_file *file, const char *path) {
    return kd_text_model_need_tokenizer(file->tokenizer, file->model->spec.vocabulary, path);
}

int kd_llama_file_load(kd_llama_file *file, const kd_stored *list, kd_llama_training training,
                       const char *source) {
    kd_params *params = file->model->params;
    int status = training == KD_LLAMA_ONLY_READ ? kd_stored_keep(&file->kept, params, list) : KD_OK;
    if (status == KD_OK) status = kd_llama_layout_blank(file->model);
    return status == KD_OK ? kd_stored_load(params, list, source) : status;
}
