/* Random changes to a training sample: pure functions of (seed, view, id), so that teacher and
 * student are shown the same pixels and a resumed run those of an uninterrupted one. */
#ifndef KD_DATA_AUGMENT_H
#define KD_DATA_AUGMENT_H

#include <stdbool.h>

#include "data/dataset.h"

typedef struct {
    int shift_h, shift_w; /* uniform in −n … n, zeros (after normalisation) shifted in: the same as
                             zero padding by n and a random crop                               */
    bool flip;            /* mirror the width with probability 1/2                             */
    /* Of sound, samples (frames, mels, 1); in this order, before kd_clip_normalise but the masks:
     */
    double vocal_tract; /* frequencies times α, log α uniform within ±log(1 + this)          */
    double tempo;       /* length divided by β, likewise                                     */
    int mask_h, mask_w; /* up to this many successive frames, and mels, become 0: SpecAugment
                           (Park et al. 2019), with one mask of each kind                     */
} kd_augment;

/* What augmentation does to one sample. */
typedef struct {
    int64_t dh, dw;
    bool flip;
    double vocal_tract, tempo;                    /* of pictures 1 */
    int64_t mask_at_h, mask_h, mask_at_w, mask_w; /* first, and how many */
} kd_transform;

uint64_t kd_augment_view_key(uint64_t seed, int64_t view);
kd_transform kd_augment_draw(const kd_augment *augment, const kd_dataset *d, uint64_t view_key,
                             uint64_t id);

/* Sample `index` of d under `transform`, normalised, into out (h,w,c); `table` is of
 * kd_normalise_table, and not looked at for features. */
void kd_augment_apply(float *out, const kd_dataset *d, int64_t index, const kd_transform *transform,
                      float (*table)[256]);

#endif
