/* What Whisper hears: log-mel features (data/logmel.h) of windows of 30 s.
 *
 * All arrays of features are (T, C) = (KD_WHISPER_FRAMES, mels), 80 or 128 mels.
 */
#ifndef KD_DATA_WHISPER_MEL_H
#define KD_DATA_WHISPER_MEL_H

#include <stdint.h>

#include "data/logmel.h"

enum {
    KD_WHISPER_RATE = 16000,
    KD_WHISPER_HOP = 160,        /* samples; 100 frames a second */
    KD_WHISPER_SAMPLES = 480000, /* of a window                  */
    KD_WHISPER_FRAMES = 3000
};

/* 16000 Hz, window 400, hop 160. The caller frees with kd_logmel_free. */
int kd_whisper_mel_create(kd_logmel **out, int mels);

/* Features of one window in memory: samples (count) at 16000 Hz, cut after 30 s or followed by
 * silence up to there. As Hugging Face's feature extractor, and OpenAI's for a clip of at most 30
 * s.
 */
int kd_whisper_mel_window(const kd_logmel *mel, float *out, const float *samples, int64_t count);

/* A file of any length, any rate, any number of channels, window by window. The clamp of the
 * features knows the loudest frame of the whole file, as OpenAI's, so opening listens to the whole
 * file. What it hears of files longer than 30 s waits in a nameless temporary file in $TMPDIR or
 * /tmp (32 kB for a second of sound at 80 mels); memory stays at a few megabytes. */
typedef struct kd_whisper_sound kd_whisper_sound;

/* `mel` is borrowed until the close. Errors as kd_sound_open and kd_sound_read (data/sound.h), and
 * KD_EIO when the temporary file cannot be written. */
int kd_whisper_sound_open(kd_whisper_sound **out, const char *path, const kd_logmel *mel);
void kd_whisper_sound_close(kd_whisper_sound *sound);

/* The length of the file, at 16000 Hz. In frames: divided by KD_WHISPER_HOP. */
int64_t kd_whisper_sound_samples(const kd_whisper_sound *sound);

/* Frames frame … frame + 2999 of the file followed by silence; frame ≥ 0, in any order. */
int kd_whisper_sound_window(const kd_whisper_sound *sound, float *out, int64_t frame);

#endif
