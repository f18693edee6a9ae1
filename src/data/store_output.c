/* Datasets with checksums, and the teacher's output matrix, which a store of hidden states has
 * once. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/error.h"
#include "data/half.h"
#include "data/store_format.h"

static const char OUTPUT[] = "output";

static uint32_t crc_of(const void *bytes, size_t length) {
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), bytes, length);
}

uint32_t kd_store_tokens_crc(int64_t length, const int32_t *label) {
    return crc_of(label, (size_t)length * sizeof *label);
}

int kd_store_check_crc(hid_t file, const char *path, const char *name, uint32_t crc) {
    hid_t set;
    int64_t stated = 0;
    int status = kd_h5_open_object(&set, file, name);
    if (status < 0) return status;
    status = kd_h5_get_int(set, "crc32", &stated);
    H5Oclose(set);
    if (status == KD_OK && stated != crc)
        status = kd_fail(KD_EDATA, "%s: /%s: damaged: wrong checksum", path, name);
    return status;
}

int kd_store_write_set(hid_t file, const char *name, int rank, const int64_t *shape, hid_t type,
                       const void *values, size_t bytes) {
    hid_t set;
    int status = kd_h5_write(file, name, rank, shape, type, type, values);
    if (status == KD_OK) status = kd_h5_open_object(&set, file, name);
    if (status < 0) return status;
    status = kd_h5_set_int(set, "crc32", crc_of(values, bytes));
    H5Oclose(set);
    return status;
}

/* --- the output matrix ---------------------------------------------------------------------- */

static size_t output_numbers(const kd_store_header *h) {
    return (size_t)h->classes * (size_t)h->width;
}

uint32_t kd_store_output_crc(const kd_store_header *h) {
    return crc_of(h->output, output_numbers(h) * sizeof *h->output);
}

/* The matrix as halves, when every number is one; else NULL. The caller frees. */
static int narrowed(const kd_store_header *h, uint16_t **out) {
    const size_t n = output_numbers(h);
    *out = malloc(n * sizeof **out);
    if (!*out) return kd_fail_memory(n * sizeof **out, "the output matrix");
    kd_half_encode(*out, h->output, (int64_t)n);
    for (size_t i = 0; i < n; i++)
        if (kd_half_to_float((*out)[i]) != h->output[i]) {
            free(*out);
            *out = NULL;
            break;
        }
    return KD_OK;
}

int kd_store_output_write(hid_t file, const kd_store_header *h) {
    const int64_t shape[2] = {h->classes, h->width};
    uint16_t *half;
    int status = narrowed(h, &half);
    if (status < 0) return status;
    hid_t type = half ? kd_h5_half() : H5Tcopy(H5T_IEEE_F32LE);
    status = kd_store_write_set(file, OUTPUT, 2, shape, type, half ? (const void *)half : h->output,
                                output_numbers(h) * (half ? sizeof *half : sizeof *h->output));
    if (type >= 0) H5Tclose(type);
    free(half);
    return status;
}

/* Its numbers into `values` (float) or `half`, one of which is NULL. */
static int read_numbers(hid_t file, const char *path, const kd_store_header *h, float *values,
                        uint16_t *half) {
    const int64_t shape[2] = {h->classes, h->width};
    hid_t type = half ? kd_h5_half() : H5Tcopy(H5T_IEEE_F32LE);
    uint32_t crc;
    int status = kd_h5_read_crc(file, OUTPUT, 2, shape, type, half ? (void *)half : values, &crc);
    if (status == KD_OK) status = kd_store_check_crc(file, path, OUTPUT, crc);
    if (type >= 0) H5Tclose(type);
    return status;
}

int kd_store_output_read(hid_t file, const char *path, const kd_shard_head *head, float **out) {
    const kd_store_header *h = &head->header;
    const int64_t shape[2] = {h->classes, h->width};
    const size_t n = output_numbers(h);
    uint16_t *half = NULL;
    *out = NULL;
    hid_t type = kd_h5_half();
    const bool narrow =
        kd_h5_has(file, OUTPUT) && kd_h5_expect(file, OUTPUT, 2, shape, type) == KD_OK;
    if (type >= 0) H5Tclose(type);
    type = H5Tcopy(H5T_IEEE_F32LE);
    int status = narrow ? KD_OK : kd_h5_expect(file, OUTPUT, 2, shape, type);
    if (type >= 0) H5Tclose(type);
    if (status < 0) return status;
    *out = malloc(n * sizeof **out);
    if (narrow) half = malloc(n * sizeof *half);
    if (!*out || (narrow && !half)) status = kd_fail_memory(n * sizeof **out, "the output matrix");
    if (status == KD_OK) status = read_numbers(file, path, h, *out, half);
    if (status == KD_OK && half) kd_half_decode(*out, half, (int64_t)n);
    free(half);
    for (size_t i = 0; i < n && status == KD_OK; i++)
        if (!isfinite((*out)[i]))
            status = kd_fail(KD_EDATA, "%s: /%s: has a number that is not finite", path, OUTPUT);
    if (status == KD_OK && crc_of(*out, n * sizeof **out) != head->output_crc)
        status =
            kd_fail(KD_EDATA, "%s: /%s: is not the matrix that /output_crc32 names", path, OUTPUT);
    if (status < 0) {
        free(*out);
        *out = NULL;
    }
    return status;
}
