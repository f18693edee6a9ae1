/* IDX, the format of MNIST: 0, 0, type, rank; `rank` big-endian u32 sizes; the values. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "data/dataset_source.h"

enum { UNSIGNED_BYTES = 8, HEADER_MAX = 4 + 4 * KD_IDX_RANK_MAX };

static const char DEBIAN_FASHION[] = "/usr/share/datasets/fashion-mnist";

static uint32_t big_endian(const uint8_t *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Reads the header from the first `length` bytes of the file: dim[] and the file's whole size. */
static int read_header(kd_idx *out, size_t *total, int rank, const uint8_t *bytes, size_t length,
                       const char *name) {
    size_t header = 4 + 4 * (size_t)rank, values = 1;
    if (length < header)
        return kd_fail(KD_EDATA, "%s: ends after %zu bytes, inside the header of %zu", name, length,
                       header);
    uint32_t magic = big_endian(bytes), right = UNSIGNED_BYTES << 8 | (uint32_t)rank;
    if (magic != right)
        return kd_fail(KD_EDATA,
                       "%s: at byte 0: magic 0x%08x, should be 0x%08x (idx, unsigned bytes, %d "
                       "dimension%s)",
                       name, magic, right, rank, rank == 1 ? "" : "s");
    for (int i = 0; i < rank; i++) {
        uint32_t size = big_endian(bytes + 4 + 4 * i);
        if (size == 0 || __builtin_mul_overflow(values, (size_t)size, &values) ||
            values > UINT_MAX - HEADER_MAX - 1)
            return kd_fail(KD_EDATA,
                           "%s: at byte %d: dimension %d is %u; all must be at least 1 and their "
                           "product below 4 GiB",
                           name, 4 + 4 * i, i, size);
        out->dim[i] = size;
    }
    *total = header + values;
    return KD_OK;
}

static int fail_length(const char *name, const kd_idx *idx, int rank, size_t total,
                       const char *found) {
    char shape[64];
    int used = 0;
    for (int i = 0; i < rank; i++)
        used += snprintf(shape + used, sizeof shape - (size_t)used, "%s%lld", i ? "x" : "",
                         (long long)idx->dim[i]);
    return kd_fail(KD_EDATA, "%s: the header says %s, which makes %zu bytes; %s", name, shape,
                   total, found);
}

static int decode_plain(kd_idx *out, int rank, const uint8_t *bytes, size_t length,
                        const char *name) {
    size_t total, header = 4 + 4 * (size_t)rank;
    int status = read_header(out, &total, rank, bytes, length, name);
    if (status < 0) return status;
    if (length != total) {
        char found[64];
        snprintf(found, sizeof found, "the file has %zu", length);
        return fail_length(name, out, rank, total, found);
    }
    out->values = malloc(total - header);
    if (!out->values) return kd_fail_memory(total - header, name);
    memcpy(out->values, bytes + header, total - header);
    return KD_OK;
}

/* A file of gzip members, one behind the other, which are one stream (RFC 1952, 2.2). */
typedef struct {
    z_stream z;
    bool at_end; /* of the last member */
    const char *name;
    size_t length; /* of the file */
} gzip;

/* Behind a member: begins the next one, or finds the end, where zeros may pad a tape's block. */
static int next_member(gzip *g) {
    const Bytef *at = g->z.next_in;
    uInt zeros = 0;
    if (g->z.avail_in >= 2 && at[0] == 0x1f && at[1] == 0x8b)
        return inflateReset(&g->z) == Z_OK ? KD_OK : kd_fail_memory(1 << 16, "zlib");
    while (zeros < g->z.avail_in && at[zeros] == 0) zeros++;
    g->at_end = true;
    if (zeros == g->z.avail_in) return KD_OK;
    return kd_fail(KD_EDATA, "%s: at byte %zu: %u bytes behind the end of the gzip stream", g->name,
                   g->length - g->z.avail_in, g->z.avail_in);
}

/* The next n bytes of the stream, or what there is: *got. */
static int read_gzip(size_t *got, gzip *g, uint8_t *out, size_t n) {
    g->z.next_out = out;
    g->z.avail_out = (uInt)n;
    int status = KD_OK;
    while (!g->at_end && g->z.avail_out > 0 && status == KD_OK) {
        int result = inflate(&g->z, Z_NO_FLUSH);
        if (result == Z_STREAM_END)
            status = next_member(g);
        else if (result != Z_OK)
            status = kd_fail(KD_EDATA, "%s: gzip stream broken at byte %zu of %zu: %s", g->name,
                             g->length - g->z.avail_in, g->length,
                             g->z.msg ? g->z.msg : "it ends too early");
    }
    *got = n - g->z.avail_out;
    return status;
}

/* The values behind the header of a stream that has just given the header. */
static int inflate_values(kd_idx *out, int rank, gzip *g, size_t total) {
    const size_t header = 4 + 4 * (size_t)rank, count = total - header;
    size_t got;
    /* Deflate packs at most 1032 to 1, so this also bounds the memory asked for. */
    if (count / 1032 > g->length)
        return fail_length(g->name, out, rank, total, "the gzip stream is too short for that");
    out->values = malloc(count + 1); /* one more, to notice what is too much */
    if (!out->values) return kd_fail_memory(count + 1, g->name);
    int status = read_gzip(&got, g, out->values, count + 1);
    if (got > count) return fail_length(g->name, out, rank, total, "the gzip stream has more");
    if (status < 0 || got == count) return status;
    return fail_length(g->name, out, rank, total, "the gzip stream has less");
}

static int decode_gzip(kd_idx *out, int rank, const uint8_t *bytes, size_t length,
                       const char *name) {
    gzip g = {.name = name, .length = length};
    if (length > UINT_MAX) return kd_fail(KD_EDATA, "%s: larger than 4 GiB", name);
    if (inflateInit2(&g.z, 15 + 16) != Z_OK) return kd_fail_memory(1 << 16, "zlib");
    uint8_t header[HEADER_MAX];
    size_t total = 0, got;
    g.z.next_in = (Bytef *)(uintptr_t)bytes; /* zlib reads only, its type lacks the const */
    g.z.avail_in = (uInt)length;
    int status = read_gzip(&got, &g, header, 4 + 4 * (size_t)rank);
    if (status == KD_OK) status = read_header(out, &total, rank, header, got, name);
    if (status == KD_OK) status = inflate_values(out, rank, &g, total);
    inflateEnd(&g.z);
    return status;
}

int kd_idx_decode(kd_idx *out, int rank, const uint8_t *bytes, size_t length, const char *name) {
    KD_CONTRACT(rank >= 1 && rank <= KD_IDX_RANK_MAX, "rank %d", rank);
    *out = (kd_idx){0};
    bool packed = length >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
    int status = packed ? decode_gzip(out, rank, bytes, length, name)
                        : decode_plain(out, rank, bytes, length, name);
    if (status < 0) {
        free(out->values);
        out->values = NULL;
    }
    return status;
}

/* "<folder>/<name>" or the same with .gz: which of them is there. */
static int find_file(char path[KD_PATH_MAX], const char *folder, const char *name) {
    int status = kd_path_join(path, folder, name);
    if (status < 0) return status;
    if (!kd_file_exists(path)) {
        char packed[64];
        snprintf(packed, sizeof packed, "%s.gz", name);
        status = kd_path_join(path, folder, packed);
        if (status < 0) return status;
    }
    if (!kd_file_exists(path)) {
        bool debian = strncmp(folder, DEBIAN_FASHION, strlen(DEBIAN_FASHION)) == 0;
        return kd_fail(KD_ENOINPUT, "%s/%s: not there, nor with .gz; %s", folder, name,
                       debian ? "apt-get install dataset-fashion-mnist brings it"
                              : "the folder must hold the four idx files of the data set "
                                "(Fashion-MNIST: apt-get install dataset-fashion-mnist, then use "
                                "/usr/share/datasets/fashion-mnist)");
    }
    return KD_OK;
}

/* What went wrong when zlib opened or read the file. */
static int fail_gzip(gzFile file, const char *path) {
    int kind = errno == ENOMEM ? Z_MEM_ERROR : Z_ERRNO;
    const char *text = file ? gzerror(file, &kind) : "";
    if (kind == Z_MEM_ERROR) return kd_fail_memory(1 << 16, path);
    if (kind == Z_ERRNO) return kd_fail(KD_EIO, "%s: cannot read: %s", path, strerror(errno));
    return kd_fail(KD_EDATA, "%s: %s", path, text);
}

/* Only the sizes that the header states. */
static int read_sizes(kd_idx *out, int rank, const char *path) {
    uint8_t header[HEADER_MAX];
    size_t total;
    gzFile file = gzopen(path, "rb"); /* which reads plain files as they are */
    const int got = file ? gzread(file, header, 4 + 4 * (unsigned)rank) : -1;
    int status =
        got < 0 ? fail_gzip(file, path) : read_header(out, &total, rank, header, (size_t)got, path);
    gzclose(file);
    return status;
}

static int read_file(kd_idx *out, int rank, const char *path) {
    char *bytes;
    size_t length;
    int status = kd_file_read(&bytes, &length, path, UINT_MAX);
    if (status < 0) return status;
    status = kd_idx_decode(out, rank, (const uint8_t *)bytes, length, path);
    free(bytes);
    return status;
}

static int name_classes(kd_source *out, const kd_data_spec *spec) {
    int given = spec->class_name_count;
    int status = kd_source_make_classes(out, given ? given : 10);
    if (status < 0) return status;
    for (int i = 0; i < out->classes; i++) {
        if (given)
            memcpy(out->class_name[i], spec->class_names[i], KD_CLASS_NAME_MAX);
        else
            snprintf(out->class_name[i], KD_CLASS_NAME_MAX, "%d", i);
    }
    return KD_OK;
}

static int take_labels(kd_source *out, const kd_idx *labels, const char *path) {
    if (labels->dim[0] != out->count)
        return kd_fail(KD_EDATA, "%s: %lld labels for %lld images", path, (long long)labels->dim[0],
                       (long long)out->count);
    out->label = malloc(kd_array_bytes(out->count, sizeof *out->label));
    if (!out->label) return kd_fail_memory((size_t)out->count * sizeof *out->label, path);
    for (int64_t i = 0; i < out->count; i++) {
        if (labels->values[i] >= out->classes)
            return kd_fail(KD_EDATA,
                           "%s: at byte %lld (unpacked): label %d; with %d classes it must be 0 to "
                           "%d (class names in the config set the number)",
                           path, (long long)i + 8, labels->values[i], out->classes,
                           out->classes - 1);
        out->label[i] = labels->values[i];
    }
    return KD_OK;
}

/* Says so when the test pictures at `path` are the training pictures. */
static void warn_of_known(const char *path, const char *folder) {
    char training[KD_PATH_MAX];
    struct stat a, b;
    if (find_file(training, folder, "train-images-idx3-ubyte") < 0) return;
    if (stat(path, &a) != 0 || stat(training, &b) != 0) return;
    if (a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        kd_warn("%s: the test pictures are the training pictures: what a model makes of them says "
                "nothing of others",
                path);
}

int kd_source_idx(kd_source *out, const kd_data_spec *spec, bool train, kd_source_part part) {
    char path[KD_PATH_MAX], label_path[KD_PATH_MAX];
    kd_idx images = {0}, labels = {0};
    int status = name_classes(out, spec);
    out->c = 1;
    if (status < 0 || part == KD_SOURCE_STATED) return status;
    status =
        find_file(path, spec->folder, train ? "train-images-idx3-ubyte" : "t10k-images-idx3-ubyte");
    if (status == KD_OK)
        status = find_file(label_path, spec->folder,
                           train ? "train-labels-idx1-ubyte" : "t10k-labels-idx1-ubyte");
    if (status == KD_OK)
        status =
            part == KD_SOURCE_HEAD ? read_sizes(&images, 3, path) : read_file(&images, 3, path);
    if (status < 0) return status;
    out->bytes = images.values;
    out->count = images.dim[0];
    out->h = images.dim[1];
    out->w = images.dim[2];
    if (part == KD_SOURCE_HEAD) return KD_OK;
    if (!train) warn_of_known(path, spec->folder);
    status = read_file(&labels, 1, label_path);
    if (status == KD_OK) status = take_labels(out, &labels, label_path);
    free(labels.values);
    return status;
}
