/* GGUF → a blob that can be run: the keys, and then the graph (blob_graph.c). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/size.h"
#include "files/weights_gguf.h"
#include "quant/blob_internal.h"

static const size_t FILE_MAX = (size_t)1 << 31;

typedef struct {
    const char *name; /* of the file */
    const kd_gguf *file;
    kd_blob *blob;
} reader;

/* --- keys ------------------------------------------------------------------------------------- */

static int find_key(const reader *r, const kd_gguf_key **out, const char *name,
                    kd_gguf_kind element, uint64_t most) {
    const kd_gguf_key *key = kd_gguf_find_key(r->file, name);
    if (!key) return kd_fail(KD_EDATA, "%s: key \"%s\" is missing", r->name, name);
    if (key->element != element || key->count < 1 || key->count > most ||
        (most == 1) != (key->kind != KD_GGUF_ARRAY))
        return kd_fail(KD_EDATA, "%s: key \"%s\" has the wrong type or number of values", r->name,
                       name);
    *out = key;
    return KD_OK;
}

static int read_u32(const reader *r, const char *name, uint32_t most, int *out) {
    const kd_gguf_key *key = NULL;
    uint32_t value;
    int status = find_key(r, &key, name, KD_GGUF_U32, 1);
    if (status < 0) return status;
    memcpy(&value, key->value, sizeof value);
    if (value < 1 || value > most)
        return kd_fail(KD_EDATA, "%s: key \"%s\" is %u: must be 1 … %u", r->name, name, value,
                       most);
    *out = (int)value;
    return KD_OK;
}

static int read_graph(reader *r) {
    const kd_gguf_key *key = NULL;
    if (kd_gguf_is_weights(r->file))
        return kd_fail(KD_EDATA,
                       "%s: holds rounded weights, which `distill eval` measures; what is run are "
                       "networks in integers",
                       r->name);
    int status = find_key(r, &key, "distill.graph", KD_GGUF_STRING, 1);
    if (status < 0) return status;
    const unsigned char *at = key->value;
    const kd_gguf_string text = kd_gguf_next_string(&at);
    return kd_blob_read_graph(r->blob, r->file, text.text, (size_t)text.length, r->name);
}

static int read_classes(reader *r) {
    const kd_gguf_key *key = NULL;
    const kd_extent out = r->blob->node[r->blob->count - 1].out;
    int status = find_key(r, &key, "distill.classes", KD_GGUF_STRING, KD_CLASSES_MAX);
    if (status < 0) return status;
    if ((uint64_t)(out.h * out.w * out.c) != key->count)
        return kd_fail(KD_EDATA, "%s: names %llu classes for %lld outputs", r->name,
                       (unsigned long long)key->count, (long long)(out.h * out.w * out.c));
    r->blob->classes = (int)key->count;
    r->blob->class_name =
        calloc(kd_array_bytes((int64_t)key->count, 1), sizeof *r->blob->class_name);
    if (!r->blob->class_name) return kd_fail_memory(key->count * KD_CLASS_NAME_MAX, r->name);
    const unsigned char *at = key->value;
    for (int i = 0; i < r->blob->classes; i++) {
        const kd_gguf_string name = kd_gguf_next_string(&at);
        if (name.length >= KD_CLASS_NAME_MAX || memchr(name.text, 0, (size_t)name.length))
            return kd_fail(KD_EDATA,
                           "%s: the name of class %d is not a text shorter than %d "
                           "bytes",
                           r->name, i, KD_CLASS_NAME_MAX);
        memcpy(r->blob->class_name[i], name.text, (size_t)name.length);
    }
    return KD_OK;
}

static int read_floats(const reader *r, const char *name, int n, float *out) {
    const kd_gguf_key *key = kd_gguf_find_key(r->file, name);
    if (!key || key->kind != KD_GGUF_ARRAY || key->element != KD_GGUF_F32 ||
        key->count != (uint64_t)n)
        return kd_fail(KD_EDATA, "%s: key \"%s\" must be a list of %d numbers", r->name, name, n);
    memcpy(out, key->value, (size_t)n * sizeof *out);
    return KD_OK;
}

static int read_normaliser(reader *r) {
    kd_normaliser *how = &r->blob->normaliser;
    const kd_extent in = r->blob->node[0].out;
    const kd_gguf_key *key = NULL;
    int status = find_key(r, &key, "distill.normaliser.unit", KD_GGUF_F32, 1);
    if (status < 0) return status;
    memcpy(&how->unit, key->value, sizeof how->unit);
    if (kd_gguf_find_key(r->file, "distill.normaliser.mean")) {
        if (in.c > KD_IMAGE_CHANNELS_MAX)
            return kd_fail(KD_EDATA, "%s: means for %lld channels: at most %d", r->name,
                           (long long)in.c, KD_IMAGE_CHANNELS_MAX);
        how->channels = (int)in.c;
        status = read_floats(r, "distill.normaliser.mean", how->channels, how->mean);
        if (status == KD_OK)
            status = read_floats(r, "distill.normaliser.deviation", how->channels, how->deviation);
    }
    bool finite = isfinite(how->unit) && how->unit > 0;
    for (int k = 0; k < how->channels; k++)
        finite = finite && isfinite(how->mean[k]) && isfinite(how->deviation[k]) &&
                 how->deviation[k] > 0;
    if (status == KD_OK && !finite)
        return kd_fail(KD_EDATA,
                       "%s: distill.normaliser: must hold finite numbers, units and "
                       "deviations above 0",
                       r->name);
    return status;
}

/* Which of `words` the text under `name` is. */
static int read_word(const reader *r, const char *name, const char *const *words, int count,
                     int *out) {
    const kd_gguf_key *key = NULL;
    char list[128] = "";
    size_t used = 0;
    int status = find_key(r, &key, name, KD_GGUF_STRING, 1);
    if (status < 0) return status;
    const unsigned char *at = key->value;
    const kd_gguf_string text = kd_gguf_next_string(&at);
    for (*out = 0; *out < count; ++*out) {
        const char *word = words[*out];
        if (text.length == strlen(word) && memcmp(text.text, word, (size_t)text.length) == 0)
            return KD_OK;
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s\"%s\"",
                                     *out ? " or " : "", word);
    }
    return kd_fail(KD_EDATA, "%s: %s must be %s", r->name, name, list);
}

/* A number above `low`, or equal to it when `closed`, and at most `high`. */
static int read_real(const reader *r, const char *name, double low, bool closed, double high,
                     double *out) {
    const kd_gguf_key *key = NULL;
    int status = find_key(r, &key, name, KD_GGUF_F64, 1);
    if (status < 0) return status;
    memcpy(out, key->value, sizeof *out);
    if ((closed ? *out >= low : *out > low) && *out <= high) return KD_OK;
    return kd_fail(KD_EDATA, "%s: %s is %g: must be %s %g and at most %g", r->name, name, *out,
                   closed ? "at least" : "above", low, high);
}

static int read_audio(reader *r) {
    kd_audio_spec *audio = &r->blob->data.audio;
    int how = 0;
    int status = read_u32(r, "distill.audio.sample_rate", 1 << 20, &audio->sample_rate);
    if (status == KD_OK) status = read_u32(r, "distill.audio.window", 1 << 16, &audio->window);
    if (status == KD_OK) status = read_u32(r, "distill.audio.hop", 1 << 16, &audio->hop);
    if (status == KD_OK) status = read_u32(r, "distill.audio.mels", 1 << 12, &audio->mels);
    if (status == KD_OK)
        status = read_real(r, "distill.audio.seconds", 0, false, 3600, &audio->seconds);
    if (status == KD_OK) status = read_real(r, "distill.audio.trim", 0, true, 200, &audio->trim);
    if (status == KD_OK) status = read_real(r, "distill.audio.range", 0, false, 80, &audio->range);
    if (status == KD_OK)
        status = read_word(r, "distill.audio.normalise", kd_clip_norm_name, KD_CLIP_NORMS, &how);
    audio->normalise = (kd_clip_norm)how;
    return status;
}

/* CIFAR-10's records fill the network's input, no more and no less. */
static int check_cifar(const reader *r) {
    const kd_extent in = r->blob->node[0].out;
    kd_dataset *stated;
    int status = kd_dataset_stated(&stated, &r->blob->data);
    if (status < 0) return status;
    if (in.h != stated->h || in.w != stated->w || in.c != stated->c)
        status = kd_fail(KD_EDATA,
                         "%s: takes samples of %lldx%lldx%lld, those of \"%s\" are %lldx%lldx%lld",
                         r->name, (long long)in.h, (long long)in.w, (long long)in.c,
                         kd_data_kind_name[r->blob->data.kind], (long long)stated->h,
                         (long long)stated->w, (long long)stated->c);
    kd_dataset_free(stated);
    return status;
}

static int read_data(reader *r) {
    int kind = 0;
    int status = read_word(r, "distill.data.kind", kd_data_kind_name, KD_DATA_KINDS, &kind);
    if (status < 0) return status;
    r->blob->data.kind = (kd_data_kind)kind;
    if (kind == KD_DATA_AUDIO) return read_audio(r);
    return kind == KD_DATA_CIFAR10 ? check_cifar(r) : KD_OK;
}

static int read_all(reader *r) {
    int version = 0;
    int status = kd_gguf_verify(r->file, r->name);
    if (status == KD_OK) status = read_u32(r, "distill.version", 1, &version);
    if (status == KD_OK) status = read_graph(r);
    if (status == KD_OK) status = read_classes(r);
    if (status == KD_OK) status = read_normaliser(r);
    return status == KD_OK ? read_data(r) : status;
}

int kd_blob_parse_only(kd_blob **out, const void *bytes, size_t length, const char *name) {
    kd_gguf *file;
    int status = kd_gguf_parse(&file, bytes, length, name);
    if (status < 0) return status;
    reader r = {.name = name, .file = file, .blob = calloc(1, sizeof *r.blob)};
    status = r.blob ? read_all(&r) : kd_fail_memory(sizeof *r.blob, name);
    kd_gguf_free(file);
    if (status < 0)
        kd_blob_free(r.blob);
    else
        *out = r.blob;
    return status;
}

int kd_blob_parse(kd_blob **out, const void *bytes, size_t length, const char *name) {
    kd_blob *blob;
    int status = kd_blob_parse_only(&blob, bytes, length, name);
    if (status < 0) return status;
    status = kd_blob_prepare(blob);
    if (status < 0)
        kd_blob_free(blob);
    else
        *out = blob;
    return status;
}

static int open_with(kd_blob **out, const char *path,
                     int (*parse)(kd_blob **out, const void *bytes, size_t length,
                                  const char *name)) {
    char *bytes = NULL;
    size_t length = 0;
    int status = kd_file_read(&bytes, &length, path, FILE_MAX);
    if (status == KD_OK) status = parse(out, bytes, length, path);
    free(bytes);
    return status;
}

int kd_blob_open(kd_blob **out, const char *path) {
    return open_with(out, path, kd_blob_parse);
}

int kd_blob_open_only(kd_blob **out, const char *path) {
    return open_with(out, path, kd_blob_parse_only);
}
