/* What loss_vocab.c, the op, and loss_vocab_panel.c, the passes over a panel of rows, share. */
#ifndef KD_DISTILL_LOSS_VOCAB_H
#define KD_DISTILL_LOSS_VOCAB_H

#include "autograd/op_common.h"
#include "distill/loss_parts.h"

enum { KD_VOCAB_TILE = KD_ROW_TILE, KD_VOCAB_GROUPS = 32 };

/* Of one row in one tile: maxima, and sums relative to them. */
typedef struct {
    kd_real max_z, max_v;
    double hard;    /* Σ e^{z − max_z}                                              */
    double soft;    /* Σ e^{(z − max_z)/τ}                                          */
    double teacher; /* Σ e^{(v − max_v)/τ}                                          */
    double cross;   /* Σ e^{(v − max_v)/τ} · ((v − max_v) − (z − max_z))            */
    double plain;   /* Σ z, for label smoothing                                     */
    kd_real chosen; /* without gradients: z of the class whose v is max_v           */
    double value;   /* Σ φ and Σ q·g of a divergence (divergence.h) of hidden states    */
    double mean;
} kd_vocab_sums;

/* Of one row: what its gradient needs. Logarithms of sums relative to the row's maxima. */
typedef struct {
    kd_real max_z, max_v, log_hard, log_soft, log_v;
    kd_real own;        /* z of the label                                               */
    bool right, agreed; /* without gradients, as in kd_loss_parts                       */
    double hard, kl;    /* the losses                                                   */
    double mean;        /* Σ q·g of a divergence of hidden states                       */
    kd_topk_row topk;   /* top-k; of draws its drop_factor, q of any class, alone       */
} kd_vocab_row;

/* A class that a row keeps or has drawn: entry j of row r of the panel. */
typedef struct {
    int32_t r, j;
} kd_vocab_kept;

typedef struct {
    int64_t V, C, width, tiles, groups;
    const kd_real *E, *teacher_output; /* (V,C), (V,width) */
    const kd_real *bias;               /* (V) of the logits, or NULL */
    kd_real *dbias;                    /* (V) its gradient, of all panels, or NULL: not wanted */
    const int32_t *label;
    const kd_soft_targets *soft; /* NULL: no soft part */
    kd_loss_spec spec;
    kd_precision precision; /* of the products; sums and exponentials are kd_real's */
    kd_real *dE; /* (V,C) of the panels before the last, or NULL: no such panel, or not wanted */
    bool wants_dE, wants_dh;
    /* The panel at hand. */
    bool first, last;     /* the first only writes ∂E, the last leaves it to the backward pass */
    int64_t rows, most;   /* its rows, and the most a panel has                            */
    const int64_t *row;   /* (rows) their places among the N                               */
    kd_real *h, *hidden;  /* (rows,C), (rows,width) the gathered inputs                    */
    kd_real *z, *v;       /* its tiles, or one tile a thread where there are no gradients  */
    kd_vocab_sums *sums;  /* (tiles,most)                                                  */
    kd_vocab_row *state;  /* (rows)                                                        */
    kd_real *partial;     /* (groups,most,C) of ∂h                                         */
    kd_vocab_kept *kept;  /* (rows·k) in order of their tiles                              */
    int64_t *kept_first;  /* (tiles+1) the first of each tile                              */
    kd_real *kept_logits; /* (rows,k) z of those classes                                   */
} kd_vocab;

/* Whether the divergence of hidden states needs a visit of its own, between the two passes; forward
 * KL comes out of the first. */
static inline bool kd_vocab_is_measured(const kd_vocab *c) {
    return c->soft && c->soft->hidden && c->spec.divergence.kind != KD_FORWARD_KL;
}

static inline bool kd_vocab_is_topk(const kd_vocab *c) {
    return c->soft && !c->soft->hidden && !c->soft->share;
}

static inline bool kd_vocab_is_sampled(const kd_vocab *c) {
    return c->soft && c->soft->share;
}

/* Classes that a row names. */
static inline int kd_vocab_named(const kd_vocab *c) {
    return kd_vocab_is_topk(c) || kd_vocab_is_sampled(c) ? c->soft->k : 0;
}

/* How many tiles z and v have memory for: all of a panel's, or one for each thread where nobody
 * needs them again. */
size_t kd_vocab_stored_tiles(const kd_vocab *c);

/* Both passes over the panel at hand: adds its losses to `sum`, writes its rows of dh (N,C) and
 * adds to c->dE, where they are wanted. Threaded. */
void kd_vocab_panel(const kd_vocab *c, kd_real *dh, kd_loss_parts *sum);

/* dE (V,C) ← beta·dE + alpha·Gᵀ·h of the panel that came last. Threaded. */
void kd_vocab_embedding_gradient(const kd_vocab *c, kd_real alpha, kd_real beta, kd_real *dE);

#endif
