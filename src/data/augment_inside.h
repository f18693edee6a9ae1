/* Inside data/: the part of augmentation that is for sound. */
#ifndef KD_DATA_AUGMENT_INSIDE_H
#define KD_DATA_AUGMENT_INSIDE_H

#include "data/augment.h"

void kd_augment_apply_sound(float *out, const kd_dataset *d, int64_t index,
                            const kd_transform *transform);

#endif
