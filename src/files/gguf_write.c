/* GGUF, the writing half. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/ranks.h"
#include "files/formats/number_format.h"
#include "files/gguf.h"

/* Bytes that grow. */
typedef struct {
    unsigned char *bytes;
    size_t length, capacity;
} buffer;

struct kd_gguf_writer {
    buffer keys, infos;
    buffer data;      /* of all tensors, or empty: none has brought any */
    buffer sizes;     /* (tensor_count) size_t: bytes of each           */
    uint64_t data_at; /* where the next tensor's data begins            */
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

static const unsigned char ZEROS[KD_GGUF_ALIGNMENT] = {0};

/* Zeros behind `length` bytes, up to the alignment. */
static size_t padding(size_t length) {
    return (KD_GGUF_ALIGNMENT - length % KD_GGUF_ALIGNMENT) % KD_GGUF_ALIGNMENT;
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
    free(w->sizes.bytes);
    free(w);
}

void kd_gguf_add_u32(kd_gguf_writer *w, const char *key, uint32_t value) {
    begin_key(w, key, KD_GGUF_U32);
    append_u32(w, &w->keys, value);
}

void kd_gguf_add_bool(kd_gguf_writer *w, const char *key, bool value) {
    const unsigned char byte = value;
    begin_key(w, key, KD_GGUF_BOOL);
    append(w, &w->keys, &byte, sizeof byte);
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
    const size_t bytes = (size_t)kd_ggml_type_bytes(type, ne[0], count);
    append_u32(w, &w->infos, type);
    append_u64(w, &w->infos, w->data_at);
    append(w, &w->sizes, &bytes, sizeof bytes);
    KD_CONTRACT(w->failed || w->tensor_count == 0 || (data != NULL) == (w->data.length > 0),
                "%s: some tensors have data and some have not", name);
    if (data) {
        append(w, &w->data, data, bytes);
        append(w, &w->data, ZEROS, padding(bytes));
    }
    w->data_at += bytes + padding(bytes);
    w->tensor_count++;
}

/* All in front of the data; the checksum is still 0. → where it stands. */
static size_t make_header(buffer *header, kd_gguf_writer *w) {
    append(w, header, "GGUF", 4);
    append_u32(w, header, 3);
    append_u64(w, header, w->tensor_count);
    append_u64(w, header, w->key_count);
    const size_t checksum_at = header->length + w->checksum_at;
    append(w, header, w->keys.bytes, w->keys.length);
    append(w, header, w->infos.bytes, w->infos.length);
    append(w, header, ZEROS, padding(header->length));
    return checksum_at;
}

/* From the checksums of what stands before it and behind it. */
static uint64_t joined(uint64_t before, uint64_t behind) {
    const uint64_t part[2] = {before, behind};
    return kd_checksum64(part, sizeof part);
}

int kd_gguf_finish(char **out, size_t *out_length, kd_gguf_writer *w) {
    buffer file = {0};
    const size_t at = make_header(&file, w), behind = at + sizeof(uint64_t);
    KD_CONTRACT(w->failed || w->data.length == w->data_at, "tensors without data");
    append(w, &file, w->data.bytes, w->data.length);
    if (w->failed) {
        free(file.bytes);
        return KD_EINTERNAL;
    }
    const uint64_t sum = joined(kd_checksum64(file.bytes, at),
                                kd_checksum64(file.bytes + behind, file.length - behind));
    memcpy(file.bytes + at, &sum, sizeof sum);
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

/* --- a tensor at a time -------------------------------------------------------------------------
 */

typedef struct {
    FILE *file;
    const char *path;
    kd_checksum *behind;
} sink;

static int put(sink *s, const void *bytes, size_t length) {
    if (fwrite(bytes, 1, length, s->file) == length) return KD_OK;
    return kd_fail(KD_EIO, "%s: cannot write: %s", s->path, strerror(errno));
}

static int put_data(sink *s, const kd_gguf_writer *w, kd_gguf_fill fill, void *context) {
    const size_t *size = (const size_t *)(const void *)w->sizes.bytes;
    size_t most = 0;
    int status = KD_OK;
    for (uint64_t i = 0; i < w->tensor_count; i++) most = size[i] > most ? size[i] : most;
    unsigned char *data = malloc(most + KD_GGUF_ALIGNMENT);
    if (!data) return kd_fail_memory(most, s->path);
    for (uint64_t i = 0; i < w->tensor_count && status == KD_OK; i++) {
        const size_t length = size[i] + padding(size[i]);
        status = fill(context, i, data);
        if (status < 0) break;
        memset(data + size[i], 0, length - size[i]);
        kd_checksum_add(s->behind, data, length);
        status = put(s, data, length);
    }
    free(data);
    return status;
}

static int put_file(sink *s, kd_gguf_writer *w, kd_gguf_fill fill, void *context) {
    buffer header = {0};
    const size_t at = make_header(&header, w), behind = at + sizeof(uint64_t);
    int status = w->failed ? KD_EINTERNAL : kd_checksum_create(&s->behind);
    if (status == KD_OK) status = put(s, header.bytes, header.length);
    if (status == KD_OK) {
        kd_checksum_add(s->behind, header.bytes + behind, header.length - behind);
        status = put_data(s, w, fill, context);
    }
    if (status == KD_OK && fseek(s->file, (long)at, SEEK_SET) != 0)
        status = kd_fail(KD_EIO, "%s: cannot seek: %s", s->path, strerror(errno));
    if (status == KD_OK) {
        const uint64_t sum = joined(kd_checksum64(header.bytes, at), kd_checksum_value(s->behind));
        status = put(s, &sum, sizeof sum);
    }
    kd_checksum_free(s->behind);
    free(header.bytes);
    return status;
}

int kd_gguf_write_filled(const char *path, kd_gguf_writer *w, kd_gguf_fill fill, void *context) {
    char part[KD_PATH_MAX];
    KD_CONTRACT(w->data.length == 0, "%s: tensors that have brought their data", path);
    if (!kd_rank_writes()) return KD_OK;
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return kd_fail(KD_EIO, "%s: path too long", path);
    sink s = {.file = fopen(part, "wb"), .path = part};
    if (!s.file) return kd_fail(KD_EIO, "%s: cannot create: %s", part, strerror(errno));
    int status = put_file(&s, w, fill, context);
    if (fclose(s.file) != 0 && status == KD_OK)
        status = kd_fail(KD_EIO, "%s: cannot write: %s", part, strerror(errno));
    if (status == KD_OK) return kd_file_commit(part, path);
    unlink(part);
    return status;
}
