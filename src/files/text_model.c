#include "files/text_model.h"

#include "base/error.h"
#include "base/file.h"
#include "files/folder_config.h"

static bool folder_is(const char *folder, bool (*is)(const kd_json *config)) {
    char path[KD_PATH_MAX];
    kd_json *json;
    const int status = kd_folder_json(&json, path, folder, "config.json");
    const bool found = status == KD_OK && is(json);
    kd_json_free(json);
    return found;
}

static bool gguf_file_is(const char *path, bool (*is)(const kd_gguf *gguf)) {
    kd_file_map map;
    kd_gguf *gguf = NULL;
    if (kd_file_map_open(&map, path) < 0) return false;
    const bool found = kd_gguf_parse(&gguf, map.bytes, map.length, path) == KD_OK && is(gguf);
    kd_gguf_free(gguf);
    kd_file_map_close(&map);
    return found;
}

bool kd_text_model_is(const char *path, bool (*config_is)(const kd_json *config),
                      bool (*gguf_is)(const kd_gguf *gguf)) {
    return kd_file_is_folder(path) ? folder_is(path, config_is) : gguf_file_is(path, gguf_is);
}

int kd_text_model_need_tokenizer(const kd_text_tokenizer *tokenizer, int vocabulary,
                                 const char *path) {
    if (!tokenizer) return kd_fail(KD_EDATA, "%s: has no tokenizer", path);
    const int32_t tokens = kd_text_tokenizer_ids(tokenizer)->vocabulary;
    if (tokens <= vocabulary) return KD_OK;
    return kd_fail(KD_EDATA,
                   "%s: its tokenizer has %d tokens, its embedding %d: they are of two models",
                   path, (int)tokens, vocabulary);
}
