/* config.json and preprocessor_config.json of a Hugging Face folder: the sizes, and that all else
 * is as in every Whisper model. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "files/folder_config.h"
#include "files/whisper_folder.h"

static int need_number(const kd_json *json, const cJSON *object, const char *key, double wanted) {
    const cJSON *item = kd_json_get(object, key);
    char text[64];
    if (!item || cJSON_IsNull(item) || (cJSON_IsNumber(item) && item->valuedouble == wanted))
        return KD_OK;
    snprintf(text, sizeof text, "%.15g, as the model hears", wanted);
    return kd_folder_refuse(json, item, key, text);
}

/* What a Whisper model could have otherwise, but none does. */
static int check_kind(const kd_json *json, const char *path) {
    const cJSON *type = kd_json_get(kd_json_root(json), "model_type");
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "whisper") != 0)
        return kd_fail(KD_EDATA, "%s: \"model_type\" is not \"whisper\"", path);
    int status = kd_folder_need_text(json, "activation_function", "gelu");
    if (status == KD_OK) status = kd_folder_need_bool(json, "scale_embedding", false);
    return status == KD_OK ? kd_folder_need_bool(json, "is_encoder_decoder", true) : status;
}

static int read_tied(bool *tied, const kd_json *json) {
    const cJSON *item = kd_json_get(kd_json_root(json), "tie_word_embeddings");
    *tied = !cJSON_IsFalse(item);
    if (item && !cJSON_IsBool(item))
        return kd_folder_refuse(json, item, "tie_word_embeddings", "true or false");
    return KD_OK;
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
        status = kd_folder_json(&json, path, folder, name[i]);
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
    int status = kd_folder_check_adapter(folder);
    if (status < 0) return status;
    status = kd_folder_json(&json, path, folder, "config.json");
    if (status == KD_OK) status = check_kind(json, path);
    if (status == KD_OK) status = read_tied(tied, json);
    for (size_t i = 0; i < sizeof size / sizeof *size && status == KD_OK; i++)
        status = kd_folder_size(size[i].to, json, path, size[i].key);
    if (status == KD_OK) status = kd_whisper_spec_check(spec, path);
    if (status == KD_OK && (audio_hidden != 4 * spec->width || text_hidden != 4 * spec->width))
        status = kd_fail(
            KD_EDATA, "%s: hidden layers of %d and %d units; Whisper's have 4 times the width, %d",
            path, audio_hidden, text_hidden, 4 * spec->width);
    kd_json_free(json);
    return status == KD_OK ? check_preprocessor(spec, folder) : status;
}
