#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/audio.h"
#include "data/clip.h"
#include "data/logmel.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { RATE = 16000, WINDOW = 256, HOP = 128, MELS = 20, SAMPLES = RATE / 20, WANTED = 4 };

/* Enough for a second file behind the first one of the seeds. */
static const double SECONDS = 0.3;

/* Whatever can be decoded becomes a network's input of finite numbers. Only its first 50 ms do: the
 * reader is tried here, and the transform would take most of the time. */
static void make_input(const float *samples, int64_t count) {
    static const kd_audio_spec audio = {.sample_rate = RATE,
                                        .window = WINDOW,
                                        .hop = HOP,
                                        .mels = MELS,
                                        .trim = 35,
                                        .range = 50,
                                        .normalise = KD_CLIP_BANDS};
    static kd_logmel *logmel;
    float padded[SAMPLES] = {0}, frames[SAMPLES / HOP * MELS], x[WANTED * MELS];
    if (!logmel && kd_logmel_create(&logmel, RATE, WINDOW, HOP, MELS) < 0) abort();
    memcpy(padded, samples, (size_t)(count < SAMPLES ? count : SAMPLES) * sizeof *padded);
    if (kd_logmel_compute(logmel, frames, padded, SAMPLES) < 0) abort();
    kd_clip_window(x, WANTED, frames, SAMPLES / HOP, &audio);
    kd_clip_normalise(x, WANTED, &audio);
    for (int i = 0; i < WANTED * MELS; i++)
        if (!isfinite(x[i])) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    float *samples;
    int64_t count;
    if (kd_audio_decode(&samples, &count, bytes, length, "input", RATE, SECONDS) == 0)
        make_input(samples, count);
    free(samples);
    return 0;
}
