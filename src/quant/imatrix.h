/* An importance matrix in a file: the sums of squares of what is multiplied by each matrix, as
 * llama.cpp writes and reads them. A GGUF with general.type = "imatrix", and for each matrix, by
 * the name it has in the model's GGUF, two tensors of float32:
 *
 *   NAME.in_sum2  (groups, length of a row)  Σ x²     of every input
 *   NAME.counts   (groups, 1)                rows that were summed
 *
 * imatrix.datasets (strings) says of what, imatrix.chunk_count and .chunk_size (u32) of how much.
 * Ours, where it is known: distill.imatrix.model, the hash of the parameters that were looked at,
 * which is compared where the file is used, and distill.imatrix.data, that of what they were shown.
 */
#ifndef KD_QUANT_IMATRIX_H
#define KD_QUANT_IMATRIX_H

#include "base/hash.h"
#include "files/encoding.h"
#include "files/gguf.h"
#include "quant/input_squares.h"

typedef struct {
    const char *dataset;
    uint32_t chunks, chunk_size; /* samples, and the most tokens of one */
    kd_hash model, data;         /* kd_params_hash of the parameters; of what they were shown */
} kd_imatrix_info;

/* Of all matrices of which something was seen; `seen` is not finished. Whole or not at all. */
int kd_imatrix_write(const char *path, const kd_input_squares *seen, const kd_params *params,
                     const kd_names *names, const kd_imatrix_info *info);

/* For a model whose parameters have the hash `model`; *out is finished, the caller frees. KD_EDATA
 * when the file is damaged, was made from other parameters, or has nothing of these. Lines of the
 * log say how many of its matrices are none of the model's, and when it does not say what it was
 * made from.
 */
int kd_imatrix_read(kd_input_squares **out, const char *path, const kd_params *params,
                    const kd_names *names, kd_hash model);
int kd_imatrix_parse(kd_input_squares **out, const kd_gguf *file, const char *path,
                     const kd_params *params, const kd_names *names, kd_hash model);

/* Errors of parameters count as `seen`, which is borrowed, has it: how (parameters). */
void kd_imatrix_weigh(kd_encoding *how, const kd_input_squares *seen, const kd_params *params);

#endif
