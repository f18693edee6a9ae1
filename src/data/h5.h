/* HDF5 the way every file of ours is written: libver latest, fletcher32, every return code checked,
 * and a message of ours instead of the library's stack. */
#ifndef KD_DATA_H5_H
#define KD_DATA_H5_H

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "<path>.part" is created; kd_h5_commit makes it `path` (flush, close, fsync, rename, fsync of the
 * folder). kd_h5_abandon closes and removes it. */
int kd_h5_create(hid_t *out, const char *path);
int kd_h5_commit(hid_t file, const char *path);
void kd_h5_abandon(hid_t file, const char *path);

int kd_h5_open(hid_t *out, const char *path); /* read only; refuses what is not HDF5 */
void kd_h5_close(hid_t file);

/* A group, created with its parents ("params/stem"). The caller closes with H5Gclose. */
int kd_h5_make_group(hid_t *out, hid_t parent, const char *name);

/* Datasets: contiguous numbers of `type` (a native type, e.g. H5T_NATIVE_FLOAT; `stored` may be a
 * narrower file type), chunked with fletcher32. Parents in `name` are created. */
int kd_h5_write(hid_t parent, const char *name, int rank, const int64_t *shape, hid_t stored,
                hid_t type, const void *values);
/* Reads a dataset whose shape must be exactly this. */
int kd_h5_read(hid_t parent, const char *name, int rank, const int64_t *shape, hid_t type,
               void *values);
/* The shape of a dataset: *rank ≤ 5 and shape[]. */
int kd_h5_shape(hid_t parent, const char *name, int *rank, int64_t *shape);
bool kd_h5_has(hid_t parent, const char *name);

/* Attributes on `object`. Strings are UTF-8, at most capacity−1 bytes. */
int kd_h5_set_string(hid_t object, const char *name, const char *text);
int kd_h5_set_int(hid_t object, const char *name, int64_t value);
int kd_h5_set_double(hid_t object, const char *name, double value);
int kd_h5_get_string(hid_t object, const char *name, char *out, size_t capacity);
int kd_h5_get_int(hid_t object, const char *name, int64_t *out);
int kd_h5_get_double(hid_t object, const char *name, double *out);

/* IEEE half precision as an HDF5 type (close with H5Tclose). */
hid_t kd_h5_half(void);

#endif
