#include "data/whisper_mel.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "data/sound.h"
#include "data/spool.h"

enum { WINDOW = 400, BEFORE = WINDOW / 2 };
/* The samples of a window's frames: those of frame 0 begin BEFORE samples earlier than its place.
 */
enum { SPAN = (KD_WHISPER_FRAMES - 1) * KD_WHISPER_HOP + WINDOW };

int kd_whisper_mel_create(kd_logmel **out, int mels) {
    return kd_logmel_create(out, KD_WHISPER_RATE, WINDOW, KD_WHISPER_HOP, mels);
}

int kd_whisper_mel_window(const kd_logmel *mel, float *out, const float *samples, int64_t count) {
    KD_CONTRACT(count >= 0, "%lld samples", (long long)count);
    if (count >= KD_WHISPER_SAMPLES)
        return kd_logmel_compute(mel, out, samples, KD_WHISPER_SAMPLES);
    float *padded = calloc(KD_WHISPER_SAMPLES, sizeof *padded);
    if (!padded) return kd_fail_memory(KD_WHISPER_SAMPLES * sizeof *padded, "a window of sound");
    if (count > 0) memcpy(padded, samples, (size_t)count * sizeof *samples);
    int status = kd_logmel_compute(mel, out, padded, KD_WHISPER_SAMPLES);
    free(padded);
    return status;
}

/* --- files of any length ---------------------------------------------------------------------- */

static const float SILENCE = -10.0f; /* log10 of the least power, 1e-10 */

struct kd_whisper_sound {
    const kd_logmel *mel;
    int64_t samples; /* of the file                                              */
    int64_t frames;  /* with levels, whole windows                               */
    double largest;  /* of all levels                                            */
    int spool;       /* levels of the windows behind the first; −1: there is one */
    float first[];   /* (3000, mels) levels of the first window                  */
};

static size_t window_values(const kd_whisper_sound *s) {
    return (size_t)KD_WHISPER_FRAMES * (size_t)kd_logmel_mels(s->mel);
}

/* Reads or writes `bytes` at `at`, whole. */
static int transfer(const kd_whisper_sound *s, void *buffer, size_t bytes, int64_t at, bool write) {
    for (size_t done = 0; done < bytes;) {
        char *from = (char *)buffer + done;
        off_t place = (off_t)at + (off_t)done;
        ssize_t n = write ? pwrite(s->spool, from, bytes - done, place)
                          : pread(s->spool, from, bytes - done, place);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return kd_fail(KD_EIO, "cannot %s the temporary file of a long sound: %s",
                           write ? "write" : "read", n < 0 ? strerror(errno) : "it is cut");
        done += (size_t)n;
    }
    return KD_OK;
}

/* The next window's samples into span (SPAN), the last of which overlap with the window before;
 * silence behind the end, and before the beginning its mirror. *more: the file goes on. */
static int load(kd_whisper_sound *s, float *span, kd_sound *stream, bool *more) {
    int64_t kept = s->frames == 0 ? BEFORE : SPAN - KD_WHISPER_SAMPLES, got;
    if (s->frames > 0) memmove(span, span + KD_WHISPER_SAMPLES, (size_t)kept * sizeof *span);
    int status = kd_sound_read(stream, span + kept, SPAN - kept, &got);
    if (status < 0) return status;
    memset(span + kept + got, 0, (size_t)(SPAN - kept - got) * sizeof *span);
    for (int i = 1; s->frames == 0 && i <= BEFORE; i++) span[BEFORE - i] = span[BEFORE + i];
    s->samples += got;
    *more = kept + got == SPAN;
    return KD_OK;
}

/* Goes through the whole file. `scratch`: SPAN + a window's values. */
static int listen(kd_whisper_sound *s, kd_sound *stream, float *scratch) {
    int status = KD_OK;
    size_t values = window_values(s), bytes = values * sizeof(float);
    for (bool more = true; more && status == KD_OK; s->frames += KD_WHISPER_FRAMES) {
        float *levels = s->frames == 0 ? s->first : scratch + SPAN;
        double largest = 0;
        status = load(s, scratch, stream, &more);
        if (status == KD_OK)
            status = kd_logmel_levels(s->mel, levels, &largest, scratch, KD_WHISPER_FRAMES);
        s->largest = fmax(s->largest, largest);
        if (status < 0 || s->frames == 0) continue;
        if (s->spool < 0) status = kd_spool_open(&s->spool);
        int64_t window = s->frames / KD_WHISPER_FRAMES - 1;
        if (status == KD_OK) status = transfer(s, levels, bytes, window * (int64_t)bytes, true);
    }
    return status;
}

int kd_whisper_sound_open(kd_whisper_sound **out, const char *path, const kd_logmel *mel) {
    *out = NULL;
    kd_sound *stream;
    int status = kd_sound_open(&stream, path, KD_WHISPER_RATE, 0);
    if (status < 0) return status;
    size_t window = (size_t)KD_WHISPER_FRAMES * (size_t)kd_logmel_mels(mel) * sizeof(float);
    kd_whisper_sound *s = malloc(sizeof *s + window);
    float *scratch = malloc(SPAN * sizeof *scratch + window);
    if (s) *s = (kd_whisper_sound){.mel = mel, .largest = -INFINITY, .spool = -1};
    status = s && scratch ? listen(s, stream, scratch) : kd_fail_memory(2 * window, path);
    free(scratch);
    kd_sound_close(stream);
    if (status < 0)
        kd_whisper_sound_close(s);
    else
        *out = s;
    return status;
}

void kd_whisper_sound_close(kd_whisper_sound *s) {
    if (!s) return;
    if (s->spool >= 0) close(s->spool);
    free(s);
}

int64_t kd_whisper_sound_samples(const kd_whisper_sound *s) {
    return s->samples;
}

int kd_whisper_sound_window(const kd_whisper_sound *s, float *out, int64_t frame) {
    KD_CONTRACT(frame >= 0, "frame %lld", (long long)frame);
    int64_t mels = kd_logmel_mels(s->mel), end = frame + KD_WHISPER_FRAMES, done = 0;
    if (frame < KD_WHISPER_FRAMES) {
        done = KD_WHISPER_FRAMES - frame;
        memcpy(out, s->first + frame * mels, (size_t)(done * mels) * sizeof *out);
    }
    int64_t spooled = (end < s->frames ? end : s->frames) - frame - done;
    if (spooled > 0) {
        int64_t row = mels * (int64_t)sizeof *out;
        int status = transfer(s, out + done * mels, (size_t)(spooled * row),
                              (frame + done - KD_WHISPER_FRAMES) * row, false);
        if (status < 0) return status;
        done += spooled;
    }
    for (int64_t i = done * mels; i < KD_WHISPER_FRAMES * mels; i++) out[i] = SILENCE;
    kd_logmel_normalize(out, KD_WHISPER_FRAMES * mels, s->largest);
    return KD_OK;
}
