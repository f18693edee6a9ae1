/* The number formats of ggml in which weights lie in files: a row is cut into blocks, a block has a
 * half-precision scale d (and, in the _1 formats, a half-precision offset m) and small integers.
 *
 *   f32, f16            as they are                 f64, bf16   only read
 *   q4_0  d·(q − 8)     18 bytes of 32 values        q4_1  d·q + m     20 bytes
 *   q5_0  d·(q − 16)    22 bytes                     q5_1  d·q + m     24 bytes
 *   q8_0  d·q           34 bytes
 *   int8  d·q           4 bytes and one of each value: a row of any length is one block, d is a
 *                       float. Not ggml's; a GGUF file holds it as two tensors (whisper_file.h).
 *
 * One file each: format_<name>.c. Encoders give the same bytes as ggml's reference encoders.
 */
#ifndef KD_FILES_NUMBER_FORMAT_H
#define KD_FILES_NUMBER_FORMAT_H

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

/* Every format: its file defines kd_format_<name>. */
#define KD_NUMBER_FORMATS(X)                                                                       \
    X(f32) X(f16) X(bf16) X(f64) X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q8_0) X(int8)

#define KD_DECLARE_FORMAT(name) extern const kd_number_format kd_format_##name;
KD_NUMBER_FORMATS(KD_DECLARE_FORMAT)
#undef KD_DECLARE_FORMAT

/* Bytes of a row of n values; 0 when the row cannot be cut into blocks. */
uint64_t kd_number_format_bytes(const kd_number_format *format, int64_t n);

/* Bytes of `count` values of ggml's type in rows of `row`, also of types that are only stored and
 * not computed with (integers, k-quants …); 0 when the type is unknown, does not divide the row, or
 * the size overflows. */
uint64_t kd_ggml_type_bytes(uint32_t ggml_type, uint64_t row, uint64_t count);

/* NULL when there is none of this name, or ggml has none of this number. */
const kd_number_format *kd_number_format_named(const char *name);
const kd_number_format *kd_number_format_typed(uint32_t ggml_type);

#endif
