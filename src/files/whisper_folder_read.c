/* Whisper as a Hugging Face folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "files/safetensors.h"
#include "files/whisper_folder.h"
#include "layers/weights.h"

static const size_t INDEX_LIMIT = (size_t)64 << 20;
enum { SHARDS_MAX = 256 };

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

/* One that was opened. */
static const kd_safetensors *shard_named(const shards *s, const char *name) {
    int i = 0;
    while (i < s->count - 1 && strcmp(s->name[i], name) != 0) i++;
    return s->file[i];
}

/* The one file, or all that the index names; each tensor where the index says. */
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
    status = kd_json_read(&json, path, INDEX_LIMIT);
    const cJSON *map = status == KD_OK ? kd_json_get(kd_json_root(json), "weight_map") : NULL;
    if (status == KD_OK && !cJSON_IsObject(map))
        status = kd_fail(KD_EDATA, "%s: has no \"weight_map\"", path);
    for (const cJSON *item = map ? map->child : NULL; item && status == KD_OK; item = item->next)
        status = cJSON_IsString(item)
                     ? open_shard(s, folder, item->valuestring, path)
                     : kd_fail(KD_EDATA, "%s: weight_map: should name files", path);
    for (const cJSON *item = map ? map->child : NULL; item && status == KD_OK; item = item->next)
        if (!kd_safetensors_find(shard_named(s, item->valuestring), item->string))
            status = kd_fail(KD_EDATA, "%s: weight_map: there is no tensor %s in %s", path,
                             item->string, item->valuestring);
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

/* The tensor that the model has none for, since it is the token embedding once more. */
static const char OUTPUT_MATRIX[] = "proj_out.weight";

/* Every parameter has a tensor of its shape, and nothing is left over but the output matrix. */
static int check_tensors(const shards *s, const kd_params *params, const char *folder, bool tied) {
    char name[KD_WHISPER_NAME_MAX];
    int64_t have = 0;
    int which;
    if (!tied && !find(s, OUTPUT_MATRIX, &which))
        return kd_fail(
            KD_EDATA,
            "%s/config.json: \"tie_word_embeddings\" is not true, and there is no tensor "
            "%s",
            folder, OUTPUT_MATRIX);
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
        if (kd_safetensors_find(s->file[i], OUTPUT_MATRIX)) have--;
    }
    if (have != params->count)
        return kd_fail(KD_EDATA, "%s: %lld tensors; a model of this config.json has %d", folder,
                       (long long)have, params->count);
    return KD_OK;
}

/* The output matrix of the folder must be the token embedding, which stands for it here; `values`
 * has room for it. */
static int check_output_matrix(const shards *s, const kd_whisper *model, float *values) {
    const kd_tensor *tokens = &model->tokens.table->tensor;
    int which;
    const kd_safetensors_entry *e = find(s, OUTPUT_MATRIX, &which);
    if (!e) return KD_OK;
    bool same = shape_fits(model->tokens.table, e);
    int status = same ? kd_safetensors_read(s->file[which], e, values) : KD_OK;
    for (int64_t i = 0; i < tokens->size && same && status == KD_OK; i++)
        same = (kd_real)values[i] == tokens->value[i];
    if (status < 0 || same) return status;
    return kd_fail(
        KD_EDATA,
        "%s: tensor %s is not the token embedding; Whisper's output matrix is, and another "
        "cannot be held here",
        s->name[which], OUTPUT_MATRIX);
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
    if (status == KD_OK) status = check_output_matrix(s, model, values);
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
    bool tied;
    int status = kd_whisper_config_read(&spec, &tied, folder);
    if (status == KD_OK) status = kd_whisper_add_filters(file, spec.mels);
    if (status == KD_OK)
        status = kd_tokenizer_read_folder(&file->tokenizer, folder, spec.vocabulary);
    if (status == KD_OK) status = open_shards(&s, folder);
    if (status == KD_OK) status = kd_whisper_create(&file->model, &spec, training);
    if (status == KD_OK) status = kd_whisper_generation_read(file, folder);
    if (status == KD_OK) status = check_tensors(&s, file->model->params, folder, tied);
    if (status == KD_OK) status = read_weights(&s, file->model);
    if (status == KD_OK) status = kd_params_check(file->model->params, folder);
    close_shards(&s);
    if (status < 0) {
        kd_whisper_file_free(file);
        return status;
    }
    *out = file;
    return KD_OK;
}
