/* Whisper as a Hugging Face folder. */
#include <stdlib.h>

#include "base/error.h"
#include "files/folder_weights.h"
#include "files/whisper_folder.h"
#include "files/whisper_names.h"

/* The tensor that the model has none for, since it is the token embedding once more. */
static const char OUTPUT_MATRIX[] = "proj_out.weight";

static int read_weights(kd_whisper_file *file, const char *folder, bool tied,
                        kd_whisper_training training) {
    const kd_params *params = file->model->params;
    const kd_repeated output = {OUTPUT_MATRIX, file->model->tokens.table,
                                "the token embedding; Whisper's output matrix is", NULL};
    kd_folder_weights *shards = NULL;
    kd_packing packing;
    int status = kd_packing_read(&packing, folder);
    if (status == KD_OK) status = kd_folder_weights_open(&shards, folder);
    if (status == KD_OK && !tied && !kd_folder_weights_have(shards, OUTPUT_MATRIX))
        status =
            kd_fail(KD_EDATA,
                    "%s/config.json: \"tie_word_embeddings\" is not true, and there is no tensor "
                    "%s",
                    folder, OUTPUT_MATRIX);
    kd_stored *list = calloc((size_t)params->count, sizeof *list);
    if (!list && status == KD_OK)
        status = kd_fail_memory((size_t)params->count * sizeof *list, folder);
    if (status == KD_OK)
        status =
            kd_folder_weights_list(list, shards, params, &kd_whisper_hugging, &output, &packing);
    if (status == KD_OK) status = kd_whisper_file_load(file, list, training, folder);
    free(list);
    if (training == KD_WHISPER_ONLY_READ)
        file->folder = shards;
    else
        kd_folder_weights_close(shards);
    return status;
}

int kd_whisper_folder_read(kd_whisper_file **out, const char *folder,
                           kd_whisper_training training) {
    kd_whisper_spec spec = {0};
    *out = NULL;
    kd_whisper_file *file = calloc(1, sizeof *file);
    if (!file) return kd_fail_memory(sizeof *file, folder);
    bool tied;
    int status = kd_whisper_config_read(&spec, &tied, folder);
    if (status == KD_OK) status = kd_whisper_add_filters(file, spec.mels);
    if (status == KD_OK)
        status = kd_tokenizer_read_folder(&file->tokenizer, folder, spec.vocabulary);
    if (status == KD_OK) status = kd_whisper_create(&file->model, &spec, training);
    if (status == KD_OK) status = kd_whisper_generation_read(file, folder);
    if (status == KD_OK) status = read_weights(file, folder, tied, training);
    if (status < 0) {
        kd_whisper_file_free(file);
        return status;
    }
    *out = file;
    return KD_OK;
}
