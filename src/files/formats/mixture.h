/* Files whose matrices have several formats, by what a matrix does and in which layer: llama.cpp's
 * Q3_K_S … Q6_K. A mixture is a row of kd_number_format that has a name and the numbers of most of
 * its matrices' format; kd_mixture_format says which format a matrix has.
 */
#ifndef KD_FILES_FORMATS_MIXTURE_H
#define KD_FILES_FORMATS_MIXTURE_H

#include "files/formats/number_format.h"

/* What a matrix does. */
typedef enum {
    KD_ROLE_OTHER,
    KD_ROLE_EMBEDDING, /* of tokens, where there is an output matrix beside it */
    KD_ROLE_OUTPUT,    /* or the embedding that is both                         */
    KD_ROLE_VALUE,     /* of attention                                          */
    KD_ROLE_OUT,       /* behind attention's heads                              */
    KD_ROLE_DOWN       /* the last of an MLP                                    */
} kd_role;

/* Where it stands: in layer 0 … layers − 1 of its stack; layers 0: in none. */
typedef struct {
    kd_role role;
    int layer, layers;
} kd_place;

/* `format` itself, or what a mixture has there; rows that cannot be cut have their fallback
 * (kd_number_format_fit) besides. */
const kd_number_format *kd_mixture_format(const kd_number_format *format, const kd_place *place);

#endif
