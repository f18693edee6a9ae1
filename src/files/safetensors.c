#include "files/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "data/half.h"
#include "files/safetensors_header.h"

static const uint64_t HEADER_LIMIT = 100000000; /* the format's own */

struct kd_safetensors {
    char *name;                   /* of the file, for messages                              */
    int fd;                       /* −1: in memory                                          */
    const uint8_t *bytes;         /* the file in memory                                     */
    uint64_t length;              /* of the file                                            */
    uint64_t data;                /* where the tensors' bytes begin                         */
    char *text;                   /* the header; its strings are decoded in place           */
    kd_safetensors_entry *entry;  /* (count) by their place                         */
    kd_safetensors_entry **named; /* (count) by their names                         */
    int64_t count;
};

static int fetch(const kd_safetensors *f, void *out, uint64_t at, size_t length) {
    if (at > f->length || length > f->length - at)
        return kd_fail(KD_EDATA, "%s: %zu bytes wanted at byte %llu; the file has %llu", f->name,
                       length, (unsigned long long)at, (unsigned long long)f->length);
    if (length == 0) return KD_OK;
    if (f->fd < 0) {
        memcpy(out, f->bytes + at, length);
        return KD_OK;
    }
    for (size_t done = 0; done < length;) {
        ssize_t n = pread(f->fd, (char *)out + done, length - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kd_fail(KD_EIO, "%s: cannot read: %s", f->name, strerror(errno));
        if (n == 0) return kd_fail(KD_EIO, "%s: became shorter while it was read", f->name);
        done += (size_t)n;
    }
    return KD_OK;
}

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

/* Everything but the opening: f->fd or f->bytes, f->length and f->name are set. */
static int read_header(kd_safetensors *f) {
    uint8_t prefix[8];
    uint64_t size = 0;
    if (f->length < sizeof prefix)
        return kd_fail(KD_EDATA, "%s: %llu bytes; a safetensors file has at least 10", f->name,
                       (unsigned long long)f->length);
    int status = fetch(f, prefix, 0, sizeof prefix);
    if (status < 0) return status;
    for (int i = 7; i >= 0; i--) size = size << 8 | prefix[i];
    if (size > HEADER_LIMIT || size > f->length - sizeof prefix || size < 2)
        return kd_fail(KD_EDATA,
                       "%s: at byte 0: header of %llu bytes; should be 2 to %llu and fit the "
                       "file's %llu (is this a safetensors file?)",
                       f->name, (unsigned long long)size, (unsigned long long)HEADER_LIMIT,
                       (unsigned long long)f->length);
    f->data = sizeof prefix + size;
    f->text = malloc(size + 1);
    if (!f->text) return kd_fail_memory(size + 1, f->name);
    status = fetch(f, f->text, sizeof prefix, size);
    f->text[size] = '\0';
    if (status == KD_OK)
        status = kd_safetensors_parse(&f->entry, &f->count, f->text, size, f->name);
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
    f->fd = -1;
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
    struct stat info;
    *out = NULL;
    int status = start(&f, path);
    if (status < 0) return status;
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0 || fstat(f->fd, &info) < 0)
        status = kd_fail(errno == ENOENT ? KD_ENOINPUT : KD_EIO, "%s: cannot open: %s", path,
                         strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = kd_fail(KD_ENOINPUT, "%s: is not a regular file", path);
    else
        f->length = (uint64_t)info.st_size;
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
    if (file->fd >= 0) close(file->fd);
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

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void convert(float *out, const uint8_t *raw, size_t n, kd_safetensors_type type) {
    for (size_t i = 0; i < n; i++) {
        uint16_t narrow;
        double wide;
        if (type == KD_SAFETENSORS_F64) {
            memcpy(&wide, raw + i * sizeof wide, sizeof wide);
            out[i] = (float)wide;
            continue;
        }
        memcpy(&narrow, raw + i * sizeof narrow, sizeof narrow);
        out[i] = type == KD_SAFETENSORS_F16 ? kd_half_to_float(narrow)
                                            : float_of_bits((uint32_t)narrow << 16);
    }
}

int kd_safetensors_read(const kd_safetensors *file, const kd_safetensors_entry *entry, float *out) {
    kd_safetensors_type type = kd_safetensors_type_of(entry->dtype);
    size_t width = kd_safetensors_width(type);
    uint64_t at = file->data + entry->begin;
    if (type == KD_SAFETENSORS_OTHER)
        return kd_fail(KD_EDATA, "%s: tensor '%s' is %s; F32, F16, BF16 and F64 can be read",
                       file->name, entry->name, entry->dtype);
    if (type == KD_SAFETENSORS_F32) return fetch(file, out, at, (size_t)entry->count * sizeof *out);
    uint8_t raw[1 << 14];
    size_t chunk = sizeof raw / width, count = (size_t)entry->count;
    for (size_t done = 0; done < count; done += chunk) {
        size_t n = count - done < chunk ? count - done : chunk;
        int status = fetch(file, raw, at + done * width, n * width);
        if (status < 0) return status;
        convert(out + done, raw, n, type);
    }
    return KD_OK;
}
