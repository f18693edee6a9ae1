/* The bytes of a sound file, on disk, from a pipe or in memory; private to src/data. */
#ifndef KD_DATA_SOUND_BYTES_H
#define KD_DATA_SOUND_BYTES_H

#include <stdint.h>

typedef struct {
    int fd;               /* −1: the bytes are in memory        */
    const uint8_t *bytes; /* borrowed                           */
    int64_t length;
    int error;        /* errno of a read that failed, or 0  */
    const char *name; /* borrowed, for messages             */
} kd_sound_bytes;

/* Opens a file; "-" is the standard input. What comes from a pipe is copied to a nameless temporary
 * file first, since decoders go back and forth. KD_ENOINPUT, KD_EIO. The caller closes, on errors
 * too. */
int kd_sound_bytes_open(kd_sound_bytes *out, const char *path);
void kd_sound_bytes_close(kd_sound_bytes *file);

/* Up to n bytes from `at` on; fewer at the end or when the medium fails, which file->error says. */
int64_t kd_sound_bytes_read(kd_sound_bytes *file, void *out, int64_t n, int64_t at);

#endif
