/* The tensors of ggml's files without an index (whisper.cpp's `.bin`): records one behind the
 * other,
 *
 *   i32 rank, i32 length of the name, i32 type; i32 sizes, fastest first; name; data without
 * padding
 */
#ifndef KD_FILES_GGML_RECORDS_H
#define KD_FILES_GGML_RECORDS_H

#include <stdio.h>

#include "files/encoding.h"
#include "files/ggml.h"

/* The bytes of a file, and how far it was read. */
typedef struct {
    const char *name; /* for messages */
    const unsigned char *bytes;
    uint64_t length, at;
} kd_ggml_source;

/* The next n bytes, which are for `what`, or KD_EDATA when the file ends before. */
int kd_ggml_take(kd_ggml_source *source, void *out, uint64_t n, const char *what);

/* Lists the records from source->at to the end: list (count of params) points into the bytes.
 * KD_EDATA unless every parameter has one record of its shape in a format that can be read, and no
 * other is there. */
int kd_ggml_records_list(kd_stored *list, kd_ggml_source *source, const kd_params *params,
                         const kd_names *names);

/* Writing, until something fails; `status` stays. */
typedef struct {
    FILE *file;
    const char *path;
    int status;
} kd_ggml_sink;

void kd_ggml_put(kd_ggml_sink *sink, const void *bytes, size_t length);
void kd_ggml_put_int(kd_ggml_sink *sink, int64_t value);

/* Records of all parameters in order of registration, as `how` (count of params) says. */
void kd_ggml_records_write(kd_ggml_sink *sink, const kd_params *params, const kd_names *names,
                           const kd_encoding *how);

#endif
