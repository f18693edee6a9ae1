/* Whisper as a Hugging Face folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "data/safetensors.h"
#include "quant/whisper_file.h"

static const size_t CONFIG_LIMIT = (size_t)16 << 20, INDEX_LIMIT = (size_t)64 << 20;
enum { SHARDS_MAX = 256, HEADS_MAX = 4096 };

/* --- config.json -------------------------------------------------------------------------------
 */

static int read_json(kd_json **out, char path[KD_PATH_MAX], const char *folder, const char *name,
                     size_t limit) {
    *out = NULL;
    int status = kd_path_join(path, folder, name);
    if (status == KD_OK) status = kd_json_read(out, path, limit);
    if (status == KD_OK && !cJSON_IsObject(kd_json_root(*out)))
        status = kd_fail(KD_EDATA, "%s: should be an object", path);
    return status;
}

static int read_size(int *out, const kd_json *json, const char *path, const char *key) {
    char place[KD_PATH_MAX + 64];
    const cJSON *item = kd_json_get(kd_json_root(json), key);
    if (!item) return kd_fail(KD_EDATA, "%s: \"%s\" is missing", path, key);
    if (!kd_json_is_integer(item) || item->valuedouble < 1 || item->valuedouble > INT32_MAX)
        return kd_fail(KD_EDATA, "%s: \"%s\" should be a whole number of 1 or more",
                       kd_json_place(place, sizeof place, json, item, false), key);
    *out = (int)item->valuedouble;
    return KD_OK;
}

/* What a Whisper model could have otherwise, but none does. */
static int check_kind(const kd_json *json, const char *path) {
    const cJSON *root = kd_json_root(json);
    const cJSON *type = kd_json_get(root, "model_type");
    const cJSON *activation = kd_json_get(root, "activation_function");
    const cJSON *scaled = kd_json_get(root, "scale_embedding");
    const cJSON *tied = kd_json_get(root, "tie_word_embeddings");
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "whisper") != 0)
        return kd_fail(KD_EDATA, "%s: \"model_type\" is not \"whisper\"", path);
    if (activation && (!cJSON_IsString(activation) || strcmp(activation->valuestring, "gelu") != 0))
        return kd_fail(KD_EDATA, "%s: \"activation_function\" is not \"gelu\"", path);
    if (scaled && !cJSON_IsFalse(scaled))
        return kd_fail(KD_EDATA, "%s: \"scale_embedding\" is not false", path);
    if (tied && !cJSON_IsTrue(tied))
        return kd_fail(KD_EDATA, "%s: \"tie_word_embeddings\" is not true", path);
    return KD_OK;
}

static int read_spec(kd_whisper_spec *spec, const char *folder) {
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
    int status = read_json(&json, path, folder, "config.json", CONFIG_LIMIT);
    if (status == KD_OK) status = check_kind(json, path);
    for (size_t i = 0; i < sizeof size / sizeof *size && status == KD_OK; i++)
        status = read_size(size[i].to, json, path, size[i].key);
    if (status == KD_OK) status = kd_whisper_spec_check(spec, path);
    if (status == KD_OK && (audio_hidden != 4 * spec->width || text_hidden != 4 * spec->width))
        status = kd_fail(
            KD_EDATA, "%s: hidden layers of %d and %d units; Whisper's have 4 times the width, %d",
            path, audio_hidden, text_hidden, 4 * spec->width);
    kd_json_free(json);
    return status;
}

/* generation_config.json may name the heads: "alignment_heads": [[layer, head], …]. */
static int read_heads(kd_whisper_file *file, const char *folder) {
    char path[KD_PATH_MAX];
    kd_json *json;
    int status = kd_path_join(path, folder, "generation_config.json");
    if (status < 0 || !kd_file_exists(path)) return status;
    status = read_json(&json, path, folder, "generation_config.json", CONFIG_LIMIT);
    const cJSON *list = status == KD_OK ? kd_json_get(kd_json_root(json), "alignment_heads") : NULL;
    const int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (count > HEADS_MAX) status = kd_fail(KD_EDATA, "%s: %d alignment heads", path, count);
    if (status == KD_OK && count > 0) {
        file->head = calloc((size_t)count, sizeof *file->head);
        if (!file->head) status = kd_fail_memory((size_t)count * sizeof *file->head, path);
    }
    for (const cJSON *pair = file->head ? list->child : NULL; pair && status == KD_OK;
         pair = pair->next) {
        const cJSON *layer = cJSON_IsArray(pair) ? pair->child : NULL;
        const cJSON *head = layer ? layer->next : NULL;
        if (!head || head->next || !kd_json_is_integer(layer) || !kd_json_is_integer(head) ||
            fabs(layer->valuedouble) > INT32_MAX || fabs(head->valuedouble) > INT32_MAX)
            status = kd_fail(KD_EDATA, "%s: \"alignment_heads\" should be a list of [layer, head]",
                             path);
        else
            file->head[file->head_count++] =
                (kd_whisper_head){(int)layer->valuedouble, (int)head->valuedouble};
    }
    kd_json_free(json);
    return status;
}

/* --- safetensors -------------------------------------------------------------------------------
 */

typedef struct {
    kd_safetensors *file[SHARDS_MAX];
    char *name[SHARDS_MAX]; /* within the folder */
    int count;
} shards;

static void close_shards(shards *s) {
    for (int i = 0; i < s->count; i++) {
        kd_safetensors_close(s->file[i]);
        free(s->name[i]);
    }
}

static int open_shard(shards *s, const char *folder, const char *name, const char *named_by) {
    char path[KD_PATH_MAX];
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->name[i], name) == 0) return KD_OK;
    if (s->count == SHARDS_MAX)
        return kd_fail(KD_EDATA, "%s: more than %d files", named_by, (int)SHARDS_MAX);
    if (strchr(name, '/') || name[0] == '.')
        return kd_fail(KD_EDATA, "%s: '%s' is not the name of a file beside it", named_by, name);
    int status = kd_path_join(path, folder, name);
    if (status == KD_OK) status = kd_safetensors_open(&s->file[s->count], path);
    if (status < 0) return status;
    s->name[s->count] = strdup(name);
    return s->name[s->count++] ? KD_OK : kd_fail_memory(strlen(name), name);
}

/* The one file, or all that the index names. */
static int open_shards(shards *s, const char *folder) {
    char path[KD_PATH_MAX];
    kd_json *json;
    int status = kd_path_join(path, folder, "model.safetensors");
    if (status < 0) return status;
    if (kd_file_exists(path)) return open_shard(s, folder, "model.safetensors", path);
    status = kd_path_join(path, folder, "model.safetensors.index.json");
    if (status < 0) return status;
    if (!kd_file_exists(path))
        return kd_fail(KD_ENOINPUT,
                       "%s: has neither model.safetensors nor "
                       "model.safetensors.index.json",
                       folder);
    status = read_json(&json, path, folder, "model.safetensors.index.json", INDEX_LIMIT);
    const cJSON *map = status == KD_OK ? kd_json_get(kd_json_root(json), "weight_map") : NULL;
    if (status == KD_OK && !cJSON_IsObject(map))
        status = kd_fail(KD_EDATA, "%s: has no \"weight_map\"", path);
    for (const cJSON *item = map ? map->child : NULL; item && status == KD_OK; item = item->next)
        status = cJSON_IsString(item)
                     ? open_shard(s, folder, item->valuestring, path)
                     : kd_fail(KD_EDATA, "%s: weight_map: should name files", path);
    kd_json_free(json);
    return status;
}

/* The tensor called `name`, "model." in front or not; *which is its file. */
static const kd_safetensors_entry *find(const shards *s, const char *name, int *which) {
    for (*which = 0; *which < s->count; ++*which)
        for (size_t skip = 0; skip <= strlen("model."); skip += strlen("model.")) {
            const kd_safetensors_entry *e = kd_safetensors_find(s->file[*which], name + skip);
            if (e) return e;
        }
    return NULL;
}

static bool shape_fits(const kd_param *p, const kd_safetensors_entry *e) {
    const int64_t *shape = p->tensor.shape;
    if (p->tensor.rank != e->rank) return false;
    if (e->rank == 3)
        return shape[0] == e->shape[0] && shape[1] == e->shape[2] && shape[2] == e->shape[1];
    return memcmp(shape, e->shape, (size_t)e->rank * sizeof *shape) == 0;
}

/* Every parameter has a tensor of its shape, and nothing is left over but the output matrix, which
 * is the token embedding once more. */
static int check_tensors(const shards *s, const kd_params *params, const char *folder) {
    char name[KD_WHISPER_NAME_MAX];
    int64_t have = 0;
    int which;
    for (int i = 0; i < params->count; i++) {
        kd_whisper_foreign_name(name, params->list[i]->name);
        const kd_safetensors_entry *e = find(s, name, &which);
        if (!e) return kd_fail(KD_EDATA, "%s: tensor %s is missing", folder, name);
        if (!shape_fits(params->list[i], e))
            return kd_fail(KD_EDATA, "%s/%s: tensor %s has another shape than config.json says",
                           folder, s->name[which], name);
    }
    for (int i = 0; i < s->count; i++) {
        have += kd_safetensors_count(s->file[i]);
        if (kd_safetensors_find(s->file[i], "proj_out.weight")) have--;
    }
    if (have != params->count)
        return kd_fail(KD_EDATA, "%s: %lld tensors; a model of this config.json has %d", folder,
                       (long long)have, params->count);
    return KD_OK;
}

static int read_weights(const shards *s, kd_whisper *model) {
    char name[KD_WHISPER_NAME_MAX];
    const kd_params *params = model->params;
    int64_t most = 1;
    for (int i = 0; i < params->count; i++)
        most = params->list[i]->tensor.size > most ? params->list[i]->tensor.size : most;
    float *values = malloc((size_t)most * sizeof *values);
    if (!values) return kd_fail_memory((size_t)most * sizeof *values, "weights");
    int status = kd_whisper_layout_blank(model), which;
    for (int i = 0; i < params->count && status == KD_OK; i++) {
        kd_whisper_foreign_name(name, params->list[i]->name);
        const kd_safetensors_entry *e = find(s, name, &which);
        status = kd_safetensors_read(s->file[which], e, values);
        if (status == KD_OK) kd_whisper_set_values(params->list[i], values);
    }
    kd_params_touch(model->params);
    free(values);
    return status;
}

/* --- the folder --------------------------------------------------------------------------------
 */

int kd_whisper_folder_read(kd_whisper_file **out, const char *folder,
                           kd_whisper_training training) {
    kd_whisper_spec spec = {0};
    shards s = {.count = 0};
    *out = NULL;
    kd_whisper_file *file = calloc(1, sizeof *file);
    if (!file) return kd_fail_memory(sizeof *file, folder);
    int status = read_spec(&spec, folder);
    if (status == KD_OK) status = read_heads(file, folder);
    if (status == KD_OK) status = kd_whisper_add_filters(file, spec.mels);
    if (status == KD_OK)
        status = kd_tokenizer_read_folder(&file->tokenizer, folder, spec.vocabulary);
    if (status == KD_OK) status = open_shards(&s, folder);
    if (status == KD_OK) status = kd_whisper_create(&file->model, &spec, training);
    if (status == KD_OK) status = check_tensors(&s, file->model->params, folder);
    if (status == KD_OK) status = read_weights(&s, file->model);
    close_shards(&s);
    if (status < 0) {
        kd_whisper_file_free(file);
        return status;
    }
    *out = file;
    return KD_OK;
}
