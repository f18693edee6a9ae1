/* safetensors: u64 header length, a JSON header, then the tensors' bytes without holes.
 *
 * The file is mapped; a tensor is read when it is asked for.
 */
#ifndef KD_FILES_SAFETENSORS_H
#define KD_FILES_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "files/stored.h"

enum { KD_SAFETENSORS_RANK_MAX = 8 };

typedef struct {
    const char *name;  /* UTF-8, without escapes                             */
    const char *dtype; /* as in the file: "F32", "F16", "BF16", "I64" …      */
    int rank;          /* 0 for a single number                              */
    int64_t shape[KD_SAFETENSORS_RANK_MAX];
    int64_t count;       /* product of the shape                               */
    uint64_t begin, end; /* bytes, from the start of the tensors' data         */
} kd_safetensors_entry;

typedef struct kd_safetensors kd_safetensors;

/* Checks the whole header: its length, its JSON, duplicate names, that each tensor's bytes are what
 * its shape and dtype make, and that together they fill the file without holes or overlaps. The
 * caller closes. Errors: KD_ENOINPUT, KD_EIO, KD_EDATA. */
int kd_safetensors_open(kd_safetensors **out, const char *path);
/* The same for a whole file in memory, which is borrowed until the close; `name` is for messages.
 */
int kd_safetensors_decode(kd_safetensors **out, const void *bytes, size_t length, const char *name);
void kd_safetensors_close(kd_safetensors *file);

/* Tensors in the order of their bytes. */
int64_t kd_safetensors_count(const kd_safetensors *file);
const kd_safetensors_entry *kd_safetensors_at(const kd_safetensors *file, int64_t index);

/* The tensor called `name`, or NULL. */
const kd_safetensors_entry *kd_safetensors_find(const kd_safetensors *file, const char *name);

/* Where a tensor's bytes lie until the close. */
const unsigned char *kd_safetensors_bytes(const kd_safetensors *file,
                                          const kd_safetensors_entry *entry);

/* Where the numbers of an F32, F16, BF16, F64, F8_E4M3 or F8_E5M2 tensor lie, in KD_ORDER_OURS.
 * KD_EDATA for another dtype. */
int kd_safetensors_stored(kd_stored *out, const kd_safetensors *file,
                          const kd_safetensors_entry *entry);

/* The values of such a tensor as floats, into out (entry->count). */
int kd_safetensors_read(const kd_safetensors *file, const kd_safetensors_entry *entry, float *out);

#endif
