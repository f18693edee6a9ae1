/* A format for each matrix of a model, so that its file keeps within a number of bytes and loses as
 * little as it can there.
 *
 * Each matrix t has options: the bytes it takes in a format, and what that format costs, which is
 * taken to add up over the matrices (distill/sensitivity.h measures it in nats of KL):
 *
 *   minimise Σ_t cost_t(f_t)      where Σ_t bytes_t(f_t) + bytes of the rest ≤ budget
 *
 * Lagrange's relaxation of it, min Σ cost + λ·bytes, only ever picks options on the lower convex
 * hull of a matrix' points (bytes, cost). So every matrix begins with its smallest option, and the
 * steps along all hulls are taken in the order of the cost they win per byte, as long as they fit;
 * a matrix whose step does not fit takes no further one. The budget is never passed, and with more
 * bytes the cost is never higher: from the first step on that only the larger budget can take, the
 * smaller one wins less per byte with fewer bytes than that step alone.
 */
#ifndef KD_QUANT_BUDGET_H
#define KD_QUANT_BUDGET_H

#include "quant/quantizer.h"

enum { KD_BUDGET_OPTIONS_MAX = 24, KD_BUDGET_FORMATS_MAX = 16, KD_BUDGET_SIZE_MAX = 24 };

typedef enum {
    KD_SENSITIVITY_GRADIENT, /* by the squares of gradients alone        */
    KD_SENSITIVITY_MEASURED  /* and each matrix rounded once, by itself  */
} kd_sensitivity;

/* How a config says it: exactly one of the first two. */
typedef struct {
    bool asked;
    double bits_per_weight;        /* of all parameters; 0: not said           */
    char size[KD_BUDGET_SIZE_MAX]; /* "30 MB"; "": not said                    */
    int64_t bytes;                 /* the same as a number                     */
    kd_sensitivity sensitivity;
    int64_t samples;  /* calibration samples that it is measured on            */
    int format_count; /* formats that may be taken; 0: all that ggml has       */
    char format[KD_BUDGET_FORMATS_MAX][KD_FORMAT_NAME_MAX];
} kd_budget_spec;

typedef struct {
    const kd_number_format *format;
    int64_t bytes; /* in a GGUF, padded as it is there */
    double cost;   /* nats of KL                       */
} kd_budget_option;

typedef struct {
    char name[KD_NAME_MAX];
    int param; /* its number in the model          */
    int64_t values;
    int count, chosen;
    kd_budget_option option[KD_BUDGET_OPTIONS_MAX]; /* rising bytes */
    double gradient,
        measured; /* cost of the option that the gradients chose, by either; NAN: not */
} kd_budget_matrix;

typedef struct {
    int count;
    kd_budget_matrix *matrix;
    const kd_number_format **format; /* (parameters) of each, the rest's too              */
    int params;
    int64_t values;       /* of all parameters                                           */
    int64_t rest;         /* bytes of what has no choice: norms, biases, positions       */
    int64_t limit, bytes; /* what was asked for, and what the choice comes to            */
    double cost;          /* of the choice                                               */
    double together;      /* KL of the whole choice, measured at once; NAN: it was not   */
} kd_budget;

/* The matrices of a model and their options, without costs. A network of its own files may have
 * int8, too; other programs' models have ggml's formats. The caller frees, also after an error. */
int kd_budget_create(kd_budget **out, const kd_quantizable *model, const kd_budget_spec *spec);
void kd_budget_free(kd_budget *budget);

/* The limit of a spec in bytes. */
int64_t kd_budget_limit(const kd_budget *budget, const kd_budget_spec *spec);

/* That a choice within the spec's limit is possible: KD_ECONFIG below the smallest file, which it
 * names. Asks nothing of the model's values, which need not be there: to be refused before anything
 * is trained. */
int kd_budget_check(const kd_quantizable *model, const kd_budget_spec *spec);

/* Chooses within `limit` bytes. KD_ECONFIG below the smallest, which it names. */
int kd_budget_choose(kd_budget *budget, int64_t limit);

/* The format that most bytes of the choice have: what the file says of itself. */
const kd_number_format *kd_budget_most(const kd_budget *budget);

/* "30 MB", "512 KiB", "1000000" → bytes; −1 when it is none. */
int64_t kd_budget_parse(const char *size);

#endif
