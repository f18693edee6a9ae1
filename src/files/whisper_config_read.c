/* config.json and preprocessor_config.json of a Hugging Face folder: the sizes, and that all else
 * is as in every Whisper model. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "files/whisper_folder.h"

static const size_t CONFIG_LIMIT = (size_t)16 << 20;

int kd_whisper_folder_json(kd_json **out, char path[KD_PATH_MAX], const char *folder,
                           const char *name) {
    *out = NULL;
    int status = kd_path_join(path, folder, name);
    if (status == KD_OK) status = kd_json_read(out, path, CONFIG_LIMIT);
    if (status == KD_OK && !cJSON_IsObject(kd_json_root(*out)))
        status = kd_fail(KD_EDATA, "%s: should be an object", path);
    return status;
}

static int refuse(const kd_json *json, const cJSON *item, const char *key, const char *wanted) {
    char place[KD_PATH_MAX + 64];
    return kd_fail(KD_EDATA, "%s: \"%s\" should be %s",
                   kd_json_place(place, sizeof place, json, item, false), key, wanted);
}

static int read_size(int *out, const kd_json *json, const char *path, const char *key) {
    const cJSON *item = kd_json_get(kd_json_root(json), key);
    if (!item) return kd_fail(KD_EDATA, "%s: \"%s\" is missing", path, key);
    if (!kd_json_is_integer(item) || item->valuedouble < 1 || item->valuedouble > INT32_MAX)
        return refuse(json, item, key, "a whole number of 1 or more");
    *out = (int)item->valuedouble;
    return KD_OK;
}

/* A key that may be missing or null but must not be otherwise. */
static int need_bool(const kd_json *json, const char *key, bool wanted) {
    const cJSON *item = kd_json_get(kd_json_root(json), key);
    if (!item || cJSON_IsNull(item) || (wanted ? cJSON_IsTrue(item) : cJSON_IsFalse(item)))
        return KD_OK;
    return refuse(json, item, key, wanted ? "true" : "false");
}

static int need_number(const kd_json *json, const cJSON *object, const char *key, double wanted) {
    const cJSON *item = kd_json_get(object, key);
    char text[64];
    if (!item || cJSON_IsNull(item) || (cJSON_IsNumber(item) && item->valuedouble == wanted))
        return KD_OK;
    snprintf(text, sizeof text, "%.15g, as the model hears", wanted);
    return refuse(json, item, key, text);
}

/* What a Whisper model could have otherwise, but none does. */
static int check_kind(const kd_json *json, const char *path) {
    const cJSON *root = kd_json_root(json);
    const cJSON *type = kd_json_get(root, "model_type");
    const cJSON *activation = kd_json_get(root, "activation_function");
    const cJSON *quantized = kd_json_get(root, "quantization_config");
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "whisper") != 0)
        return kd_fail(KD_EDATA, "%s: \"model_type\" is not \"whisper\"", path);
    if (activation && (!cJSON_IsString(activation) || strcmp(activation->valuestring, "gelu") != 0))
        return refuse(json, activation, "activation_function", "\"gelu\"");
    if (quantized && !cJSON_IsNull(quantized))
        return refuse(json, quantized, "quantization_config",
                      "missing: weights packed by another program cannot be read; save them as "
                      "float32, float16 or bfloat16");
    int status = need_bool(json, "scale_embedding", false);
    return status == KD_OK ? need_bool(json, "is_encoder_decoder", true) : status;
}

static int read_tied(bool *tied, const kd_json *json) {
    const cJSON *item = kd_json_get(kd_json_root(json), "tie_word_embeddings");
    *tied = !cJSON_IsFalse(item);
    if (item && !cJSON_IsBool(item))
        return refuse(json, item, "tie_word_embeddings", "true or false");
    return KD_OK;
}

/* An adapter beside the weights changes what they say. */
static int check_adapter(const char *folder) {
    char path[KD_PATH_MAX];
    int status = kd_path_join(path, folder, "adapter_config.json");
    if (status < 0 || !kd_file_exists(path)) return status;
    return kd_fail(KD_EDATA,
                   "%s: an adapter is not read; merge it into the weights (in peft: "
                   "merge_and_unload) and save them",
                   path);
}

/* --- the features ----------------------------------------------------------------------------- */

static int check_features(const kd_json *json, const cJSON *o, const kd_whisper_spec *spec) {
    const struct {
        const char *key;
        double value;
    } want[] = {{"feature_size", spec->mels}, {"sampling_rate", 16000},
                {"hop_length", 160},          {"n_fft", 400},
                {"padding_value", 0},         {"dither", 0}};
    int status = KD_OK;
    for (size_t i = 0; i < sizeof want / sizeof *want && status == KD_OK; i++)
        status = need_number(json, o, want[i].key, want[i].value);
    if (status == KD_OK && spec->audio_context % 50 == 0)
        status = need_number(json, o, "chunk_length", spec->audio_context / 50);
    return status;
}

/* preprocessor_config.json, or what processor_config.json has of it. */
static int check_preprocessor(const kd_whisper_spec *spec, const char *folder) {
    static const char *const name[] = {"preprocessor_config.json", "processor_config.json"};
    int status = KD_OK;
    for (int i = 0; i < 2 && status == KD_OK; i++) {
        char path[KD_PATH_MAX];
        kd_json *json = NULL;
        status = kd_path_join(path, folder, name[i]);
        if (status < 0 || !kd_file_exists(path)) continue;
        status = kd_whisper_folder_json(&json, path, folder, name[i]);
        const cJSON *o = status == KD_OK ? kd_json_root(json) : NULL;
        if (i == 1) o = kd_json_get(o, "feature_extractor");
        if (o) status = check_features(json, o, spec);
        kd_json_free(json);
    }
    return status;
}

int kd_whisper_config_read(kd_whisper_spec *spec, bool *tied, const char *folder) {
    char path[KD_PATH_MAX];
    kd_json *json;
    int audio_hidden = 0, text_hidden = 0;
    const struct {
        const char *key;
        int *to;
    } size[] = {
        {"num_mel_bins", &spec->mels},           {"d_model", &spec->width},
        {"vocab_size", &spec->vocabulary},       {"max_source_positions", &spec->audio_context},
        {"encoder_layers", &spec->audio_layers}, {"encoder_attention_heads", &spec->audio_heads},
        {"encoder_ffn_dim", &audio_hidden},      {"max_target_positions", &spec->text_context},
        {"decoder_layers", &spec->text_layers},  {"decoder_attention_heads", &spec->text_heads},
        {"decoder_ffn_dim", &text_hidden}};
    int status = check_adapter(folder);
    if (status < 0) return status;
    status = kd_whisper_folder_json(&json, path, folder, "config.json");
    if (status == KD_OK) status = check_kind(json, path);
    if (status == KD_OK) status = read_tied(tied, json);
    for (size_t i = 0; i < sizeof size / sizeof *size && status == KD_OK; i++)
        status = read_size(size[i].to, json, path, size[i].key);
    if (status == KD_OK) status = kd_whisper_spec_check(spec, path);
    if (status == KD_OK && (audio_hidden != 4 * spec->width || text_hidden != 4 * spec->width))
        status = kd_fail(
            KD_EDATA, "%s: hidden layers of %d and %d units; Whisper's have 4 times the width, %d",
            path, audio_hidden, text_hidden, 4 * spec->width);
    kd_json_free(json);
    return status == KD_OK ? check_preprocessor(spec, folder) : status;
}
