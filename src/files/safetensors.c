#include "files/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "files/safetensors_header.h"

static const uint64_t HEADER_LIMIT = 100000000; /* the format's own */

struct kd_safetensors {
    char *name;           /* of the file, for messages                              */
    kd_file_map map;      /* empty when the bytes are the caller's                  */
    const uint8_t *bytes; /* (length) the file                                      */
    uint64_t length;
    uint64_t data; /* where the tensors' bytes begin                         */
    char *text;    /* the header, copied; its strings are decoded in place           */
    kd_safetensors_entry *entry;  /* (count) by their place                         */
    kd_safetensors_entry **named; /* (count) by their names                         */
    int64_t count;
};

/* --- checks ------------------------------------------------------------------------------------
 */

static int by_place(const void *a, const void *b) {
    const kd_safetensors_entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(kd_safetensors_entry *const *)a)->name,
                  (*(kd_safetensors_entry *const *)b)->name);
}

static int check_places(const kd_safetensors *f) {
    uint64_t at = 0, size = f->length - f->data;
    for (int64_t i = 0; i < f->count; i++) {
        const kd_safetensors_entry *e = &f->entry[i];
        if (e->begin != at)
            return kd_fail(KD_EDATA, "%s: tensor '%s': data_offsets begin at %llu, %s %llu",
                           f->name, e->name, (unsigned long long)e->begin,
                           e->begin < at ? "overlapping what ends at" : "leaving a hole from",
                           (unsigned long long)at);
        at = e->end;
    }
    if (at != size)
        return kd_fail(KD_EDATA, "%s: the tensors take %llu bytes, the file has %llu for them",
                       f->name, (unsigned long long)at, (unsigned long long)size);
    return KD_OK;
}

static int check_names(kd_safetensors *f) {
    size_t bytes = ((size_t)f->count + 1) * sizeof *f->named;
    f->named = malloc(bytes);
    if (!f->named) return kd_fail_memory(bytes, f->name);
    for (int64_t i = 0; i < f->count; i++) f->named[i] = &f->entry[i];
    qsort(f->named, (size_t)f->count, sizeof *f->named, by_name);
    for (int64_t i = 1; i < f->count; i++)
        if (strcmp(f->named[i - 1]->name, f->named[i]->name) == 0)
            return kd_fail(KD_EDATA, "%s: two tensors are called '%s'", f->name, f->named[i]->name);
    return KD_OK;
}

/* Everything but the opening: f->bytes, f->length and f->name are set. */
static int read_header(kd_safetensors *f) {
    enum { PREFIX = 8 };
    uint64_t size = 0;
    if (f->length < PREFIX)
        return kd_fail(KD_EDATA, "%s: %llu bytes; a safetensors file has at least 10", f->name,
                       (unsigned long long)f->length);
    for (int i = PREFIX - 1; i >= 0; i--) size = size << 8 | f->bytes[i];
    if (size > HEADER_LIMIT || size > f->length - PREFIX || size < 2)
        return kd_fail(KD_EDATA,
                       "%s: at byte 0: header of %llu bytes; should be 2 to %llu and fit the "
                       "file's %llu (is this a safetensors file?)",
                       f->name, (unsigned long long)size, (unsigned long long)HEADER_LIMIT,
                       (unsigned long long)f->length);
    f->data = PREFIX + size;
    f->text = malloc((size_t)size + 1);
    if (!f->text) return kd_fail_memory(size + 1, f->name);
    memcpy(f->text, f->bytes + PREFIX, (size_t)size);
    f->text[size] = '\0';
    int status = kd_safetensors_parse(&f->entry, &f->count, f->text, (size_t)size, f->name);
    if (status < 0) return status;
    if (f->count > 0) qsort(f->entry, (size_t)f->count, sizeof *f->entry, by_place);
    status = check_names(f);
    return status < 0 ? status : check_places(f);
}

/* --- opening -----------------------------------------------------------------------------------
 */

static int start(kd_safetensors **out, const char *name) {
    *out = NULL;
    kd_safetensors *f = calloc(1, sizeof *f);
    if (!f) return kd_fail_memory(sizeof *f, name);
    f->name = strdup(name);
    if (!f->name) {
        free(f);
        return kd_fail_memory(strlen(name) + 1, name);
    }
    *out = f;
    return KD_OK;
}

static int finish(kd_safetensors **out, kd_safetensors *f, int status) {
    if (status == KD_OK) status = read_header(f);
    if (status < 0) {
        kd_safetensors_close(f);
        f = NULL;
    }
    *out = f;
    return status;
}

int kd_safetensors_open(kd_safetensors **out, const char *path) {
    kd_safetensors *f;
    *out = NULL;
    int status = start(&f, path);
    if (status < 0) return status;
    status = kd_file_map_open(&f->map, path);
    f->bytes = f->map.bytes;
    f->length = f->map.length;
    return finish(out, f, status);
}

int kd_safetensors_decode(kd_safetensors **out, const void *bytes, size_t length,
                          const char *name) {
    kd_safetensors *f;
    *out = NULL;
    int status = start(&f, name);
    if (status < 0) return status;
    f->bytes = bytes;
    f->length = length;
    return finish(out, f, KD_OK);
}

void kd_safetensors_close(kd_safetensors *file) {
    if (!file) return;
    kd_file_map_close(&file->map);
    free(file->name);
    free(file->text);
    free(file->entry);
    free(file->named);
    free(file);
}

int64_t kd_safetensors_count(const kd_safetensors *file) {
    return file->count;
}

const kd_safetensors_entry *kd_safetensors_at(const kd_safetensors *file, int64_t index) {
    KD_CONTRACT(index >= 0 && index < file->count, "tensor %lld of %lld", (long long)index,
                (long long)file->count);
    return &file->entry[index];
}

const kd_safetensors_entry *kd_safetensors_find(const kd_safetensors *file, const char *name) {
    kd_safetensors_entry key = {.name = name}, *key_pointer = &key;
    kd_safetensors_entry **found =
        bsearch(&key_pointer, file->named, (size_t)file->count, sizeof *file->named, by_name);
    return found ? *found : NULL;
}

/* --- values ------------------------------------------------------------------------------------
 */

const unsigned char *kd_safetensors_bytes(const kd_safetensors *file,
                                          const kd_safetensors_entry *entry) {
    return file->bytes + file->data + entry->begin;
}

int kd_safetensors_stored(kd_stored *out, const kd_safetensors *file,
                          const kd_safetensors_entry *entry) {
    *out = (kd_stored){.format = kd_safetensors_format(entry->dtype),
                       .bytes = kd_safetensors_bytes(file, entry)};
    if (out->format) return KD_OK;
    return kd_fail(KD_EDATA,
                   "%s: tensor '%s' is %s; F32, F16, BF16, F64, F8_E4M3 and F8_E5M2 can be read",
                   file->name, entry->name, entry->dtype);
}

int kd_safetensors_read(const kd_safetensors *file, const kd_safetensors_entry *entry, float *out) {
    kd_stored stored;
    int status = kd_safetensors_stored(&stored, file, entry);
    if (status == KD_OK) stored.format->decode(out, stored.bytes, entry->count);
    return status;
}
