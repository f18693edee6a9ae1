/* What an exported model is fed: a file of its kind, as the network saw it in training. */
#ifndef KD_QUANT_BLOB_SAMPLE_H
#define KD_QUANT_BLOB_SAMPLE_H

#include "quant/blob.h"

/* A picture (PNG, PGM, PPM) of the model's size, or a sound for a model of sounds, into x (h,w,c),
 * ready for kd_blob_run. Errors as kd_image_read and kd_sound_open. */
int kd_blob_read_file(const kd_blob *blob, const char *path, float *x);

#endif
