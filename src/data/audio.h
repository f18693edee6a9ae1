/* Whole sound files → mono float samples at one rate; data/sound.h says what is read and how. */
#ifndef KD_DATA_AUDIO_H
#define KD_DATA_AUDIO_H

#include <stddef.h>
#include <stdint.h>

/* The first `seconds` of the file (all when 0) at `rate` Hz (1000 to 768000). The caller frees
 * *out. KD_ENOINPUT when the file is missing; KD_EDATA when it is something else, is cut short, is
 * empty, or holds numbers that are not finite. */
int kd_audio_read(float **out, int64_t *count, const char *path, int rate, double seconds);

/* The same from a whole file in memory; `name` is for messages. Keeps no pointer to `bytes`. */
int kd_audio_decode(float **out, int64_t *count, const void *bytes, size_t length, const char *name,
                    int rate, double seconds);

#endif
