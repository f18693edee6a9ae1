/* Writing safetensors files; reading them is safetensors.h. */
#ifndef KD_FILES_SAFETENSORS_WRITE_H
#define KD_FILES_SAFETENSORS_WRITE_H

#include "files/safetensors.h"

/* Fills values of the entry at `index`: floats (entry->count) where its dtype is "F32" or "F16",
 * else its bytes. */
typedef int (*kd_safetensors_source)(void *context, int64_t index, void *values);

/* Writes `n` tensors, whole or not at all, one after the other: only one is in memory at a time. Of
 * the entries, name, dtype (values of "F16" are rounded), rank, shape and count are
 * looked at. The metadata say {"format": "pt"}, which transformers asks for. */
int kd_safetensors_write(const char *path, int64_t n, const kd_safetensors_entry *entry,
                         kd_safetensors_source source, void *context);

#endif
