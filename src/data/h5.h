/* HDF5 the way every file of ours is written: libver latest, fletcher32, every return code checked,
 * and a message of ours instead of the library's stack.
 *
 * libhdf5 writes no file: one is made in memory and then written by kd_file_replace, sealed. The
 * seal is a 512-byte block in front of the HDF5 data (a "user block", which every HDF5 reader
 * skips) with the length and the CRC-32 of everything behind it. It is checked, in pieces, before
 * libhdf5 sees a byte, so that a damaged file is refused instead of parsed; then libhdf5 reads what
 * it is asked for through the descriptor that was checked (h5_driver.c). A plain HDF5 file has no
 * seal and is opened as it is.
 *
 * Errors: KD_ENOINPUT (not there), KD_EDATA (damaged, or not what is asked for), KD_EIO (reading or
 * writing failed), KD_EINTERNAL (no memory).
 */
#ifndef KD_DATA_H5_H
#define KD_DATA_H5_H

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KD_H5_RANK_MAX = 5 };

/* A new file in memory. kd_h5_commit seals it and makes it `path` ("<path>.part", fsync, rename,
 * fsync of the folder); it ends `file` also when it fails. kd_h5_close instead forgets it. A
 * "<path>.part" that a killed process left is removed. */
int kd_h5_create(hid_t *out, const char *path);
int kd_h5_commit(hid_t file, const char *path);

/* Read only; refuses what is not HDF5, or does not match its seal. */
int kd_h5_open(hid_t *out, const char *path);
void kd_h5_close(hid_t file);
/* Whether an opened file stands behind a seal, which then matched. */
bool kd_h5_is_sealed(hid_t file);

/* A group, created with its parents ("params/stem"). The caller closes with H5Gclose. */
int kd_h5_make_group(hid_t *out, hid_t parent, const char *name);
/* The number of links in the group `name`, and the name of link `index` in order of names. */
int kd_h5_count(hid_t parent, const char *name, int64_t *out);
int kd_h5_child(hid_t parent, const char *name, int64_t index, char *out, size_t capacity);

/* Datasets: contiguous numbers of `type` (a native type, e.g. H5T_NATIVE_FLOAT; `stored` may be a
 * narrower file type), chunked with fletcher32. Parents in `name` are created. Sizes ≥ 1. */
int kd_h5_write(hid_t parent, const char *name, int rank, const int64_t *shape, hid_t stored,
                hid_t type, const void *values);
/* That a dataset has exactly this shape and stored type, and is not larger than its file. For a
 * type of whole numbers, those of any width, sign and byte order will do. */
int kd_h5_expect(hid_t parent, const char *name, int rank, const int64_t *shape, hid_t type);
/* Reads a dataset that is as kd_h5_expect wants it. Nothing is converted but whole numbers of
 * another type, each of which must fit this one. */
int kd_h5_read(hid_t parent, const char *name, int rank, const int64_t *shape, hid_t type,
               void *values);
/* The same with zlib's CRC-32 of the numbers' bytes as they are stored; crc may be NULL. */
int kd_h5_read_crc(hid_t parent, const char *name, int rank, const int64_t *shape, hid_t type,
                   void *values, uint32_t *crc);
/* The shape of a dataset: *rank ≤ KD_H5_RANK_MAX and shape[]. A dataset larger than the file that
 * holds it is refused, so that the caller may allocate what the shape asks for. */
int kd_h5_shape(hid_t parent, const char *name, int *rank, int64_t *shape);
/* Links other than hard ones do not count: they can lead to other files. */
bool kd_h5_has(hid_t parent, const char *name);

/* A group or dataset to hang attributes on. The caller closes with H5Oclose. */
int kd_h5_open_object(hid_t *out, hid_t parent, const char *name);

/* Attributes of a file, group or dataset. Strings are UTF-8 of fixed
 * length, at most capacity−1 bytes; those of variable length (h5py's) are read too. */
int kd_h5_set_string(hid_t object, const char *name, const char *text);
int kd_h5_set_int(hid_t object, const char *name, int64_t value);
int kd_h5_set_double(hid_t object, const char *name, double value);
int kd_h5_set_doubles(hid_t object, const char *name, int count, const double *values);
int kd_h5_get_string(hid_t object, const char *name, char *out, size_t capacity);
int kd_h5_get_int(hid_t object, const char *name, int64_t *out);
int kd_h5_get_double(hid_t object, const char *name, double *out);
/* *count ≤ capacity values of a one-dimensional attribute. */
int kd_h5_get_doubles(hid_t object, const char *name, int capacity, int *count, double *values);
/* The string, whatever its length up to `limit`; the caller frees. */
int kd_h5_get_text(hid_t object, const char *name, size_t limit, char **out);
bool kd_h5_has_attribute(hid_t object, const char *name);

/* IEEE half precision as an HDF5 type (close with H5Tclose). */
hid_t kd_h5_half(void);

#endif
