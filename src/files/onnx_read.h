/* An ONNX file's tables, as they stand in it: operators, tensors, what goes in and out. The file is
 * taken for hostile. onnx_import.c makes a network of them. */
#ifndef KD_FILES_ONNX_READ_H
#define KD_FILES_ONNX_READ_H

#include <stdbool.h>

#include "base/file.h"
#include "base/protobuf.h"

enum { KD_ONNX_RANK_MAX = 4, KD_ONNX_INPUTS_MAX = 8 };

/* Text inside the file; not 0-terminated. */
typedef struct {
    const char *at;
    size_t length;
} kd_onnx_text;

/* float32 or int64 numbers; of another type, or kept elsewhere, `fault` says so, and the rest is
 * empty: it matters only when it is used. */
typedef struct {
    kd_onnx_text name;
    int rank;
    int64_t shape[KD_ONNX_RANK_MAX], count;
    bool whole;                  /* int64                                        */
    const unsigned char *floats; /* (count) little-endian, maybe unaligned; NULL when whole    */
    int64_t number[8];           /* when whole: the first of them                */
    const char *fault;           /* NULL: none                                   */
} kd_onnx_tensor;

typedef struct {
    kd_onnx_text kind, name, out; /* out: the first result; others have no use here */
    int inputs;
    kd_onnx_text in[KD_ONNX_INPUTS_MAX];
    kd_proto_rest rest; /* the whole message, for its settings                    */
} kd_onnx_operator;

typedef struct {
    const char *path;
    kd_file_map map;
    kd_proto_rest model; /* the whole file */
    int operators, tensors;
    kd_onnx_operator *operator;
    kd_onnx_tensor *tensor; /* initializers, and what operators "Constant" hold       */
    kd_onnx_text input, output;
    int input_rank;
    int64_t input_size[KD_ONNX_RANK_MAX]; /* 0 where the file leaves it open      */
} kd_onnx_tables;

/* Checks every length before use. `bytes` must outlive the tables, whose map stays empty. KD_EDATA.
 * Free with kd_onnx_tables_free. */
int kd_onnx_parse(kd_onnx_tables **out, const void *bytes, size_t length, const char *path);
/* The same of a file, which is mapped. */
int kd_onnx_open(kd_onnx_tables **out, const char *path);
void kd_onnx_tables_free(kd_onnx_tables *tables);

/* The fact `key` beside the graph (metadata_props), "" when it is not there. */
kd_onnx_text kd_onnx_fact(const kd_onnx_tables *tables, const char *key);

bool kd_onnx_is(kd_onnx_text text, const char *word);
bool kd_onnx_same(kd_onnx_text a, kd_onnx_text b);

/* The tensor that is called so, or that an Identity calls so; NULL when there is none. */
const kd_onnx_tensor *kd_onnx_find(const kd_onnx_tables *tables, kd_onnx_text name);

/* The setting `name` of an operator: its first numbers, at most n, into out; how many it has, 0
 * when it is not there, −1 when it is no whole number or list of them. */
int kd_onnx_numbers(const kd_onnx_operator *op, const char *name, int n, int64_t *out);
/* Whether it is a real number, into *out, or a text, into *text. */
bool kd_onnx_real(const kd_onnx_operator *op, const char *name, float *out);
bool kd_onnx_word(const kd_onnx_operator *op, const char *name, kd_onnx_text *out);

#endif
