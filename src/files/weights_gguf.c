#include "files/weights_gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "files/gguf_params.h"

enum { VERSION = 1 };

static const kd_names OWN_NAMES = {0};

int kd_weights_gguf_write(const char *path, const kd_params *params, const kd_encoding *how,
                          const kd_weights_info *info) {
    kd_gguf_writer *w;
    int status = kd_gguf_writer_create(&w, "distill");
    if (status < 0) return status;
    if (info->name) kd_gguf_add_string(w, "general.name", info->name);
    if (info->teacher) kd_gguf_add_string(w, "distill.teacher", info->teacher);
    if (info->origin) kd_gguf_add_string(w, "distill.origin", info->origin);
    if (info->budget) kd_gguf_add_string(w, "distill.budget", info->budget);
    kd_gguf_add_u32(w, "distill.version", VERSION);
    kd_gguf_add_string(w, "distill.config", info->config);
    status = kd_gguf_write_params(path, w, NULL, params, &OWN_NAMES, how);
    kd_gguf_writer_free(w);
    return status;
}

/* --- reading ----------------------------------------------------------------------------------
 */

bool kd_gguf_is_weights(const kd_gguf *gguf) {
    return kd_gguf_find_key(gguf, "distill.config") && !kd_gguf_find_key(gguf, "distill.graph");
}

/* The parsed file, whose map is closed after it. */
static int open_file(kd_gguf **out, kd_file_map *map, const char *path) {
    int status = kd_file_map_open(map, path);
    if (status < 0) return status;
    status = kd_gguf_parse(out, map->bytes, map->length, path);
    if (status < 0) kd_file_map_close(map);
    return status;
}

int kd_weights_gguf_is_at(bool *out, const char *path) {
    kd_gguf *g;
    kd_file_map map;
    int status = open_file(&g, &map, path);
    if (status < 0) return status;
    *out = kd_gguf_is_weights(g);
    kd_gguf_free(g);
    kd_file_map_close(&map);
    return KD_OK;
}

static int check_keys(const kd_gguf *g, const char *path) {
    const kd_gguf_key *key = kd_gguf_find_key(g, "distill.version");
    uint32_t version = 0;
    int status = kd_gguf_verify(g, path);
    if (status < 0) return status;
    if (!kd_gguf_is_weights(g))
        return kd_fail(KD_EDATA,
                       "%s: a GGUF, but not one of weights with the config they belong to", path);
    if (key && key->kind == KD_GGUF_U32) memcpy(&version, key->value, sizeof version);
    if (version == VERSION) return KD_OK;
    return kd_fail(KD_EDATA, "%s: distill.version is %u: must be %d", path, version, VERSION);
}

static int read_params(kd_params *params, const kd_gguf *g, const char *path) {
    kd_stored *list = calloc((size_t)params->count, sizeof *list);
    if (!list) return kd_fail_memory((size_t)params->count * sizeof *list, path);
    int status = kd_gguf_list_params(list, g, params, &OWN_NAMES, 0, path);
    if (status == KD_OK) status = kd_stored_load(params, list, path);
    free(list);
    return status;
}

int kd_weights_gguf_read(kd_params *params, const char *path) {
    kd_gguf *g;
    kd_file_map map;
    int status = open_file(&g, &map, path);
    if (status < 0) return status;
    status = check_keys(g, path);
    if (status == KD_OK) status = read_params(params, g, path);
    kd_gguf_free(g);
    kd_file_map_close(&map);
    return status;
}

/* Formats of single values have no bytes there (encoding.h), nor those whose scales lie apart. */
static kd_encoding encoding_of(const kd_stored *stored) {
    const bool whole = stored->format->grid && !stored->scale_format && stored->tensor_scale == 0;
    return (kd_encoding){.format = stored->format, .bytes = whole ? stored->bytes : NULL};
}

int kd_weights_gguf_encodings(kd_encoding **out, kd_file_map *map, const kd_params *params,
                              const char *path) {
    kd_gguf *g;
    int status = open_file(&g, map, path);
    if (status < 0) return status;
    const size_t count = (size_t)params->count;
    kd_stored *list = calloc(count, sizeof *list);
    *out = calloc(count, sizeof **out);
    if (!list || !*out) status = kd_fail_memory(count * sizeof *list, path);
    if (status == KD_OK) status = kd_gguf_list_params(list, g, params, &OWN_NAMES, 0, path);
    for (size_t i = 0; i < count && status == KD_OK; i++) (*out)[i] = encoding_of(&list[i]);
    free(list);
    kd_gguf_free(g);
    return status;
}
