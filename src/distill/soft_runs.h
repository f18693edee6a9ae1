/* A batch of soft targets out of a store of sequences (data/store.h): runs of positions laid at
 * rows of a batch, as kd_vocab_loss wants them. */
#ifndef KD_DISTILL_SOFT_RUNS_H
#define KD_DISTILL_SOFT_RUNS_H

#include "data/store.h"
#include "distill/loss.h"

typedef struct {
    const kd_store *store;
    int temperature;           /* top-k: the place of the loss's τ in the store */
    float *stored, *tail;      /* of one run, as stored; tails of top-k         */
    kd_real *soft, *soft_tail; /* (rows, width or k or draws), (rows)           */
    int32_t *index;            /* (rows, k or draws)                            */
    const kd_real *output;     /* (V,width) of the teacher                      */
    kd_real *converted;        /* the same in double, in that build             */
} kd_soft_runs;

/* Of batches of at most `rows` positions, runs of at most `longest`. The store is borrowed; the
 * caller clears, also after an error. */
int kd_soft_runs_create(kd_soft_runs *out, const kd_store *store, double temperature, int64_t rows,
                        int64_t longest);
void kd_soft_runs_clear(kd_soft_runs *runs);

/* The n positions of (view 0, id) → rows row … row + n − 1. Errors as kd_store_read_hidden. */
int kd_soft_runs_read(kd_soft_runs *runs, uint64_t id, int64_t n, int64_t row);

/* The batch; points into `runs`. Rows that nobody read are to be masked. */
kd_soft_targets kd_soft_runs_targets(const kd_soft_runs *runs);

#endif
