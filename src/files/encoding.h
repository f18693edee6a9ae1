/* How the parameters of a model lie in a file: a map from tensors to number formats, which may
 * differ from tensor to tensor, and the bytes where a quantizer has chosen them. */
#ifndef KD_FILES_ENCODING_H
#define KD_FILES_ENCODING_H

#include "files/names.h"

/* Of one parameter. */
typedef struct {
    const kd_number_format *format; /* NULL: it is no part of the file */
    const unsigned char *bytes;     /* its rows (kd_param_rows) in our order; NULL: whoever writes
                                       takes the nearest numbers. Always NULL for formats of single
                                       values, f32 and f16, whose order in a file may be another    */
    /* (groups, length of a row) of as many equal groups of rows: what errors cost
     * (number_format.h), where there are no bytes; NULL: all alike. */
    const float *importance;
    int groups;
    float scale; /* of the tensor, of a format that has one (number_format.h) */
} kd_encoding;

/* A model's rule: the format a parameter is meant to have when the matrices are asked for in
 * `matrices`; what has to be f32 is, whatever its shape. NULL leaves it out of files. */
typedef const kd_number_format *kd_format_rule(const kd_param *param,
                                               const kd_number_format *matrices);

/* What parameter i has: that, or of a mixture what is meant for its place (roles.h); where its rows
 * cannot be cut, the fallback (kd_number_format_fit). */
const kd_number_format *kd_encoding_format(const kd_params *params, int i, kd_format_rule *rule,
                                           const kd_number_format *matrices);

/* Of all parameters, which are laid out, the nearest numbers; the caller frees. Matrices that are
 * joined (roles.h) have one scale of the tensor. */
int kd_encodings_nearest(kd_encoding **out, const kd_params *params, kd_format_rule *rule,
                         const kd_number_format *matrices);

/* Bytes of the whole parameter. */
uint64_t kd_encoding_bytes(const kd_encoding *how, const kd_param *param);

/* Puts them into out in the order of the file, in which `values` are, too. Fails as
 * kd_number_format_encode. */
int kd_encoding_put(unsigned char *out, const kd_encoding *how, const kd_param *param,
                    kd_order order, const float *values);

/* A line of the log about what is written to `path` as `how` (parameters; NULL: as meant) says: how
 * many matrices cannot have the format they are meant to have, and what the first has instead;
 * nothing when all can, or when their formats are others altogether. */
void kd_encoding_tell(const char *path, const kd_params *params, const kd_encoding *how,
                      kd_format_rule *rule, const kd_number_format *matrices);

#endif
