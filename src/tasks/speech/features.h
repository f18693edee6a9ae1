/* Sound files as a Whisper model hears them: windows of 2·audio_context frames (30 s for OpenAI's
 * models) of log-mel, 100 frames a second, silence behind what is shorter. */
#ifndef KD_TASKS_SPEECH_FEATURES_H
#define KD_TASKS_SPEECH_FEATURES_H

#include <stdbool.h>

#include "data/whisper_mel.h"
#include "layers/whisper.h"

typedef struct {
    kd_logmel *mel;
    int mels;
    int64_t frames;  /* of a window                            */
    int64_t samples; /* of a window, at KD_WHISPER_RATE        */
    int64_t values;  /* frames · mels, what a window's mel has */
} kd_features;

/* The caller clears, on errors too. */
int kd_features_init(kd_features *out, const kd_whisper_spec *spec);
void kd_features_clear(kd_features *features);

/* The samples of a file at KD_WHISPER_RATE into out (most); *count of them, or −1 when there are
 * more. Errors as kd_sound_open's and kd_sound_read's, which name the file. */
int kd_features_read(float *out, int64_t most, int64_t *count, const char *path);

/* samples (count) in a buffer of a window's length, which is filled up with silence → out (frames,
 * mels). Several threads may use one kd_features. */
int kd_features_mel(const kd_features *features, kd_real *out, float *samples, int64_t count);

/* n files, several threads at a time → mel (n,frames,mels) and the samples of each, −1 for one that
 * is longer than a window and has no mel. A file that cannot be read has no mel either: fault[i]
 * says why, beginning with its path, and is NULL for the others; the caller frees all of them.
 * KD_EINTERNAL without memory. */
int kd_features_files(const kd_features *features, kd_real *mel, int64_t *samples, char **fault,
                      const char *const *path, int n);

/* Whether a status says that a file is missing or no sound, and not that the program has failed. */
bool kd_features_is_fault(int status);

#endif
