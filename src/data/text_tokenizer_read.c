/* A tokenizer from a folder of Hugging Face's. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "data/text_tokenizer_json.h"

static const size_t FILE_LIMIT = (size_t)64 << 20;

/* The JSON file of a folder; *out is NULL when it is not there. */
static int read_json(kd_json **out, char path[KD_PATH_MAX], const char *folder, const char *name) {
    *out = NULL;
    const int status = kd_path_join(path, folder, name);
    if (status < 0 || !kd_file_exists(path)) return status;
    return kd_json_read(out, path, FILE_LIMIT);
}

/* --- which tokens begin, end, pad … ----------------------------------------------------------- */

/* A token is its text, or an object with its content. */
static int read_special(int32_t *id, const kd_text_tokenizer *t, const kd_json *json,
                        const char *key) {
    const cJSON *item = kd_json_get(kd_json_root(json), key);
    const cJSON *text = cJSON_IsObject(item) ? kd_json_get(item, "content") : item;
    if (!item || cJSON_IsNull(item)) return KD_OK;
    if (!cJSON_IsString(text)) return kd_text_json_fail(json, item, "a token");
    const int32_t found = kd_text_tokenizer_find(t, text->valuestring);
    if (found < 0) return kd_text_json_fail(json, text, "a token of the vocabulary");
    *id = found;
    return KD_OK;
}

static int read_specials(kd_text_tokenizer *t, const kd_json *json) {
    const struct {
        const char *key;
        int32_t *id;
    } special[] = {{"bos_token", &t->ids.bos},     {"eos_token", &t->ids.eos},
                   {"unk_token", &t->ids.unknown}, {"pad_token", &t->ids.padding},
                   {"mask_token", &t->ids.mask},   {"sep_token", &t->ids.separator},
                   {"cls_token", &t->ids.classify}};
    int status = KD_OK;
    for (size_t i = 0; i < sizeof special / sizeof *special && status == KD_OK; i++) {
        /* Byte-level vocabularies have no unknown text, whatever the file says. */
        if (t->letters && special[i].id == &t->ids.unknown) continue;
        status = read_special(special[i].id, t, json, special[i].key);
    }
    return status;
}

/* The template is a text, or the one called "default" of several. */
static int read_template(kd_text_tokenizer *t, const kd_json *json) {
    const cJSON *item = kd_json_get(kd_json_root(json), "chat_template");
    const cJSON *text = cJSON_IsString(item) ? item : NULL;
    for (const cJSON *one = cJSON_IsArray(item) ? item->child : NULL; one; one = one->next)
        if (kd_text_json_is(kd_json_get(one, "name"), "default"))
            text = kd_json_get(one, "template");
    if (!cJSON_IsString(text)) return KD_OK;
    free(t->chat_template);
    t->chat_template = strdup(text->valuestring);
    return t->chat_template ? KD_OK : kd_fail_memory(strlen(text->valuestring), "a chat template");
}

/* An id of the model's config; of several ends the first. −1: none. */
static int32_t id_of(const kd_json *json, const char *key) {
    const cJSON *item = kd_json_get(kd_json_root(json), key);
    if (cJSON_IsArray(item)) item = item->child;
    if (!item || !kd_json_is_integer(item) || item->valuedouble < 0) return -1;
    return item->valuedouble < INT32_MAX ? (int32_t)item->valuedouble : INT32_MAX;
}

/* What the model's config says counts where the tokenizer's own files say nothing. */
static int read_model_ends(kd_text_tokenizer *t, const char *folder) {
    kd_json *json;
    char path[KD_PATH_MAX];
    const kd_text_token_ids own = t->ids;
    int status = read_json(&json, path, folder, "config.json");
    if (status < 0 || !json) return status;
    status =
        kd_text_tokenizer_set_ends(t, id_of(json, "bos_token_id"), id_of(json, "eos_token_id"));
    if (status < 0) kd_fail_in(status, "%s", path);
    if (status == KD_OK) status = kd_text_tokenizer_set_ends(t, own.bos, own.eos);
    kd_json_free(json);
    return status;
}

static int read_beside(kd_text_tokenizer *t, const char *folder) {
    static const char *const file[] = {"special_tokens_map.json", "tokenizer_config.json"};
    char path[KD_PATH_MAX];
    int status = KD_OK;
    for (int i = 0; i < 2 && status == KD_OK; i++) {
        kd_json *json;
        status = read_json(&json, path, folder, file[i]);
        if (status < 0 || !json) continue;
        status = read_specials(t, json);
        if (status == KD_OK) status = read_template(t, json);
        kd_json_free(json);
    }
    if (status == KD_OK) status = kd_path_join(path, folder, "chat_template.jinja");
    if (status == KD_OK && kd_file_exists(path)) {
        size_t length;
        free(t->chat_template);
        t->chat_template = NULL;
        status = kd_file_read(&t->chat_template, &length, path, FILE_LIMIT);
    }
    return status == KD_OK ? read_model_ends(t, folder) : status;
}

/* --- the tokens ------------------------------------------------------------------------------- */

typedef enum { JSON, SENTENCEPIECE, OLDER } file_kind;

static int read_file(kd_text_tokenizer **out, const char *folder, const char *path,
                     file_kind kind) {
    char *bytes;
    size_t length;
    if (kind == OLDER) return kd_text_tokenizer_read_older(out, folder, path);
    int status = kd_file_read(&bytes, &length, path, FILE_LIMIT);
    if (status < 0) return status;
    status = kind == JSON ? kd_text_tokenizer_parse_json(out, bytes, length, path)
                          : kd_text_tokenizer_parse_model(out, bytes, length, path);
    free(bytes);
    return status;
}

int kd_text_tokenizer_read(kd_text_tokenizer **out, const char *folder) {
    static const struct {
        const char *name;
        file_kind kind;
    } known[] = {{"tokenizer.json", JSON},
                 {"tokenizer.model", SENTENCEPIECE},
                 {"vocab.json", OLDER},
                 {"vocab.txt", OLDER}};
    char path[KD_PATH_MAX];
    *out = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        int status = kd_path_join(path, folder, known[i].name);
        if (status < 0) return status;
        if (!kd_file_exists(path)) continue;
        status = read_file(out, folder, path, known[i].kind);
        if (status == KD_OK) status = read_beside(*out, folder);
        if (status == KD_OK) return KD_OK;
        kd_text_tokenizer_free(*out);
        *out = NULL;
        return status;
    }
    return kd_fail(KD_ENOINPUT,
                   "%s: no tokenizer: neither tokenizer.json nor tokenizer.model, vocab.json or "
                   "vocab.txt is there",
                   folder);
}
