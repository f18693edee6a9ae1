/* Weights in fewer bytes, without changing a single one.
 *
 * A product with few rows costs what reading the weights costs. Weights that came from a file in
 * half precision, in bfloat16 or in ggml's block formats need no more than that file had: they are
 * kept a second time as halves, as upper halves of floats, or as blocks of 32 signed bytes and a
 * scale, whichever gives back every value exactly. Weights that fit none stay as they are.
 */
#ifndef KD_AUTOGRAD_COMPACT_H
#define KD_AUTOGRAD_COMPACT_H

#include "autograd/param.h"

enum { KD_COMPACT_BLOCK = 32 };

typedef struct {
    const kd_param *param;
    int64_t version;       /* of the values it was made from     */
    const uint16_t *half;  /* (rows, columns), or NULL; a constant's own, maybe unaligned */
    const uint16_t *brain; /* (rows, columns) bfloat16, or NULL */
    const int8_t *step;    /* (rows, columns), or NULL           */
    const float *scale;    /* (rows, columns / 32), of the steps */
} kd_compact;

/* The compact copy of a matrix (rank 2). *out is NULL when there is none: the values fit no
 * form, rows are no multiple of 32, in double precision, or the processor has no conversions. The
 * caller frees it with free(). KD_EINTERNAL when memory is out. */
int kd_compact_create(kd_compact **out, const kd_param *param);

#endif
