#include "files/safetensors_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/ranks.h"
#include "base/size.h"
#include "base/text.h"
#include "data/half.h"
#include "files/safetensors_header.h"

static int64_t width_of(const kd_safetensors_entry *e) {
    const int64_t width = kd_safetensors_width(e->dtype);
    KD_CONTRACT(width > 0, "%s: cannot write %s", e->name, e->dtype);
    return width;
}

/* {"__metadata__": …, "name": {"dtype": …, "shape": […], "data_offsets": [begin, end]}, …}, spaces
 * behind up to a multiple of 8 bytes. */
static int make_header(kd_text *out, int64_t n, const kd_safetensors_entry *entry) {
    int64_t at = 0;
    char name[512];
    kd_text_add(out, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int64_t i = 0; i < n; i++) {
        const kd_safetensors_entry *e = &entry[i];
        KD_CONTRACT(kd_json_quote(name, sizeof name, e->name) < sizeof name, "%s: name too long",
                    e->name);
        kd_text_add(out, ",%s:{\"dtype\":\"%s\",\"shape\":[", name, e->dtype);
        for (int k = 0; k < e->rank; k++)
            kd_text_add(out, "%s%lld", k ? "," : "", (long long)e->shape[k]);
        const int64_t end = at + e->count * width_of(e);
        kd_text_add(out, "],\"data_offsets\":[%lld,%lld]}", (long long)at, (long long)end);
        at = end;
    }
    kd_text_add(out, "}");
    while (!out->failed && out->length % 8) kd_text_add(out, " ");
    return kd_text_finish(out, "the header of a safetensors file");
}

static int write_bytes(FILE *file, const void *bytes, size_t length, const char *path) {
    if (fwrite(bytes, 1, length, file) == length) return KD_OK;
    return kd_fail(KD_EIO, "%s: cannot write: %s", path, strerror(errno));
}

static int write_all(FILE *file, const char *path, int64_t n, const kd_safetensors_entry *entry,
                     kd_safetensors_source source, void *context) {
    int64_t most = 1;
    kd_text header = {0};
    int status = make_header(&header, n, entry);
    if (status < 0) return status;
    for (int64_t i = 0; i < n; i++) most = entry[i].count > most ? entry[i].count : most;
    void *values = malloc(kd_array_bytes(most, sizeof(double)));
    uint16_t *halves = malloc(kd_array_bytes(most, sizeof *halves));
    if (!values || !halves) status = kd_fail_memory((size_t)most * sizeof(double), path);
    const uint64_t length = header.length;
    if (status == KD_OK) status = write_bytes(file, &length, sizeof length, path);
    if (status == KD_OK) status = write_bytes(file, header.text, header.length, path);
    for (int64_t i = 0; i < n && status == KD_OK; i++) {
        const size_t count = (size_t)entry[i].count;
        status = source(context, i, values);
        if (status == KD_OK && strcmp(entry[i].dtype, "F16") == 0) {
            kd_half_encode(halves, values, entry[i].count);
            status = write_bytes(file, halves, count * sizeof *halves, path);
        } else if (status == KD_OK) {
            status = write_bytes(file, values, count * (size_t)width_of(&entry[i]), path);
        }
    }
    free(header.text);
    free(values);
    free(halves);
    return status;
}

int kd_safetensors_write(const char *path, int64_t n, const kd_safetensors_entry *entry,
                         kd_safetensors_source source, void *context) {
    char part[KD_PATH_MAX];
    if (!kd_rank_writes()) return KD_OK;
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return kd_fail(KD_EIO, "%s: path too long", path);
    FILE *file = fopen(part, "wb");
    if (!file) return kd_fail(KD_EIO, "%s: cannot create: %s", part, strerror(errno));
    int status = write_all(file, part, n, entry, source, context);
    if (fclose(file) != 0 && status == KD_OK)
        status = kd_fail(KD_EIO, "%s: cannot write: %s", part, strerror(errno));
    if (status == KD_OK) return kd_file_commit(part, path);
    unlink(part);
    return status;
}
