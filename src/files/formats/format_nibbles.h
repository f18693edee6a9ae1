/* Inside q4_0, q4_1, q5_0 and q5_1, which are one format with and without offsets and fifth bits:
 * of 32 values
 *
 *   half d; with offsets, half m; with fifth bits, 4 bytes, bit j of value j; 16 bytes, byte j with
 *   the low four bits of value j in its low and of value j + 16 in its high half
 *
 *   without offsets  value = d·(q − most), d = (the value of largest magnitude)/−most, so that this
 *                    value is exact; q = x/d + most rounded
 *   with offsets     value = d·q + m, m = the least value, d = (the largest − m)/most; q = (x −
 * m)/d rounded
 *
 * With importance d, and m ≤ 0, are searched (format_search.h). */
#ifndef KD_FILES_FORMAT_NIBBLES_H
#define KD_FILES_FORMAT_NIBBLES_H

#include "files/formats/format_block.h"

typedef struct {
    bool offset, fifth;
    int most; /* without offsets codes are 0 … 2·most − 1, with offsets 0 … most */
} kd_nibbles;

static inline int kd_nibbles_bytes(kd_nibbles how) {
    return 2 + 2 * how.offset + 4 * how.fifth + KD_FORMAT_BLOCK / 2;
}

void kd_nibbles_encode(unsigned char *out, const float *x, const float *importance, int64_t n,
                       kd_nibbles how);
void kd_nibbles_decode(float *out, const unsigned char *in, int64_t n, kd_nibbles how);
/* For products in whole numbers (number_format.h). */
void kd_nibbles_steps(kd_row_steps *out, const unsigned char *in, int64_t n, kd_nibbles how);
/* For grids, likewise. */
void kd_nibbles_scales(float *scale, float *offset, const unsigned char *in, int64_t n,
                       kd_nibbles how);
void kd_nibbles_put(unsigned char *row, const uint8_t *code, int64_t n, kd_nibbles how);

/* The row of such a format, and the functions in it. */
#define KD_NIBBLES_FORMAT(format, type, file, gguf_file, has_offset, has_fifth, highest)           \
    enum { BYTES = 2 + 2 * (has_offset) + 4 * (has_fifth) + KD_FORMAT_BLOCK / 2 };                 \
    static const kd_nibbles HOW = {has_offset, has_fifth, highest};                                \
    static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {   \
        kd_nibbles_encode(out, x, importance, n, HOW);                                             \
    }                                                                                              \
    static void decode(float *out, const unsigned char *in, int64_t n) {                           \
        kd_nibbles_decode(out, in, n, HOW);                                                        \
    }                                                                                              \
    static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {          \
        kd_nibbles_scales(scale, offset, in, n, HOW);                                              \
    }                                                                                              \
    static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {                    \
        kd_nibbles_put(row, code, n, HOW);                                                         \
    }                                                                                              \
    static void get_steps(kd_row_steps *out, const unsigned char *in, int64_t n) {                 \
        kd_nibbles_steps(out, in, n, HOW);                                                         \
    }                                                                                              \
    static const kd_format_steps STEPS = {{.bits = (has_fifth) ? 5 : 4,                            \
                                           .zero = (has_offset) ? 0 : (highest),                   \
                                           .offset = (has_offset)},                                \
                                          get_steps};                                              \
    static const kd_format_grid GRID = {.codes = (has_offset) ? (highest) + 1 : 2 * (highest),     \
                                        .first = (has_offset) ? 0 : -(highest),                    \
                                        .scales = scales,                                          \
                                        .put = put_codes};                                         \
    const kd_number_format kd_format_##format = {.name = #format,                                  \
                                                 .ggml_type = type,                                \
                                                 .file_type = file,                                \
                                                 .gguf_file_type = gguf_file,                      \
                                                 .block = KD_FORMAT_BLOCK,                         \
                                                 .bytes = BYTES,                                   \
                                                 .fallback = &kd_format_f16,                       \
                                                 .encode = encode,                                 \
                                                 .decode = decode,                                 \
                                                 .grid = &GRID,                                    \
                                                 .steps = &STEPS}

#endif
