/* A sound file as the parts it consists of, decoded one behind another; private to src/data. */
#ifndef KD_DATA_SOUND_FILE_H
#define KD_DATA_SOUND_FILE_H

#include "data/sound_decoder.h"

typedef struct {
    kd_sound_bytes bytes;
    kd_sound_part *part; /* all of the file */
    int parts, next;     /* next: to be decoded behind the decoder's */
    kd_sound_decoder *decoder;
} kd_sound_file;

/* Finds the parts of what `file->bytes` describes and begins with the first. KD_EDATA, KD_EIO; the
 * caller closes, on errors too. */
int kd_sound_file_open(kd_sound_file *file);
void kd_sound_file_close(kd_sound_file *file);

/* Up to n mono samples into out, all of *rate Hz; 0 behind the last. KD_EDATA, KD_EIO. */
int64_t kd_sound_file_read(kd_sound_file *file, float *out, int64_t n, int *rate);

#endif
