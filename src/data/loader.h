/* Batches in a deterministic order, made ahead of time by a background thread.
 *
 * The order of an epoch is a permutation drawn from (seed, epoch); what augmentation does to a
 * sample is drawn from (seed, view, id). Both are pure functions, so a loader can be put to any
 * cursor and hands on exactly what an uninterrupted one would have.
 */
#ifndef KD_DATA_LOADER_H
#define KD_DATA_LOADER_H

#include <stdbool.h>

#include "data/augment.h"
#include "data/store.h"

typedef struct {
    int64_t batch;
    int64_t update; /* batches of an update, of which a rank gets its share (kd_ranks_part);
                       0: every batch */
    bool shuffle;
    kd_augment augment;
    int64_t views; /* 0: each epoch draws new augmentations (view = epoch); V > 0: epoch e uses
                      view e mod V, for which the teacher store has rows  */
    uint64_t seed;
    const kd_store *store; /* whose rows come with the batch, or NULL; dense or top-k …    */
    int temperature_index; /* … whose tails are those of this temperature of its header    */
} kd_loader_spec;

typedef struct {
    int64_t n;                 /* samples in this batch                        */
    const float *x;            /* (n,h,w,c), normalised and augmented          */
    const int32_t *label;      /* (n)                                          */
    const uint64_t *id;        /* (n)                                          */
    int64_t view;              /* of every sample of the batch                 */
    int64_t epoch, index;      /* this batch's place                           */
    const float *soft;         /* with a store: dense logits (n,V) or kept ones (n,k)     */
    const int32_t *soft_index; /* top-k: (n,k)                            */
    const float *tail;         /* top-k: (n)                              */
} kd_batch;

typedef struct kd_loader kd_loader;

/* `dataset` and the store are borrowed and must outlive the loader. It starts at epoch 0, batch 0.
 * KD_ECONFIG when a shift exceeds the sample. */
int kd_loader_create(kd_loader **out, const kd_dataset *dataset, const kd_loader_spec *spec);
void kd_loader_free(kd_loader *loader);

int64_t kd_loader_batches(const kd_loader *loader); /* per epoch */

/* The next kd_loader_next returns batch `index` of `epoch`, which must be one of this rank's; an
 * index equal to kd_loader_batches means the first batch of the following epoch. Pointers handed
 * out before become invalid. Costs nothing where that batch would come next anyway. */
void kd_loader_seek(kd_loader *loader, int64_t epoch, int64_t index);

/* The next batch of this rank; after the last of an epoch comes the first of the next. Pointers are
 * valid until the following call. Allocates nothing. Without a store it always succeeds; with one
 * it fails as kd_store_read does. */
int kd_loader_next(kd_loader *loader, kd_batch *out);

/* One augmented view of a sample, the function behind the loader, for the teacher's stage. */
void kd_augmented_sample(const kd_dataset *dataset, int64_t index, const kd_augment *augment,
                         uint64_t seed, int64_t view, float *out);

#endif
