#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cli/cli.h"
#include "cli/file_kind.h"
#include "data/h5.h"
#include "data/store.h"
#include "distill/checkpoint.h"
#include "files/bert_file.h"
#include "files/gguf.h"
#include "files/llama_file.h"
#include "files/safetensors.h"
#include "files/weights_gguf.h"
#include "files/whisper_file.h"
#include "layers/weights.h"
#include "quant/blob.h"
#include "tasks/registry.h"

static const kd_usage USAGE = {
    .command = "verify",
    .positional = "FILE…",
    .least = 1,
    .most = -1,
    .summary =
        "Checks files: seals and checksums of checkpoints, teacher stores and exported models, "
        "the\n"
        "structure of a GGUF, safetensors or whisper.cpp file or a Whisper or language model's\n"
        "folder from elsewhere,\n"
        "every key of a config; that weights are finite and variances not negative. One line for\n"
        "each that is whole; the others are named, and the exit code tells.",
    .example = "distill verify runs/fashion_mnist/*.h5 runs/fashion_mnist/*.gguf"};

/* Registers a parameter for each dataset below params/, so that the values can be read. */
static int list_parameters(kd_params *params, hid_t file) {
    int64_t count;
    int status = kd_h5_count(file, "params", &count);
    for (int64_t i = 0; i < count && status == KD_OK; i++) {
        char name[KD_NAME_MAX], set[KD_NAME_MAX + 8];
        int rank;
        int64_t shape[KD_H5_RANK_MAX];
        status = kd_h5_child(file, "params", i, name, sizeof name);
        if (status < 0) break;
        snprintf(set, sizeof set, "params/%s", name);
        status = kd_h5_shape(file, set, &rank, shape);
        if (status == KD_OK && (rank < 1 || rank > KD_MAX_RANK))
            status = kd_fail(KD_EDATA, "%s has %d axes", set, rank);
        if (status == KD_OK &&
            !kd_params_add(params, name, rank, shape, KD_INIT_ZERO, 1, 1, KD_PARAM_STATE))
            status = KD_EINTERNAL;
    }
    return status;
}

static int verify_checkpoint(const char **what, const char *path) {
    *what = "checkpoint, its seal is right, every weight finite";
    hid_t file;
    kd_params *params = NULL;
    int status = kd_h5_open(&file, path);
    if (status < 0) return status;
    status = kd_params_create(&params);
    if (status == KD_OK) status = list_parameters(params, file);
    kd_h5_close(file);
    if (status == KD_OK) status = kd_params_layout(params, 0);
    if (status == KD_OK) status = kd_checkpoint_load_params(path, params, NULL);
    kd_params_free(params);
    return status;
}

static int verify_store(const char **what, const char *path) {
    *what = "teacher store, the seal and checksums of every shard are right";
    kd_store *store;
    int status = kd_store_open(&store, path);
    if (status == KD_OK) kd_store_free(store);
    return status;
}

static int verify_whisper(const char **what, const char *path) {
    *what = "Whisper, its structure is sound and every weight finite (the format has no checksum)";
    kd_whisper_file *file;
    int status = kd_whisper_file_open(&file, path, KD_WHISPER_TRAIN_NOTHING);
    if (status == KD_OK) kd_whisper_file_free(file);
    return status;
}

static int verify_llama(const char **what, const char *path) {
    *what = "language model, its structure is sound and every weight finite (the format has no "
            "checksum)";
    kd_llama_file *file;
    int status = kd_llama_file_open(&file, path, KD_LLAMA_ONLY_READ);
    if (status == KD_OK) kd_llama_file_free(file);
    return status;
}

static int verify_bert(const char **what, const char *path) {
    *what = "encoder, its structure is sound and every weight finite (the format has no checksum)";
    kd_bert_file *file;
    int status = kd_bert_file_open(&file, path, true);
    if (status == KD_OK) kd_bert_file_free(file);
    return status;
}

static int run_blob(const char *path) {
    kd_blob *blob;
    int status = kd_blob_open(&blob, path);
    if (status == KD_OK) kd_blob_free(blob);
    return status;
}

/* What can be run must also pass everything its runner checks. */
static int verify_gguf(const char **what, const char *path) {
    kd_gguf *gguf;
    int status = kd_gguf_open(&gguf, path);
    const bool ours = status == KD_OK && kd_gguf_checksum_place(gguf) != NULL;
    const bool model = ours && kd_gguf_find_key(gguf, "distill.graph") != NULL;
    const bool weights = ours && kd_gguf_is_weights(gguf);
    const bool whisper = status == KD_OK && kd_gguf_is_whisper(gguf);
    const bool llama = status == KD_OK && kd_gguf_is_llama(gguf);
    const bool bert = status == KD_OK && kd_gguf_is_bert(gguf);
    if (ours) status = kd_gguf_verify(gguf, path);
    kd_gguf_free(gguf);
    if (status == KD_OK && model) status = run_blob(path);
    if (status == KD_OK && whisper) status = verify_whisper(what, path);
    if (status == KD_OK && llama) status = verify_llama(what, path);
    if (status == KD_OK && bert) status = verify_bert(what, path);
    *what = weights           ? "rounded weights, its checksum is right"
            : model           ? "exported model, its checksum is right and it can be run"
            : whisper && ours ? "Whisper, its checksum is right and every weight finite"
            : llama && ours   ? "language model, its checksum is right and every weight finite"
            : bert && ours    ? "encoder, its checksum is right and every weight finite"
            : whisper || llama || bert ? *what
            : ours                     ? "GGUF, its checksum is right"
                   : "GGUF from elsewhere, its structure is sound (it has no checksum)";
    return status;
}

/* Weights that are not finite, or negative variances, are damage that no structure shows. */
static int check_entry(const kd_safetensors *file, const kd_safetensors_entry *entry,
                       const char *path) {
    const bool variance = kd_names_variance(entry->name);
    if (!strchr("FB", entry->dtype[0])) return KD_OK; /* whole numbers are finite */
    float *values = malloc(kd_array_bytes(entry->count, sizeof *values) + 1);
    if (!values) return kd_fail_memory((size_t)entry->count * sizeof *values, path);
    int status = kd_safetensors_read(file, entry, values);
    const int64_t bad = status == KD_OK ? kd_find_bad_number(values, entry->count, variance) : -1;
    if (bad >= 0)
        status = kd_fail(KD_EDATA, "%s: tensor %s: number %lld is %g", path, entry->name,
                         (long long)bad, (double)values[bad]);
    free(values);
    return status;
}

static int verify_safetensors(const char **what, const char *path) {
    *what = "safetensors, its structure is sound and every weight finite (the format has no "
            "checksum)";
    kd_safetensors *file;
    int status = kd_safetensors_open(&file, path);
    if (status < 0) return status;
    for (int64_t i = 0; i < kd_safetensors_count(file) && status == KD_OK; i++)
        status = check_entry(file, kd_safetensors_at(file, i), path);
    kd_safetensors_close(file);
    return status;
}

static int verify_config(const char **what, const char *path) {
    *what = "config, every key is right";
    const kd_task *task;
    void *config = NULL;
    int status = kd_task_of_config(&task, path);
    if (status == KD_OK) status = task->load(&config, path, 0, NULL);
    if (config) task->free_config(config);
    return status;
}

static int verify(void *context, char *path) {
    (void)context;
    static int (*const of_kind[])(const char **,
                                  const char *) = {[KD_FILE_CONFIG] = verify_config,
                                                   [KD_FILE_CHECKPOINT] = verify_checkpoint,
                                                   [KD_FILE_STORE] = verify_store,
                                                   [KD_FILE_GGUF] = verify_gguf,
                                                   [KD_FILE_SAFETENSORS] = verify_safetensors,
                                                   [KD_FILE_WHISPER_BIN] = verify_whisper,
                                                   [KD_FILE_WHISPER_FOLDER] = verify_whisper,
                                                   [KD_FILE_LLAMA_FOLDER] = verify_llama,
                                                   [KD_FILE_BERT_FOLDER] = verify_bert};
    const char *what = "";
    kd_file_kind kind;
    int status = kd_file_kind_of(&kind, path);
    if (status == KD_OK) status = of_kind[kind](&what, path);
    if (status == KD_OK) printf("%s: %s\n", path, what);
    return status;
}

int kd_cmd_verify(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    return status == KD_OK ? kd_arguments_each(&arguments, 0, verify, NULL) : status;
}
