/* What other programs call the parameters of a model, and how they lay them out.
 *
 * A model is described once, by its parameters (kd_params: names and shapes). A program's names are
 * a table: rows of two patterns, in which `*` stands for one component of a name, what is between
 * two dots. The first row that fits decides. A parameter without a row has its own name and layout.
 *
 *     {"*.blocks.*.attn.query.*", "model.*.layers.*.self_attn.q_proj.*"}
 */
#ifndef KD_FILES_NAMES_H
#define KD_FILES_NAMES_H

#include "autograd/param.h"
#include "files/formats/number_format.h"

enum { KD_FILE_NAME_MAX = 128 };

/* How the numbers lie in the file. */
typedef enum {
    KD_ORDER_OURS,
    KD_ORDER_CHANNELS_FIRST, /* ours (out,kernel…,in), theirs (out,in,kernel…): convolutions */
    KD_ORDER_COLUMN,         /* ours (n), theirs (n,1)                                      */
    KD_ORDER_PAIRS           /* of a head's D rows (kd_param.head_rows) i and i + D/2, which rotary
                                positions turn, are theirs 2i and 2i + 1                    */
} kd_order;

/* In what they are written beside matrices of some format. */
typedef enum {
    KD_WRITTEN_AS_CHOSEN, /* the matrices' own; vectors are f32 */
    KD_WRITTEN_AS_HALVES, /* f16, or f32 beside f32             */
    KD_WRITTEN_IN_FULL    /* f32                                */
} kd_written;

typedef struct {
    const char *ours, *theirs; /* theirs NULL: the same */
    kd_order order;
    kd_written written;
} kd_name_row;

typedef struct {
    const kd_name_row *row;
    int count;
    const char *optional;           /* what may be missing in front of their names, or NULL */
    const char *const *passed_over; /* their tensors that no model here has, NULL behind the last;
                                       or NULL                                                 */
} kd_names;

/* A parameter as a file has it. */
typedef struct {
    char name[KD_FILE_NAME_MAX];
    int rank;
    int64_t shape[KD_MAX_RANK]; /* slowest axis first */
    kd_order order;
    kd_written written;
} kd_named;

/* Names longer than KD_FILE_NAME_MAX are a broken contract. */
void kd_names_find(kd_named *out, const kd_names *names, const kd_param *param);

/* All of them, in order of registration; the caller frees. */
int kd_names_list(kd_named **out, const kd_names *names, const kd_params *params);

/* The format in which a parameter is written when matrices are written in this one. */
const kd_number_format *kd_named_format(const kd_named *named, const kd_number_format *matrices);

/* The rows of a parameter: (count) of `length` numbers, in our layout and in theirs. */
typedef struct {
    int64_t count, length;
} kd_rows_of;
kd_rows_of kd_param_rows(const kd_param *param);

/* Where row `row` of a parameter lies in the file. */
int64_t kd_param_row_place(const kd_param *param, kd_order order, int64_t row);

/* Between row `row` of a parameter and the same row in the file's order. */
void kd_param_set_row(kd_param *param, kd_order order, int64_t row, const float *values);
void kd_param_get_row(float *values, const kd_param *param, kd_order order, int64_t row);

/* values (size): the whole parameter in the file's order. */
void kd_param_get(float *values, const kd_param *param, kd_order order);

#endif
