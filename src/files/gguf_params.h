/* The parameters of a model as the tensors of a GGUF file. A matrix W in int8 is two tensors, W of
 * type I8 and "W.scale" (rows) of type F32. */
#ifndef KD_FILES_GGUF_PARAMS_H
#define KD_FILES_GGUF_PARAMS_H

#include "files/encoding.h"
#include "files/ggml.h"
#include "files/gguf.h"

/* list (count of params) points into the bytes of the file. KD_EDATA, naming `source`, unless every
 * parameter has a tensor of its shape in a format that can be read, and `others` tensors, of which
 * the caller knows, are all there are besides. */
int kd_gguf_list_params(kd_stored *list, const kd_gguf *gguf, const kd_params *params,
                        const kd_names *names, uint64_t others, const char *source);

/* A tensor of floats that is no parameter; ne (rank): fastest first. */
typedef struct {
    const char *name;
    int rank;
    uint64_t ne[KD_GGUF_RANK_MAX];
    const float *values;
} kd_gguf_array;

/* Writes the file whole or not at all: the writer's keys, `first`, which may be NULL, and the
 * parameters in order of registration, one at a time in memory, as `how` (count of params) says in
 * formats that GGUF can hold (contract). */
int kd_gguf_write_params(const char *path, kd_gguf_writer *writer, const kd_gguf_array *first,
                         const kd_params *params, const kd_names *names, const kd_encoding *how);

#endif
