/* Shared by the h5*.c only. */
#ifndef KD_DATA_H5_INSIDE_H
#define KD_DATA_H5_INSIDE_H

#include "data/h5.h"

/* Stops the library from printing its error stack, and from cleaning up at exit. What may be a
 * thread's first call of the library does this first: making or opening a file, making a type. */
void kd_h5_quiet(void);

/* Whether this much memory can be had now; otherwise the message says that it cannot. */
bool kd_h5_memory_is_left(size_t bytes);

/* kd_fail with the file and path of `name` in `object` (NULL: the object itself), what was being
 * done, and libhdf5's innermost message. Call it before any other function of the library. */
int kd_h5_fail(int status, hid_t object, const char *name, const char *doing);

/* "runs/a/last.h5: /params/fc.weight" into out (capacity KD_H5_PLACE_MAX); returns out. */
enum { KD_H5_PLACE_MAX = 1024 };
const char *kd_h5_place(char *out, hid_t object, const char *name);

/* --- h5_driver.c ---------------------------------------------------------------------------- */

/* Opens the `size` bytes of HDF5 from byte `from` of a file on. `fd` is closed with it, or at once
 * when there is an error. `path` is for messages, `name` for the library. */
int kd_h5_open_reader(hid_t *out, int fd, int64_t from, int64_t size, const char *path,
                      const char *name);

/* Why the file of this thread's last failed read could not be read; NULL when none failed since the
 * last question. */
const char *kd_h5_read_fault(void);

/* Where in the file the chunk lies that begins with the number `first` of a chunked dataset; that
 * of a contiguous one. −1: nowhere, or a filter was left out. */
int64_t kd_h5_place_of_chunk(hid_t set, const hsize_t *first);
int64_t kd_h5_place_of_all(hid_t set);
/* Bytes of the file that an object lies in, with the seal. */
int64_t kd_h5_file_size(hid_t object);

/* --- h5_integer.c --------------------------------------------------------------------------- */

/* How a whole number is stored; size 0: not a whole number. */
typedef struct {
    size_t size; /* 1, 2, 4 or 8 bytes */
    bool big, has_sign;
} kd_h5_integer;

/* False when the type is no whole number of these sizes, in one of both byte orders, without bits
 * to spare. */
bool kd_h5_describe_integer(kd_h5_integer *out, hid_t type);

/* n numbers at `raw` as those of the little-endian `to`. The first that does not fit, whose text
 * goes to `says`, or n. */
size_t kd_h5_convert(void *values, const kd_h5_integer *to, const void *raw,
                     const kd_h5_integer *from, size_t n, char says[32]);

/* --- h5_data.c ------------------------------------------------------------------------------ */

/* Opens the dataset and checks its shape and type; *integer says how to convert its numbers, and
 * has size 0 when they are of `type` as they are stored. Close both, also after an error. */
int kd_h5_open_expected(hid_t *set, hid_t *stored, kd_h5_integer *integer, hid_t parent,
                        const char *name, int rank, const int64_t *shape, hid_t type);
void kd_h5_close_both(hid_t set, hid_t stored);

#endif
