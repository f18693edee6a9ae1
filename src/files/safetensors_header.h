/* Inside files/: the JSON header of a safetensors file. */
#ifndef KD_FILES_SAFETENSORS_HEADER_H
#define KD_FILES_SAFETENSORS_HEADER_H

#include "files/safetensors.h"

/* The dtypes that have a way to float; every other known one is OTHER. */
typedef enum {
    KD_SAFETENSORS_OTHER,
    KD_SAFETENSORS_F32,
    KD_SAFETENSORS_F16,
    KD_SAFETENSORS_BF16,
    KD_SAFETENSORS_F64
} kd_safetensors_type;

kd_safetensors_type kd_safetensors_type_of(const char *dtype);
size_t kd_safetensors_width(kd_safetensors_type type); /* bytes; OTHER: 0 */

/* Parses `text` (length bytes and a 0 behind), decoding its strings in place: the entries point
 * into it. Each entry's shape, dtype and bytes agree; whether they fill the file is not checked
 * here. The caller frees *entries, on errors too. `name` is of the file. */
int kd_safetensors_parse(kd_safetensors_entry **entries, int64_t *count, char *text, size_t length,
                         const char *name);

#endif
