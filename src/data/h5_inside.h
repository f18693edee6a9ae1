/* Shared by h5.c and h5_data.c only. */
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

#endif
