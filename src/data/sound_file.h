/* A sound file, on disk or in memory, behind libsndfile; private to src/data. */
#ifndef KD_DATA_SOUND_FILE_H
#define KD_DATA_SOUND_FILE_H

#include <sndfile.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int fd;               /* −1: the bytes are in memory      */
    const uint8_t *bytes; /* borrowed                         */
    int64_t length, at;   /* at: where libsndfile stands      */
    const char *name;     /* borrowed, for messages           */
    SNDFILE *file;        /* NULL until it is opened          */
    SF_INFO info;
} kd_sound_file;

/* Opens what `out` describes (fd or bytes, length, name; the rest 0) after checks of what
 * libsndfile lets through: WAV and Ogg files that end too early. KD_EDATA, KD_EIO. */
int kd_sound_file_open(kd_sound_file *out);
/* Closes libsndfile's part; fd stays open. */
void kd_sound_file_close(kd_sound_file *file);

#endif
