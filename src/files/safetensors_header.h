/* Inside files/: the JSON header of a safetensors file. */
#ifndef KD_FILES_SAFETENSORS_HEADER_H
#define KD_FILES_SAFETENSORS_HEADER_H

#include "files/safetensors.h"

/* NULL for a dtype whose numbers are not read. */
const kd_number_format *kd_safetensors_format(const char *dtype);

/* Bytes of a number; 0 of an unknown dtype. */
int kd_safetensors_width(const char *dtype);

/* Parses `text` (length bytes and a 0 behind), decoding its strings in place: the entries point
 * into it. Each entry's shape, dtype and bytes agree; whether they fill the file is not checked
 * here. The caller frees *entries, on errors too. `name` is of the file. */
int kd_safetensors_parse(kd_safetensors_entry **entries, int64_t *count, char *text, size_t length,
                         const char *name);

#endif
