/* Inside data/: the parts of augmentation that are for sound. All work on frames × mels. */
#ifndef KD_DATA_AUGMENT_INSIDE_H
#define KD_DATA_AUGMENT_INSIDE_H

#include "data/augment.h"

/* Sample `index` with its frequencies and its time stretched, and shifted. */
void kd_augment_stretch(float *out, const kd_dataset *d, int64_t index,
                        const kd_transform *transform);
void kd_augment_mask(float *x, const kd_dataset *d, const kd_transform *transform);

#endif
