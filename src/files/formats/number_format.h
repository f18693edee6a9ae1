/* The number formats in which weights lie in files, most of them ggml's: a row is cut into blocks,
 * a block has a half-precision scale d (and, in the _1 formats, a half-precision offset m) and
 * small integers.
 *
 *   f32, f16            as they are                 f64, bf16   only read
 *   q4_0  d·(q − 8)     18 bytes of 32 values        q4_1  d·q + m     20 bytes
 *   q5_0  d·(q − 16)    22 bytes                     q5_1  d·q + m     24 bytes
 *   q8_0  d·q           34 bytes
 *   iq4_nl  d·level(q)  18 bytes, 16 uneven levels
 *   q2_K  d·s·q − m·o   84 bytes of 256 values, a scale s and an offset o for each 16
 *   q4_K, q5_K          144 and 176 bytes, the same for each 32
 *   q3_K  d·s·(q − 4)   110 bytes of 256 values, a scale for each 16
 *   q6_K  d·s·(q − 32)  210 bytes
 *   iq4_xs              136 bytes, d·s·level(q), a scale for each 32
 *   mxfp4  2^e·E2M1     17 bytes of 32 values
 *   nvfp4  s·E2M1       36 bytes of 64 values, a scale s in E4M3 for each 16, and a float for all
 *                       of a tensor, which lies apart
 *   int8  d·q           4 bytes and one of each value: a row of any length is one block, d is a
 *                       float. Not ggml's; a GGUF file holds it as two tensors (whisper_file.h)
 *   f8_e4m3  d·E4M3     likewise; GGUF has no float of eight bits (packing.h)
 *   f8_e4m3_tensor      a byte of each value, and a float for all of a tensor, which lies apart
 *   f8_e5m2             a byte, without a scale, as a half-precision number without its last 8 bits
 *
 * Scales of whole tensors, and of f8_e4m3's rows, are powers of two: E4M3 is as fine in every
 * octave, and what is decoded is the same in every reader, in bfloat16 too, in whatever order it
 * multiplies and whether it multiplies or divides.
 *
 * One file each: format_<name>.c. Encoders give the same bytes as ggml's reference encoders, with
 * importance and without; mxfp4's but where a number lies in the middle of two, nvfp4's differ
 * (format_nvfp4.c).
 */
#ifndef KD_FILES_NUMBER_FORMAT_H
#define KD_FILES_NUMBER_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/steps.h"

#define KD_NO_GGML_TYPE UINT32_MAX

/* The numbers that rows may hold once their scales stand: value = scale·(first + code) + offset, or
 * scale·level[code] + offset; for quantizers that choose codes themselves. */
typedef struct {
    int codes;          /* 0 … codes − 1                */
    float first;        /* where level is NULL          */
    const float *level; /* (codes), or NULL             */
    /* scale and offset (n) of the values of an encoded row */
    void (*scales)(float *scale, float *offset, const unsigned char *in, int64_t n);
    /* Gives an encoded row other codes (n); its scales stay. */
    void (*put)(unsigned char *row, const uint8_t *code, int64_t n);
} kd_format_grid;

/* Encoded rows in the parts of which products in whole numbers are made (autograd/packed.h). */
typedef struct {
    kd_steps_kind kind;
    void (*get)(kd_row_steps *out, const unsigned char *in, int64_t n);
} kd_format_steps;

typedef struct kd_mixture kd_mixture; /* mixture.h */

typedef struct kd_number_format {
    const char *name;
    uint32_t ggml_type; /* ggml's number of the type, or KD_NO_GGML_TYPE: its files have it not */
    int file_type;      /* whisper.cpp's number of a file whose matrices have it; −1: none      */
    int gguf_file_type; /* general.file_type of such a GGUF; −1: none                           */
    int block, bytes;   /* values in a block, and its bytes; block 0: a row is one block of a
                           float and one byte for each value, which GGUF holds as two tensors  */
    float largest; /* ≠ 0: a tensor's values are divided by a scale of its own, which makes its
                      largest magnitude at most this, and lies apart (kd_number_format_scale) */
    const struct kd_number_format *fallback; /* for rows that cannot be cut into blocks; NULL
                                                where every row can                            */
    /* Rows of n values, a multiple of `block`. With `importance` (n; NULL: none) they are one row,
     * and errors count as much as its numbers say: Σ importance·(x − x')² is kept small, if the
     * format has a choice. Any x may come; kd_number_format_encode says which cannot be held.
     * NULL for formats only read. */
    void (*encode)(unsigned char *out, const float *x, const float *importance, int64_t n);
    void (*decode)(float *out, const unsigned char *in, int64_t n);
    const kd_format_grid *grid;   /* NULL: numbers have no scale */
    const kd_format_steps *steps; /* NULL: products are made of decoded rows alone */
    /* Not NULL: matrices differ (kd_mixture_format), and what stands above is of most of them, but
     * `encode`, `decode` and `grid`, which are NULL. */
    const kd_mixture *mixture;
} kd_number_format;

/* Every format: its file defines kd_format_<name>. KD_SMALL_FORMATS are those that round; the last
 * ones are only read. */
#define KD_NUMBER_FORMATS(X) X(f32) KD_SMALL_FORMATS(X) X(bf16) X(f64)
#define KD_SMALL_FORMATS(X)                                                                        \
    X(f16)                                                                                         \
    X(q8_0)                                                                                        \
    X(q6_K)                                                                                        \
    X(q5_1)                                                                                        \
    X(q5_K)                                                                                        \
    X(q5_0)                                                                                        \
    X(q4_1)                                                                                        \
    X(q4_K)                                                                                        \
    X(q4_0)                                                                                        \
    X(iq4_nl)                                                                                      \
    X(iq4_xs)                                                                                      \
    X(q3_K)                                                                                        \
    X(q2_K) X(mxfp4) X(nvfp4) X(int8) X(f8_e4m3) X(f8_e4m3_tensor) X(f8_e5m2)

/* What the matrices of a file may have together: mixture.c defines them. */
#define KD_MIXTURES(X) X(q3_K_S) X(q3_K_M) X(q3_K_L) X(q4_K_S) X(q4_K_M) X(q5_K_S) X(q5_K_M)

#define KD_DECLARE_FORMAT(name) extern const kd_number_format kd_format_##name;
KD_NUMBER_FORMATS(KD_DECLARE_FORMAT)
KD_MIXTURES(KD_DECLARE_FORMAT)
#undef KD_DECLARE_FORMAT

/* For tables of keys: "f32|f16|…", of all that matrices can be written in. */
#define KD_FORMAT_CHOICE(name) "|" #name
#define KD_FORMAT_CHOICES      "f32" KD_SMALL_FORMATS(KD_FORMAT_CHOICE) KD_MIXTURES(KD_FORMAT_CHOICE)

enum { KD_FORMAT_NAME_MAX = 16 }; /* with the 0 */

/* Bytes of a row of n values; 0 when the row cannot be cut into blocks. */
uint64_t kd_number_format_bytes(const kd_number_format *format, int64_t n);

/* `format`, or the first of its fallbacks that rows of n values can be cut into. */
const kd_number_format *kd_number_format_fit(const kd_number_format *format, int64_t n);

/* Whether a GGUF file can hold it: as a type of ggml's, or in two tensors. */
static inline bool kd_number_format_in_gguf(const kd_number_format *format) {
    return format->ggml_type != KD_NO_GGML_TYPE || format == &kd_format_int8;
}

/* The scale of a tensor whose largest magnitude is `most`, a power of two: 1 where the format has
 * none of its own. */
float kd_number_format_scale(const kd_number_format *format, double most);

/* Encodes `rows` rows of n values, divided by the tensor's scale; importance (groups,n) of as many
 * equal groups of rows, or NULL. KD_EDATA, naming `name`, when a value would not come back as a
 * number: it is none, in a block, or its block's scale passes what half precision holds. */
int kd_number_format_encode(unsigned char *out, const kd_number_format *format, const float *x,
                            const float *importance, int groups, int64_t rows, int64_t n,
                            float scale, const char *name);

/* Bytes of `count` values of ggml's type in rows of `row`, also of types that are only stored and
 * not computed with (integers, k-quants …); 0 when the type is unknown, does not divide the row, or
 * the size overflows. */
uint64_t kd_ggml_type_bytes(uint32_t ggml_type, uint64_t row, uint64_t count);
/* Its name, "q4_0"; "?" when it is unknown. */
const char *kd_ggml_type_name(uint32_t ggml_type);

/* The i-th of KD_NUMBER_FORMATS; NULL behind the last. */
const kd_number_format *kd_number_format_at(int i);
/* Whether matrices can be written in it. */
static inline bool kd_number_format_written(const kd_number_format *format) {
    return format->encode || format->mixture;
}

/* "f32, f16, …" of what matrices can be written in, or of the types of ggml's; returns out. */
enum { KD_FORMAT_LIST_MAX = 512 };
char *kd_number_format_list_written(char out[KD_FORMAT_LIST_MAX]);
char *kd_number_format_list_ggml(char out[KD_FORMAT_LIST_MAX]);

/* NULL when there is none of this name, mixtures among them, or ggml has none of this number. */
const kd_number_format *kd_number_format_named(const char *name);
const kd_number_format *kd_number_format_typed(uint32_t ggml_type);

#endif
