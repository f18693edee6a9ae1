/* A sound file as a stream of mono samples at one rate, whatever its length: memory does not grow
 * with it. WAV and whatever else libsndfile reads, FLAC, MP3, Ogg Vorbis, Opus and FLAC, chained
 * and joined ones too, to their true end; up to 64 channels, which are averaged, 1000 to 768000 Hz,
 * resampled by libsamplerate's best sinc filter. docs/speech-data.md says what counts as whole. */
#ifndef KD_DATA_SOUND_H
#define KD_DATA_SOUND_H

#include <stddef.h>
#include <stdint.h>

typedef struct kd_sound kd_sound;

/* Opens a file for its first `seconds` (all when 0) at `rate` Hz (1000 to 768000). "-" is the
 * standard input; pipes are read to their end first. KD_ENOINPUT when it is missing; KD_EDATA when
 * it is something else or cut short. The caller closes. */
int kd_sound_open(kd_sound **out, const char *path, int rate, double seconds);
/* The same from a whole file in memory, which is borrowed until the close; `name` is for messages.
 */
int kd_sound_open_memory(kd_sound **out, const void *bytes, size_t length, const char *name,
                         int rate, double seconds);
void kd_sound_close(kd_sound *sound);

/* The next `count` samples into out; fewer only at the end: *got says how many, 0 behind it. A file
 * of n frames gives ceil(n·rate/its own rate) samples; where the rate changes on the way, each
 * stretch does. KD_EDATA when the file has no samples, ends
 * before its header says, or holds numbers that are no sound (not finite, beyond ±65536). */
int kd_sound_read(kd_sound *sound, float *out, int64_t count, int64_t *got);

#endif
