#include "cli/file_kind.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "data/h5.h"
#include "files/bert_file.h"
#include "files/llama_file.h"

/* A checkpoint or a store: what the file says it is. */
static int kind_of_hdf5(kd_file_kind *out, const char *path) {
    hid_t file;
    int status = kd_h5_open(&file, path);
    if (status < 0) return status;
    char schema[64];
    status = kd_h5_get_string(file, "schema", schema, sizeof schema);
    kd_h5_close(file);
    if (status < 0) return kd_fail_in(status, "%s: HDF5, but not one of ours", path);
    if (strcmp(schema, "distill-checkpoint") == 0)
        *out = KD_FILE_CHECKPOINT;
    else if (strcmp(schema, "distill-teacher-store") == 0)
        *out = KD_FILE_STORE;
    else
        return kd_fail(KD_EDATA, "%s: HDF5 of schema '%s', which this program does not know", path,
                       schema);
    return KD_OK;
}

static bool holds(const char *folder, const char *name) {
    char path[KD_PATH_MAX];
    return kd_path_join(path, folder, name) == KD_OK && kd_file_exists(path);
}

static int kind_of_folder(kd_file_kind *out, const char *path) {
    if (holds(path, "shard-00000.h5"))
        *out = KD_FILE_STORE;
    else if (kd_llama_file_is(path))
        *out = KD_FILE_LLAMA_FOLDER;
    else if (kd_bert_file_is(path))
        *out = KD_FILE_BERT_FOLDER;
    else if (holds(path, "config.json") &&
             (holds(path, "vocab.json") || holds(path, "tokenizer.json")))
        *out = KD_FILE_WHISPER_FOLDER;
    else
        return kd_fail(KD_EDATA,
                       "%s: a folder without shards of a teacher store, nor the config.json of a "
                       "language model, nor that and the tokenizer (vocab.json or tokenizer.json) "
                       "of a Whisper model",
                       path);
    return KD_OK;
}

static bool is_json(const unsigned char *start, size_t n) {
    const char *text = (const char *)start + kd_utf8_mark((const char *)start, n);
    return text[strspn(text, " \t\r\n")] == '{';
}

int kd_file_kind_of(kd_file_kind *out, const char *path) {
    struct stat info;
    if (stat(path, &info) < 0)
        return kd_fail(errno == ENOENT ? KD_ENOINPUT : KD_EIO, "%s: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode)) return kind_of_folder(out, path);
    unsigned char start[17] = {0}; /* and a 0 behind what is read */
    FILE *file = fopen(path, "rb");
    if (!file) return kd_fail(KD_EIO, "%s: cannot open: %s", path, strerror(errno));
    size_t n = fread(start, 1, sizeof start - 1, file);
    fclose(file);
    if (memcmp(start, "GGUF", 4) == 0)
        *out = KD_FILE_GGUF;
    else if (memcmp(start, "lmgg", 4) == 0)
        *out = KD_FILE_WHISPER_BIN;
    else if (memcmp(start, "\x89HDF\r\n\x1a\n", 8) == 0 ||
             memcmp(start, "distill-sealed-", 15) == 0)
        return kind_of_hdf5(out, path);
    else if (n > 8 && start[8] == '{' && start[7] == 0)
        *out = KD_FILE_SAFETENSORS;
    else if (kd_ends_with(path, ".onnx"))
        *out = KD_FILE_ONNX;
    else if (is_json(start, n))
        *out = KD_FILE_CONFIG;
    else
        return kd_fail(KD_EDATA,
                       "%s: is not a config, checkpoint, teacher store, GGUF, safetensors, "
                       "whisper.cpp or .onnx file",
                       path);
    return KD_OK;
}
