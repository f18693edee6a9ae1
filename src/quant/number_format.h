/* The number formats of ggml in which weights lie in files: a row is cut into blocks, a block has a
 * half-precision scale d (and, in the _1 formats, a half-precision offset m) and small integers.
 *
 *   f32, f16            as they are
 *   q4_0  d·(q − 8)     18 bytes of 32 values        q4_1  d·q + m     20 bytes
 *   q5_0  d·(q − 16)    22 bytes                     q5_1  d·q + m     24 bytes
 *   q8_0  d·q           34 bytes
 *   int8  d·q           4 bytes and one of each value: a row of any length is one block, d is a
 *                       float. Not ggml's; a GGUF file holds it as two tensors (whisper_file.h).
 *
 * One file each: format_<name>.c. Encoders give the same bytes as ggml's reference encoders.
 */
#ifndef KD_QUANT_NUMBER_FORMAT_H
#define KD_QUANT_NUMBER_FORMAT_H

#include <stdint.h>

#define KD_NO_GGML_TYPE UINT32_MAX

typedef struct {
    const char *name;
    uint32_t ggml_type; /* ggml's number of the type, or KD_NO_GGML_TYPE                  */
    int block, bytes;   /* values in a block, and its bytes; block 0: a row is one block  */
    /* n values, a multiple of `block`, or one row. encode is NULL for formats only read. */
    void (*encode)(unsigned char *out, const float *x, int64_t n);
    void (*decode)(float *out, const unsigned char *in, int64_t n);
} kd_number_format;

extern const kd_number_format kd_format_f32, kd_format_f16, kd_format_q4_0, kd_format_q4_1,
    kd_format_q5_0, kd_format_q5_1, kd_format_q8_0, kd_format_int8;

/* Bytes of a row of n values; 0 when the row cannot be cut into blocks. */
uint64_t kd_number_format_bytes(const kd_number_format *format, int64_t n);

/* NULL when there is none of this name, or ggml has none of this number. */
const kd_number_format *kd_number_format_named(const char *name);
const kd_number_format *kd_number_format_typed(uint32_t ggml_type);

#endif
