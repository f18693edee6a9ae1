/* GGUF, the writing half. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "quant/gguf.h"

/* Bytes that grow. */
typedef struct {
    unsigned char *bytes;
    size_t length, capacity;
} buffer;

struct kd_gguf_writer {
    buffer keys, infos, data;
    uint64_t key_count, tensor_count;
    size_t checksum_at; /* in `keys` */
    bool failed;
};

static const char CHECKSUM_KEY[] = "distill.checksum";

static void append(kd_gguf_writer *w, buffer *to, const void *bytes, size_t length) {
    if (w->failed) return;
    if (to->capacity - to->length < length) {
        size_t capacity = 2 * to->capacity + length + 256;
        unsigned char *grown = realloc(to->bytes, capacity);
        if (!grown) {
            kd_fail_memory(capacity, "a GGUF file");
            w->failed = true;
            return;
        }
        to->bytes = grown;
        to->capacity = capacity;
    }
    if (length) memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
}

static void append_u32(kd_gguf_writer *w, buffer *to, uint32_t value) {
    append(w, to, &value, sizeof value);
}

static void append_u64(kd_gguf_writer *w, buffer *to, uint64_t value) {
    append(w, to, &value, sizeof value);
}

static void append_string(kd_gguf_writer *w, buffer *to, const char *text) {
    append_u64(w, to, strlen(text));
    append(w, to, text, strlen(text));
}

static void append_zeros(kd_gguf_writer *w, buffer *to, size_t alignment, size_t length) {
    static const unsigned char zeros[KD_GGUF_ALIGNMENT] = {0};
    append(w, to, zeros, (alignment - length % alignment) % alignment);
}

static void begin_key(kd_gguf_writer *w, const char *key, kd_gguf_kind kind) {
    append_string(w, &w->keys, key);
    append_u32(w, &w->keys, (uint32_t)kind);
    w->key_count++;
}

int kd_gguf_writer_create(kd_gguf_writer **out, const char *architecture) {
    kd_gguf_writer *w = calloc(1, sizeof *w);
    if (!w) return kd_fail_memory(sizeof *w, "a GGUF writer");
    kd_gguf_add_string(w, "general.architecture", architecture);
    kd_gguf_add_u32(w, "general.quantization_version", 2);
    kd_gguf_add_u32(w, "general.alignment", KD_GGUF_ALIGNMENT);
    begin_key(w, CHECKSUM_KEY, KD_GGUF_U64);
    w->checksum_at = w->keys.length;
    append_u64(w, &w->keys, 0);
    *out = w;
    return KD_OK;
}

void kd_gguf_writer_free(kd_gguf_writer *w) {
    if (!w) return;
    free(w->keys.bytes);
    free(w->infos.bytes);
    free(w->data.bytes);
    free(w);
}

void kd_gguf_add_u32(kd_gguf_writer *w, const char *key, uint32_t value) {
    begin_key(w, key, KD_GGUF_U32);
    append_u32(w, &w->keys, value);
}

void kd_gguf_add_f32(kd_gguf_writer *w, const char *key, float value) {
    begin_key(w, key, KD_GGUF_F32);
    append(w, &w->keys, &value, sizeof value);
}

void kd_gguf_add_f64(kd_gguf_writer *w, const char *key, double value) {
    begin_key(w, key, KD_GGUF_F64);
    append(w, &w->keys, &value, sizeof value);
}

void kd_gguf_add_string(kd_gguf_writer *w, const char *key, const char *value) {
    begin_key(w, key, KD_GGUF_STRING);
    append_string(w, &w->keys, value);
}

static void begin_array(kd_gguf_writer *w, const char *key, kd_gguf_kind element, uint64_t n) {
    begin_key(w, key, KD_GGUF_ARRAY);
    append_u32(w, &w->keys, (uint32_t)element);
    append_u64(w, &w->keys, n);
}

void kd_gguf_add_f32s(kd_gguf_writer *w, const char *key, const float *value, uint64_t n) {
    begin_array(w, key, KD_GGUF_F32, n);
    append(w, &w->keys, value, (size_t)n * sizeof *value);
}

void kd_gguf_add_i32s(kd_gguf_writer *w, const char *key, const int32_t *value, uint64_t n) {
    begin_array(w, key, KD_GGUF_I32, n);
    append(w, &w->keys, value, (size_t)n * sizeof *value);
}

void kd_gguf_add_strings(kd_gguf_writer *w, const char *key, const char *const *value, uint64_t n) {
    begin_array(w, key, KD_GGUF_STRING, n);
    for (uint64_t i = 0; i < n; i++) append_string(w, &w->keys, value[i]);
}

void kd_gguf_add_tensor(kd_gguf_writer *w, const char *name, uint32_t type, int rank,
                        const uint64_t *ne, const void *data) {
    KD_CONTRACT(rank >= 1 && rank <= KD_GGUF_RANK_MAX, "%s: rank %d", name, rank);
    KD_CONTRACT(strlen(name) <= KD_GGUF_NAME_MAX, "%s: longer than %d bytes", name,
                KD_GGUF_NAME_MAX);
    uint64_t count = 1;
    append_string(w, &w->infos, name);
    append_u32(w, &w->infos, (uint32_t)rank);
    for (int i = 0; i < rank; i++) {
        append_u64(w, &w->infos, ne[i]);
        count *= ne[i];
    }
    append_u32(w, &w->infos, type);
    append_u64(w, &w->infos, w->data.length);
    append(w, &w->data, data, (size_t)kd_gguf_tensor_bytes(type, ne[0], count));
    append_zeros(w, &w->data, KD_GGUF_ALIGNMENT, w->data.length);
    w->tensor_count++;
}

int kd_gguf_finish(char **out, size_t *out_length, kd_gguf_writer *w) {
    buffer file = {0};
    append(w, &file, "GGUF", 4);
    append_u32(w, &file, 3);
    append_u64(w, &file, w->tensor_count);
    append_u64(w, &file, w->key_count);
    const size_t checksum_at = file.length + w->checksum_at;
    append(w, &file, w->keys.bytes, w->keys.length);
    append(w, &file, w->infos.bytes, w->infos.length);
    append_zeros(w, &file, KD_GGUF_ALIGNMENT, file.length);
    append(w, &file, w->data.bytes, w->data.length);
    if (w->failed) {
        free(file.bytes);
        return KD_EINTERNAL;
    }
    const size_t behind = checksum_at + sizeof(uint64_t);
    const uint64_t part[2] = {kd_checksum64(file.bytes, checksum_at),
                              kd_checksum64(file.bytes + behind, file.length - behind)};
    const uint64_t sum = kd_checksum64(part, sizeof part);
    memcpy(file.bytes + checksum_at, &sum, sizeof sum);
    *out = (char *)file.bytes;
    *out_length = file.length;
    return KD_OK;
}

int kd_gguf_write(const char *path, kd_gguf_writer *w) {
    char *bytes = NULL;
    size_t length = 0;
    int status = kd_gguf_finish(&bytes, &length, w);
    if (status == KD_OK) status = kd_file_replace(path, bytes, length);
    free(bytes);
    return status;
}
