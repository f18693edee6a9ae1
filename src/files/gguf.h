/* GGUF version 3: keys with typed values, then named tensors. Little-endian, which is all we run
 * on.
 *
 * Every file we write carries the key "distill.checksum" (u64): XXH3-64 of two numbers, XXH3-64 of
 * what stands before its value and of what stands behind. So any flipped bit is noticed. Files from
 * elsewhere have none and can still be parsed; kd_gguf_verify tells.
 */
#ifndef KD_FILES_GGUF_H
#define KD_FILES_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    KD_GGUF_U8,
    KD_GGUF_I8,
    KD_GGUF_U16,
    KD_GGUF_I16,
    KD_GGUF_U32,
    KD_GGUF_I32,
    KD_GGUF_F32,
    KD_GGUF_BOOL,
    KD_GGUF_STRING,
    KD_GGUF_ARRAY,
    KD_GGUF_U64,
    KD_GGUF_I64,
    KD_GGUF_F64,
    KD_GGUF_KIND_COUNT
} kd_gguf_kind;

/* Tensor types that are no number format of weights; see number_format.h. */
typedef enum {
    KD_GGUF_TENSOR_F32 = 0,
    KD_GGUF_TENSOR_F16 = 1,
    KD_GGUF_TENSOR_I8 = 24,
    KD_GGUF_TENSOR_I16 = 25,
    KD_GGUF_TENSOR_I32 = 26
} kd_gguf_tensor_type;

enum { KD_GGUF_ALIGNMENT = 32, KD_GGUF_RANK_MAX = 4, KD_GGUF_NAME_MAX = 63 };

/* --- writing ---------------------------------------------------------------------------------- */

/* Collects keys and tensors, then writes. Keys and tensors come in the order they were added.
 * Failures (memory) stick and are reported by kd_gguf_write. Names are contracts: unique, tensors'
 * at most KD_GGUF_NAME_MAX bytes. */
typedef struct kd_gguf_writer kd_gguf_writer;

/* Starts with general.architecture = `architecture` ([a-z0-9]+), general.quantization_version,
 * general.alignment and distill.checksum. The caller frees. */
int kd_gguf_writer_create(kd_gguf_writer **out, const char *architecture);
void kd_gguf_writer_free(kd_gguf_writer *writer);

void kd_gguf_add_u32(kd_gguf_writer *writer, const char *key, uint32_t value);
void kd_gguf_add_bool(kd_gguf_writer *writer, const char *key, bool value);
void kd_gguf_add_f32(kd_gguf_writer *writer, const char *key, float value);
void kd_gguf_add_f64(kd_gguf_writer *writer, const char *key, double value);
void kd_gguf_add_string(kd_gguf_writer *writer, const char *key, const char *value);
void kd_gguf_add_f32s(kd_gguf_writer *writer, const char *key, const float *value, uint64_t n);
void kd_gguf_add_i32s(kd_gguf_writer *writer, const char *key, const int32_t *value, uint64_t n);
void kd_gguf_add_strings(kd_gguf_writer *writer, const char *key, const char *const *value,
                         uint64_t n);

/* type: a kd_gguf_tensor_type or ggml's number of a block format. ne (rank): sizes, fastest first.
 * `data` is copied; NULL: kd_gguf_write_filled will ask for it. */
void kd_gguf_add_tensor(kd_gguf_writer *writer, const char *name, uint32_t type, int rank,
                        const uint64_t *ne, const void *data);

/* The whole file in memory; the caller frees *out. */
int kd_gguf_finish(char **out, size_t *out_length, kd_gguf_writer *writer);
/* Writes it whole or not at all (kd_file_replace). */
int kd_gguf_write(const char *path, kd_gguf_writer *writer);

/* Puts the data of tensor `index`, in the order they were added, into out (kd_ggml_type_bytes).
 */
typedef int (*kd_gguf_fill)(void *context, uint64_t index, void *out);
/* The same with one tensor at a time in memory. None may have brought its data (contract). */
int kd_gguf_write_filled(const char *path, kd_gguf_writer *writer, kd_gguf_fill fill,
                         void *context);

/* --- reading ---------------------------------------------------------------------------------- */

/* Text inside the file; not 0-terminated. */
typedef struct {
    const char *text;
    uint64_t length;
} kd_gguf_string;

typedef struct {
    kd_gguf_string name;
    kd_gguf_kind kind;
    kd_gguf_kind element;       /* of an ARRAY                                         */
    uint64_t count;             /* of an ARRAY, else 1                                 */
    const unsigned char *value; /* first byte of the value, or of an array's elements  */
} kd_gguf_key;

typedef struct {
    kd_gguf_string name;
    uint32_t type; /* ggml's number */
    int rank;
    uint64_t ne[KD_GGUF_RANK_MAX]; /* fastest first; 1 beyond the rank */
    uint64_t count, bytes;
    const unsigned char *data;
} kd_gguf_tensor;

/* A parsed file. Everything points into the bytes it was parsed from; `own` is NULL where they are
 * somebody else's. */
typedef struct kd_gguf {
    const unsigned char *bytes;
    size_t length;
    uint64_t key_count, tensor_count;
    kd_gguf_key *key;
    kd_gguf_tensor *tensor;
    char *own;
} kd_gguf;

/* Parses `length` bytes, which must outlive *out. Checks every length before use, that names are
 * unique, that offsets are aligned, contiguous and inside, and that nothing is left over. `name` is
 * what messages call the file. KD_EDATA says where and what. The caller frees. */
int kd_gguf_parse(kd_gguf **out, const void *bytes, size_t length, const char *name);
/* The same of a whole file, read into memory: a disk that fails is an error, not a signal as with
 * a map. *out is NULL after an error. */
int kd_gguf_open(kd_gguf **out, const char *path);
void kd_gguf_free(kd_gguf *gguf);

/* KD_EDATA unless the file carries a checksum and it is right. */
int kd_gguf_verify(const kd_gguf *gguf, const char *name);
/* The checksum the bytes should carry, and where it stands (NULL when there is none). */
uint64_t kd_gguf_checksum(const kd_gguf *gguf);
const unsigned char *kd_gguf_checksum_place(const kd_gguf *gguf);

/* NULL when there is none. */
const kd_gguf_key *kd_gguf_find_key(const kd_gguf *gguf, const char *name);
const kd_gguf_tensor *kd_gguf_find_tensor(const kd_gguf *gguf, const char *name);

/* The text under a key of the file `path`, whose checksum is compared where it has one; *out is
 * NULL when there is none. The caller frees. */
int kd_gguf_read_text(char **out, const char *path, const char *key);

/* The next string of a string array; start with *at = key->value. */
kd_gguf_string kd_gguf_next_string(const unsigned char **at);

#endif
