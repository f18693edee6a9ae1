/* A quantizer: what it must see before it can round, how it rounds, what the model computes while
 * it is trained, how it is written. Each is a row in a file of its own:
 *
 *   integers   a network of net.h computes in whole numbers, weights and activations on grids
 *              (qnet.h); it must see the activations; its file is a blob (blob.h)
 *   nearest    each weight goes to the nearest number of its tensor's format, whatever the model;
 *              sees nothing; its file is any that holds such formats
 *   importance likewise, but the scales are those that lose least where inputs are large; sees the
 *              inputs of matrices
 *   gptq       each column's error is made good by the columns behind it (gptq.h); sees the
 *              products of inputs, and rounds once: for weights that are not trained any more
 *   awq        columns of large inputs are scaled to lose less (awq.h), and what makes those inputs
 * is divided by it, in the model's own values until it is freed; likewise
 *   awq_gptq   columns scaled as awq does, rounded as gptq does
 *
 * Rows of the second kind, which round weights and leave the forward alone, are one function:
 * KD_ROUNDED_WEIGHTS (rounded_weights.h) brings the rest.
 *
 * A quantized model, in order:
 *
 *     kd_quantized_create(&q, …);         beside the model, before its parameters are laid out
 *     kd_params_layout(…);                and values copied from the float model
 *     kd_quantized_start(q);              takes its memory
 *     … forward in KD_QUANT_OBSERVE …     some samples, when how->sees is not nothing
 *     kd_quantized_calibrated(q);         KD_CALIBRATE_AGAIN: the samples once more, then this
 *     kd_quantized_round(q);              after every change of weights: updates, checkpoints read
 *     … kd_quantized_forward, backward, kd_optimizer_update …
 *     kd_quantized_round(q);              then written: kd_quantized_encodings, or how->write
 *     kd_quantized_free(q);               before the model
 */
#ifndef KD_QUANT_QUANTIZER_H
#define KD_QUANT_QUANTIZER_H

#include "files/encoding.h"
#include "layers/scaling.h"
#include "quant/awq.h"
#include "quant/blob.h"
#include "quant/gptq.h"
#include "quant/input_products.h"
#include "quant/input_squares.h"
#include "quant/qnet.h"

/* What calibration samples are run for. */
typedef enum {
    KD_SEES_NOTHING,
    KD_SEES_INPUTS,     /* what is multiplied by each matrix (input_squares.h)          */
    KD_SEES_PRODUCTS,   /* the same in pairs (input_products.h); rounds when calibrated  */
    KD_SEES_ACTIVATIONS /* outputs of nodes, in the quantizer's own forward */
} kd_quantizer_sight;

typedef struct kd_quantizer kd_quantizer;

/* How a config says it. */
typedef struct {
    const kd_quantizer *how;
    kd_quant_spec integers;         /* of kd_quantizer_integers                         */
    const kd_number_format *format; /* of the matrices, for those that round weights    */
    /* (parameters) of each, NULL where it is no part of the file; or NULL: as `format` and the rule
     * of the model have it. Read at the start, and not kept. */
    const kd_number_format *const *formats;
    kd_gptq_spec gptq; /* of those that round by gptq.h                    */
} kd_quantize_spec;

/* A model of any task. All is borrowed. */
typedef struct {
    kd_params *params;
    kd_net *net;              /* NULL: the model is written as code, and computes by itself */
    kd_format_rule *rule;     /* which parameter may have which format; NULL: none has any  */
    kd_scalings_of *scalings; /* where columns may be scaled; NULL: nowhere                 */
    const void *layers;       /* what it is asked of                                        */
} kd_quantizable;

/* A model that is quantized; each row begins its own struct with it. */
typedef struct {
    const kd_quantizer *how;
    kd_quantize_spec spec;
    kd_quantizable model;
} kd_quantized;

/* Weights to be rounded: parameter i of the model, as float rows. */
typedef struct kd_rounding {
    const kd_quantized *model;
    int param;
    const kd_input_squares *seen; /* of KD_SEES_INPUTS, else NULL            */
    const kd_real *products;      /* (groups,n,n) of KD_SEES_PRODUCTS, or NULL */
    int groups;                   /* equal parts of the rows                 */
    bool scores;                  /* of a matrix that makes queries or keys  */
    const kd_number_format *format;
    int64_t rows, n;
    const kd_real *w;     /* (rows,n)                                   */
    unsigned char *bytes; /* out: the rows, encoded, behind each other  */
    float *scratch;       /* (KD_ROUNDING_LANES,n), for conversions      */
} kd_rounding;

struct kd_quantizer {
    const char *name;
    kd_quantizer_sight sees;
    bool makes_network;  /* it needs a net, and computes by a forward of its own */
    bool scales_columns; /* by awq.h, before it rounds                           */
    bool by_gptq;        /* it rounds by gptq.h, as kd_quantize_spec.gptq says    */

    int (*create)(kd_quantized **out, const kd_quantizable *model, const kd_quantize_spec *spec);
    void (*free)(kd_quantized *q);
    int (*start)(kd_quantized *q);      /* NULL: there is nothing to do; likewise below */
    int (*calibrated)(kd_quantized *q); /* as kd_quantized_calibrated */
    int (*round)(kd_quantized *q);
    void (*leave)(kd_quantized *q);

    /* Those that round weights: a whole matrix. Called in every training step, too. */
    int (*round_matrix)(const kd_rounding *matrix);
    void (*watch)(kd_quantized *q, kd_tape *tape);         /* see kd_quantized_watch */
    void (*show)(kd_quantized *q, kd_input_squares *seen); /* see kd_quantized_show  */
    const kd_encoding *(*encodings)(const kd_quantized *q);

    /* Those that make a network. */
    kd_tensor *(*forward)(kd_quantized *q, kd_tape *tape, kd_tensor *x, kd_quant_mode mode,
                          kd_tensor **taps);
    int (*check)(const kd_net *net); /* whether a net of these sizes can be written */
    int (*write)(const char *path, const kd_quantized *q, const kd_blob_info *info);
};

/* Every quantizer: its file defines kd_quantizer_<name>. */
#define KD_QUANTIZERS(X) X(integers) X(nearest) KD_SEEING_ROUNDINGS(X)
/* They round weights by what they have seen. */
#define KD_SEEING_ROUNDINGS(X)     X(importance) X(gptq) X(awq) X(awq_gptq)
#define KD_DECLARE_QUANTIZER(name) extern const kd_quantizer kd_quantizer_##name;
KD_QUANTIZERS(KD_DECLARE_QUANTIZER)
#undef KD_DECLARE_QUANTIZER

/* For tables of keys: "nearest|…", all that round weights. */
#define KD_ROUNDING_CHOICE(name) "|" #name
#define KD_ROUNDING_CHOICES      "nearest" KD_SEEING_ROUNDINGS(KD_ROUNDING_CHOICE)

/* NULL when there is none of this name. */
const kd_quantizer *kd_quantizer_named(const char *name);

/* KD_ECONFIG when the model is none for it. The caller frees. */
int kd_quantized_create(kd_quantized **out, const kd_quantizable *model,
                        const kd_quantize_spec *spec);
void kd_quantized_free(kd_quantized *q); /* leaves, too; NULL is allowed */
int kd_quantized_start(kd_quantized *q);
/* KD_EDATA when too little was seen; KD_CALIBRATE_AGAIN when it must see the same samples again. */
enum { KD_CALIBRATE_AGAIN = 1 };
int kd_quantized_calibrated(kd_quantized *q);

/* Between the two the quantizer sees what passes over the tape, when that is what it must see. The
 * net of a model is watched by itself in KD_QUANT_OBSERVE; this is for models written as code. */
void kd_quantized_watch(kd_quantized *q, kd_tape *tape);
void kd_quantized_unwatch(kd_tape *tape);

/* What was seen elsewhere, in place of samples and kd_quantized_calibrated: of KD_SEES_INPUTS.
 * `seen` is finished, and the quantizer's from now on. */
void kd_quantized_show(kd_quantized *q, kd_input_squares *seen);

/* From now on the model computes with numbers made of its present weights. Allocates nothing. */
int kd_quantized_round(kd_quantized *q);
/* The model computes with its own weights again. */
void kd_quantized_leave(kd_quantized *q);

/* The net of the model: x (B,H,W,C) → (B,V); `taps` as in kd_net_forward. */
kd_tensor *kd_quantized_forward(kd_quantized *q, kd_tape *tape, kd_tensor *x, kd_quant_mode mode,
                                kd_tensor **taps);

/* How each parameter lies in a file, as last rounded; borrowed. NULL for networks, which are a file
 * of their own. */
const kd_encoding *kd_quantized_encodings(const kd_quantized *q);

#endif
