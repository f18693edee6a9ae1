/* CIFAR-10, binary version: records of one label byte and 3 planes (R, G, B) of 32x32 bytes. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "data/dataset_source.h"

enum { CLASSES = 10, SIDE = 32, PLANE = SIDE * SIDE, OFFICIAL_RECORDS = 10000 };

static const char *const CLASS_NAME[CLASSES] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                                "dog",      "frog",       "horse", "ship", "truck"};

int kd_cifar_count(int64_t *count, int64_t length, const char *name) {
    if (length == 0 || length % KD_CIFAR_RECORD != 0)
        return kd_fail(KD_EDATA,
                       "%s: %lld bytes; CIFAR-10 binary files are whole records of %d bytes (the "
                       "record at byte %lld is cut)",
                       name, (long long)length, KD_CIFAR_RECORD,
                       (long long)(length - length % KD_CIFAR_RECORD));
    *count = length / KD_CIFAR_RECORD;
    return KD_OK;
}

int kd_cifar_decode(int32_t *label, uint8_t *pixels, const uint8_t *bytes, int64_t count,
                    const char *name) {
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *record = bytes + i * KD_CIFAR_RECORD;
        uint8_t *pixel = pixels + i * KD_CIFAR_PIXELS;
        if (record[0] >= CLASSES)
            return kd_fail(KD_EDATA, "%s: at byte %lld: label %d, should be 0 to 9", name,
                           (long long)i * KD_CIFAR_RECORD, record[0]);
        label[i] = record[0];
        for (int p = 0; p < PLANE; p++)
            for (int c = 0; c < 3; c++) pixel[p * 3 + c] = record[1 + c * PLANE + p];
    }
    return KD_OK;
}

/* Only how many records there are. */
static int add_count(kd_source *out, const char *path) {
    struct stat info;
    int64_t count = 0;
    if (stat(path, &info) != 0) return kd_fail(KD_EIO, "%s: %s", path, strerror(errno));
    int status = kd_cifar_count(&count, info.st_size, path);
    out->count += count;
    return status;
}

/* Appends one file's records to `out`. */
static int append_file(kd_source *out, const char *folder, const char *name, kd_source_part part) {
    char path[KD_PATH_MAX], *bytes = NULL;
    size_t length;
    int64_t count = 0;
    int status = kd_path_join(path, folder, name);
    if (status < 0) return status;
    if (!kd_file_exists(path))
        return kd_fail(KD_ENOINPUT,
                       "%s: not there; the folder must hold data_batch_1.bin to data_batch_5.bin "
                       "and test_batch.bin of cifar-10-binary.tar.gz "
                       "(https://www.cs.toronto.edu/~kriz/cifar.html)",
                       path);
    if (part == KD_SOURCE_HEAD) return add_count(out, path);
    status = kd_file_read(&bytes, &length, path, INT_MAX);
    if (status == KD_OK) status = kd_cifar_count(&count, (int64_t)length, path);
    if (status < 0) goto done;
    if (count != OFFICIAL_RECORDS)
        kd_warn("%s: %lld records; the official file has %d", path, (long long)count,
                OFFICIAL_RECORDS);
    const int64_t total = out->count + count;
    uint8_t *pixels = realloc(out->bytes, kd_array_bytes(total, KD_CIFAR_PIXELS));
    if (pixels) out->bytes = pixels;
    int32_t *label = realloc(out->label, kd_array_bytes(total, sizeof *label));
    if (label) out->label = label;
    if (!pixels || !label) {
        status = kd_fail_memory(kd_array_bytes(total, KD_CIFAR_PIXELS), path);
        goto done;
    }
    status = kd_cifar_decode(label + out->count, pixels + out->count * KD_CIFAR_PIXELS,
                             (const uint8_t *)bytes, count, path);
    out->count += count;
done:
    free(bytes);
    return status;
}

int kd_source_cifar10(kd_source *out, const kd_data_spec *spec, bool train, kd_source_part part) {
    out->h = out->w = SIDE;
    out->c = 3;
    int status = kd_source_make_classes(out, CLASSES);
    if (status < 0) return status;
    for (int i = 0; i < CLASSES; i++)
        snprintf(out->class_name[i], KD_CLASS_NAME_MAX, "%s", CLASS_NAME[i]);
    if (part == KD_SOURCE_STATED) return KD_OK;
    if (!train) return append_file(out, spec->folder, "test_batch.bin", part);
    for (int i = 1; i <= 5 && status == KD_OK; i++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d.bin", i);
        status = append_file(out, spec->folder, name, part);
    }
    return status;
}
