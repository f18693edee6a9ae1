/* Parameters as they lie in the bytes of a file. Each kind of file lists its tensors as kd_stored
 * and checks them against the model; what is done with them afterwards knows no kind of file. */
#ifndef KD_FILES_STORED_H
#define KD_FILES_STORED_H

#include "files/names.h"

typedef struct {
    const kd_number_format *format;       /* or of format_parts.h                          */
    const unsigned char *bytes;           /* of all numbers, row after row; may be unaligned */
    const kd_number_format *scale_format; /* of scales that lie apart; NULL: none do          */
    const unsigned char *scales;          /* row after row                                */
    int64_t group;      /* so many neighbours in a row, which it divides, share one */
    float tensor_scale; /* of all numbers; 0: none                      */
    kd_order order;
} kd_stored;

/* The file's row `row` of n numbers, in the file's order → out. */
void kd_stored_row(float *out, const kd_stored *stored, int64_t row, int64_t n);

/* Matrices stay in the file: before the layout, those parameters that may be constants
 * (kd_param.by_rows) and lie there in our order, but for that of rows, become such, whose rows are
 * decoded when they are read. *out holds what that takes; the caller frees it, after the parameters
 * and before the bytes of the file. In double precision nothing stays. */
int kd_stored_keep(void **out, kd_params *params, const kd_stored *list);

/* Fills the values of all parameters, which are laid out, from list (count), but for constants;
 * that all are finite is checked: KD_EDATA names `source`, the parameter and the place. */
int kd_stored_load(kd_params *params, const kd_stored *list, const char *source);

#endif
