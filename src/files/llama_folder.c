/* Decoders as Hugging Face folders. */
#include <stdlib.h>

#include "base/error.h"
#include "files/folder_weights.h"
#include "files/llama_config.h"
#include "files/llama_names.h"

/* A folder may be without, as a model under construction is. */
static int read_tokenizer(kd_llama_file *file, const char *folder) {
    const kd_llama_ends *ends = &file->ends;
    int status = kd_text_tokenizer_read(&file->own_tokenizer, folder);
    if (status == KD_ENOINPUT) return KD_OK;
    if (status == KD_OK)
        status = kd_text_tokenizer_set_ends(file->own_tokenizer, ends->bos,
                                            ends->stop_count > 0 ? ends->stop[0] : -1);
    file->tokenizer = file->own_tokenizer;
    return status == KD_OK ? kd_llama_file_need_tokenizer(file, folder) : status;
}

static int read_weights(kd_llama_file *file, const char *folder, kd_llama_training training) {
    const kd_llama *model = file->model;
    const kd_params *params = model->params;
    const kd_repeated output = {"lm_head.weight", model->output,
                                "the token embedding; config.json says that the output matrix is",
                                NULL};
    kd_folder_weights *shards = NULL;
    kd_packing packing;
    int status = kd_packing_read(&packing, folder);
    if (status == KD_OK) status = kd_folder_weights_open(&shards, folder);
    kd_stored *list = calloc((size_t)params->count, sizeof *list);
    if (!list && status == KD_OK)
        status = kd_fail_memory((size_t)params->count * sizeof *list, folder);
    if (status == KD_OK)
        status = kd_folder_weights_list(list, shards, params, &kd_llama_hugging,
                                        model->spec.tied ? &output : NULL, &packing);
    if (status == KD_OK) status = kd_llama_file_load(file, list, training, folder);
    free(list);
    if (training == KD_LLAMA_ONLY_READ)
        file->folder = shards;
    else
        kd_folder_weights_close(shards);
    return status;
}

int kd_llama_folder_read(kd_llama_file **out, const char *folder, kd_llama_training training) {
    kd_llama_spec spec;
    *out = NULL;
    kd_llama_file *file = calloc(1, sizeof *file);
    if (!file) return kd_fail_memory(sizeof *file, folder);
    int status = kd_llama_config_read(&spec, &file->ends, folder);
    if (status == KD_OK) status = kd_llama_create(&file->model, &spec, training);
    if (status == KD_OK) status = read_tokenizer(file, folder);
    if (status == KD_OK) status = read_weights(file, folder, training);
    if (status < 0) {
        kd_llama_file_free(file);
        return status;
    }
    *out = file;
    return KD_OK;
}

/* All but the weights. */
static int write_texts(const char *folder, const kd_llama_file *file, const char *packed,
                       const char *dtype) {
    kd_text config = {0}, generation = {0};
    int status = kd_llama_config_text(&config, &file->model->spec, &file->ends, packed, dtype);
    if (status == KD_OK) status = kd_file_make_folders(folder);
    if (status == KD_OK) status = kd_text_save(&config, folder, "config.json");
    if (status < 0) return status;
    kd_llama_generation_text(&generation, &file->ends);
    status = kd_text_save(&generation, folder, "generation_config.json");
    return status == KD_OK && file->tokenizer ? kd_text_tokenizer_write(file->tokenizer, folder)
                                              : status;
}

int kd_llama_folder_write(const char *folder, const kd_llama_file *file,
                          const kd_number_format *format) {
    if (format == &kd_format_f8_e5m2)
        return kd_llama_folder_write_packed(folder, file, &(kd_packing){.format = format});
    if (format != &kd_format_f32 && format != &kd_format_f16)
        return kd_fail(KD_EUSAGE,
                       "%s: a Hugging Face folder without a layout is written in f32, f16 or "
                       "f8_e5m2, not %s",
                       folder, format->name);
    const int status =
        write_texts(folder, file, "", format == &kd_format_f16 ? "float16" : "float32");
    return status == KD_OK
               ? kd_folder_weights_write(folder, file->model->params, &kd_llama_hugging, format)
               : status;
}

int kd_llama_folder_write_packed(const char *folder, const kd_llama_file *file,
                                 const kd_packing *packing) {
    const kd_packed_folder out = {.path = folder,
                                  .params = file->model->params,
                                  .names = &kd_llama_hugging,
                                  .repeated = file->model->spec.tied ? "lm_head" : NULL,
                                  .packing = packing};
    kd_encoding *own = NULL;
    const kd_encoding *how = file->encoding;
    kd_text config = {0};
    int status = kd_packed_folder_begin(&own, &how, &config, &out);
    if (status == KD_OK) status = write_texts(folder, file, config.text, "float16");
    if (status == KD_OK) status = kd_packed_folder_end(&out, how);
    free(config.text);
    free(own);
    return status;
}
