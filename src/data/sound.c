#include "data/sound.h"

#include <math.h>
#include <samplerate.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/sound_file.h"

enum { CHUNK = 4096 };

/* Samples of one rate are a stretch. Files have one; where the rate changes on the way, each is
 * resampled by itself. */
struct kd_sound {
    kd_sound_file file;
    char *name;
    int rate;             /* wanted                                       */
    double seconds;       /* to decode, before this stretch; 0: all       */
    int from_rate;        /* of this stretch                              */
    int64_t limit;        /* samples to decode of it                      */
    int64_t decoded;      /* samples decoded of it                        */
    int64_t given;        /* samples given out of it                      */
    bool ended;           /* it has no more samples                       */
    int64_t from, to;     /* mono[from … to−1] waits to be given out      */
    int next_rate;        /* of what waits behind the stretch's end, or 0 */
    int64_t waiting;      /* samples of that, in mono                     */
    bool any;             /* something was decoded                        */
    SRC_STATE *resampler; /* NULL: none was needed                        */
    float mono[CHUNK];
};

/* --- opening ---------------------------------------------------------------------------------- */

/* A stretch begins, of samples at `rate`. */
static int begin_stretch(kd_sound *s, int rate) {
    const double frames = s->seconds > 0 ? ceil(s->seconds * rate) : INFINITY;
    s->from_rate = rate;
    s->limit = frames < 0x1p62 ? (int64_t)frames : INT64_MAX;
    s->decoded = s->given = s->from = s->to = 0;
    s->ended = false;
    if (rate == s->rate) return KD_OK;
    if (s->resampler) {
        src_reset(s->resampler);
        return KD_OK;
    }
    int error;
    s->resampler = src_new(SRC_SINC_BEST_QUALITY, 1, &error);
    if (!s->resampler)
        return kd_fail(KD_EINTERNAL, "%s: cannot resample: %s", s->name, src_strerror(error));
    return KD_OK;
}

/* The rest of opening, once s->file says where the bytes are. */
static int prepare(kd_sound *s, double seconds) {
    s->file.bytes.name = s->name;
    s->seconds = seconds;
    int status = kd_sound_file_open(&s->file);
    return status < 0 ? status : begin_stretch(s, s->file.decoder->rate);
}

static int create(kd_sound **out, const char *name, int rate, double seconds) {
    KD_CONTRACT(rate >= KD_SOUND_RATE_MIN && rate <= KD_SOUND_RATE_MAX && seconds >= 0,
                "%d Hz, %g s", rate, seconds);
    *out = NULL;
    kd_sound *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, name);
    s->rate = rate;
    s->file.bytes.fd = -1;
    s->name = strdup(name);
    if (!s->name) {
        free(s);
        return kd_fail_memory(strlen(name), name);
    }
    *out = s;
    return KD_OK;
}

static int close_failed(kd_sound **out, int status) {
    if (status < 0) {
        kd_sound_close(*out);
        *out = NULL;
    }
    return status;
}

int kd_sound_open(kd_sound **out, const char *path, int rate, double seconds) {
    int status = create(out, path, rate, seconds);
    if (status < 0) return status;
    status = kd_sound_bytes_open(&(*out)->file.bytes, path);
    if (status == KD_OK) status = prepare(*out, seconds);
    return close_failed(out, status);
}

int kd_sound_open_memory(kd_sound **out, const void *bytes, size_t length, const char *name,
                         int rate, double seconds) {
    int status = create(out, name, rate, seconds);
    if (status < 0) return status;
    (*out)->file.bytes.bytes = bytes;
    (*out)->file.bytes.length = (int64_t)length;
    return close_failed(out, prepare(*out, seconds));
}

void kd_sound_close(kd_sound *s) {
    if (!s) return;
    kd_sound_file_close(&s->file);
    if (s->resampler) src_delete(s->resampler);
    free(s->name);
    free(s);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Fills s->mono. A new rate ends the stretch; its first samples wait there until all of the old one
 * are given out. */
static int decode(kd_sound *s) {
    const int64_t left = s->limit - s->decoded;
    int rate = s->from_rate;
    const int64_t wanted = left < CHUNK ? left : CHUNK;
    const int64_t got = wanted > 0 ? kd_sound_file_read(&s->file, s->mono, wanted, &rate) : 0;
    s->from = s->to = 0;
    if (got < 0) return (int)got;
    if (got == 0 && !s->any) return kd_fail(KD_EDATA, "%s: holds no samples", s->name);
    s->any = true;
    s->ended = got == 0;
    if (got > 0 && rate != s->from_rate) {
        s->ended = true;
        s->next_rate = rate;
        s->waiting = got;
    } else {
        s->to = got;
        s->decoded += got;
    }
    return KD_OK;
}

/* Goes on with the samples that wait at another rate. */
static int turn(kd_sound *s) {
    const double heard = (double)s->decoded / s->from_rate;
    if (s->seconds > 0) s->seconds = fmax(s->seconds - heard, 0x1p-30);
    int status = begin_stretch(s, s->next_rate);
    s->next_rate = 0;
    s->to = s->decoded = s->waiting < s->limit ? s->waiting : s->limit;
    return status;
}

/* ceil(frames·rate/the stretch's rate) */
static int64_t resampled(const kd_sound *s, int64_t frames) {
    int64_t from = s->from_rate, whole = frames / from;
    return whole * s->rate + (frames % from * s->rate + from - 1) / from;
}

/* Gives out at most `count` of what waits; how many, or a negative status. */
static int64_t give(kd_sound *s, float *out, int64_t count) {
    int64_t waiting = s->to - s->from;
    if (s->from_rate == s->rate) {
        int64_t n = waiting < count ? waiting : count;
        memcpy(out, s->mono + s->from, (size_t)n * sizeof *out);
        s->from += n;
        return n;
    }
    SRC_DATA job = {.data_in = s->mono + s->from,
                    .data_out = out,
                    .input_frames = (long)waiting,
                    .output_frames = (long)count,
                    .end_of_input = s->ended,
                    .src_ratio = (double)s->rate / s->from_rate};
    int error = src_process(s->resampler, &job);
    if (error)
        return kd_fail(KD_EDATA, "%s: cannot resample from %d to %d Hz: %s", s->name, s->from_rate,
                       s->rate, src_strerror(error));
    s->from += job.input_frames_used;
    return job.output_frames_gen;
}

int kd_sound_read(kd_sound *s, float *out, int64_t count, int64_t *got) {
    enum { PIECE = 1 << 16 }; /* libsamplerate counts in long, its filters in less */
    *got = 0;
    while (*got < count) {
        if (s->from == s->to && !s->ended) {
            int status = decode(s);
            if (status < 0) return status;
        }
        int64_t room = count - *got < PIECE ? count - *got : PIECE;
        if (s->ended) {
            int64_t left = resampled(s, s->decoded) - s->given;
            if (left < room) room = left;
            if (room <= 0 && s->next_rate == 0) break;
            if (room <= 0) {
                int status = turn(s);
                if (status < 0) return status;
                continue;
            }
        }
        int64_t n = give(s, out + *got, room);
        if (n < 0) return (int)n;
        if (n == 0 && s->ended && s->from == s->to) { /* what the filter does not give stays 0 */
            memset(out + *got, 0, (size_t)room * sizeof *out);
            n = room;
        }
        *got += n;
        s->given += n;
    }
    return KD_OK;
}
