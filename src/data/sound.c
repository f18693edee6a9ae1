#include "data/sound.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <samplerate.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "data/sound_file.h"

enum { CHANNELS_MAX = 64, RATE_MIN = 1000, RATE_MAX = 768000, CHUNK = 4096 };

static const float LOUDEST = 65536; /* some files carry 16-bit integers as floats */

struct kd_sound {
    kd_sound_file file;
    char *name;
    int rate;
    int64_t limit;        /* frames to decode                               */
    int64_t decoded;      /* frames decoded                                 */
    int64_t given;        /* samples given out                              */
    bool ended;           /* no more frames will come                       */
    float *chunk;         /* (CHUNK, channels) as decoded                   */
    float *mono;          /* (CHUNK)                                        */
    int64_t from, to;     /* mono[from … to−1] waits to be given out       */
    SRC_STATE *resampler; /* NULL: the file has the wanted rate        */
};

/* --- opening ---------------------------------------------------------------------------------- */

static int check_info(const SF_INFO *info, int rate, const char *name) {
    if (info->channels < 1 || info->channels > CHANNELS_MAX)
        return kd_fail(KD_EDATA, "%s: %d channels, should be 1 to %d", name, info->channels,
                       CHANNELS_MAX);
    if (info->samplerate < RATE_MIN || info->samplerate > RATE_MAX ||
        !src_is_valid_ratio((double)rate / info->samplerate))
        return kd_fail(KD_EDATA, "%s: sample rate %d Hz, should be %d to %d", name,
                       info->samplerate, RATE_MIN, RATE_MAX);
    return KD_OK;
}

/* The rest of opening, once s->file says where the bytes are. */
static int prepare(kd_sound *s, double seconds) {
    s->file.name = s->name;
    int status = kd_sound_file_open(&s->file);
    if (status == KD_OK) status = check_info(&s->file.info, s->rate, s->name);
    if (status < 0) return status;
    const SF_INFO *info = &s->file.info;
    double frames = seconds > 0 ? ceil(seconds * info->samplerate) : INFINITY;
    s->limit = frames < 0x1p62 ? (int64_t)frames : INT64_MAX;
    size_t bytes = CHUNK * ((size_t)info->channels + 1) * sizeof(float);
    s->chunk = malloc(bytes);
    if (!s->chunk) return kd_fail_memory(bytes, s->name);
    s->mono = s->chunk + CHUNK * info->channels;
    if (info->samplerate == s->rate) return KD_OK;
    int error;
    s->resampler = src_new(SRC_SINC_BEST_QUALITY, 1, &error);
    if (!s->resampler)
        return kd_fail(KD_EINTERNAL, "%s: cannot resample: %s", s->name, src_strerror(error));
    return KD_OK;
}

static int create(kd_sound **out, const char *name, int rate, double seconds) {
    KD_CONTRACT(rate >= RATE_MIN && rate <= RATE_MAX && seconds >= 0, "%d Hz, %g s", rate, seconds);
    *out = NULL;
    kd_sound *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, name);
    s->rate = rate;
    s->file.fd = -1;
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

static int open_path(kd_sound *s, const char *path) {
    struct stat info;
    s->file.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s->file.fd < 0 || fstat(s->file.fd, &info) < 0)
        return kd_fail(errno == ENOENT ? KD_ENOINPUT : KD_EIO, "%s: cannot open: %s", path,
                       strerror(errno));
    if (!S_ISREG(info.st_mode)) return kd_fail(KD_ENOINPUT, "%s: is not a regular file", path);
    s->file.length = info.st_size;
    return KD_OK;
}

int kd_sound_open(kd_sound **out, const char *path, int rate, double seconds) {
    int status = create(out, path, rate, seconds);
    if (status < 0) return status;
    status = open_path(*out, path);
    if (status == KD_OK) status = prepare(*out, seconds);
    return close_failed(out, status);
}

int kd_sound_open_memory(kd_sound **out, const void *bytes, size_t length, const char *name,
                         int rate, double seconds) {
    int status = create(out, name, rate, seconds);
    if (status < 0) return status;
    (*out)->file.bytes = bytes;
    (*out)->file.length = (int64_t)length;
    return close_failed(out, prepare(*out, seconds));
}

void kd_sound_close(kd_sound *s) {
    if (!s) return;
    kd_sound_file_close(&s->file);
    if (s->file.fd >= 0) close(s->file.fd);
    if (s->resampler) src_delete(s->resampler);
    free(s->chunk);
    free(s->name);
    free(s);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The mean of the channels of `frames` frames. */
static int mix(kd_sound *s, int64_t frames) {
    int channels = s->file.info.channels;
    for (int64_t i = 0; i < frames; i++) {
        float sum = 0;
        for (int c = 0; c < channels; c++) {
            float v = s->chunk[i * channels + c];
            if (!(fabsf(v) <= LOUDEST))
                return kd_fail(KD_EDATA, "%s: sample %lld is %g, should be within ±1", s->name,
                               (long long)(s->decoded + i), (double)v);
            sum += v;
        }
        s->mono[i] = sum / (float)channels;
    }
    return KD_OK;
}

/* Called when the decoder gives no more: was that all? */
static int check_end(const kd_sound *s) {
    int64_t frames = s->file.info.frames;
    bool known = frames > 0 && frames < SF_COUNT_MAX;
    if (known && s->decoded < s->limit && s->decoded < frames)
        return kd_fail(KD_EDATA, "%s: cut short or damaged: %lld of %lld frames can be decoded%s%s",
                       s->name, (long long)s->decoded, (long long)frames,
                       sf_error(s->file.file) ? ": " : "",
                       sf_error(s->file.file) ? sf_strerror(s->file.file) : "");
    if (s->decoded == 0) return kd_fail(KD_EDATA, "%s: holds no samples", s->name);
    return KD_OK;
}

/* Fills s->mono. Never trusts the header's number of frames. */
static int decode(kd_sound *s) {
    int64_t wanted = s->limit - s->decoded < CHUNK ? s->limit - s->decoded : CHUNK;
    int64_t got = wanted > 0 ? sf_readf_float(s->file.file, s->chunk, wanted) : 0;
    s->from = s->to = 0;
    if (got <= 0) {
        s->ended = true;
        return check_end(s);
    }
    int status = mix(s, got);
    if (status < 0) return status;
    s->to = got;
    s->decoded += got;
    return KD_OK;
}

/* ceil(frames·rate/file's rate) */
static int64_t resampled(const kd_sound *s, int64_t frames) {
    int64_t from = s->file.info.samplerate, whole = frames / from;
    return whole * s->rate + (frames % from * s->rate + from - 1) / from;
}

/* Gives out at most `count` of what waits; how many, or a negative status. */
static int64_t give(kd_sound *s, float *out, int64_t count) {
    int64_t waiting = s->to - s->from;
    if (!s->resampler) {
        int64_t n = waiting < count ? waiting : count;
        memcpy(out, s->mono + s->from, (size_t)n * sizeof *out);
        s->from += n;
        return n;
    }
    SRC_DATA job = {.data_in = s->mono + s->from,
                    .data_out = out,
                    .input_frames = waiting,
                    .output_frames = count,
                    .end_of_input = s->ended,
                    .src_ratio = (double)s->rate / s->file.info.samplerate};
    int error = src_process(s->resampler, &job);
    if (error)
        return kd_fail(KD_EDATA, "%s: cannot resample from %d to %d Hz: %s", s->name,
                       s->file.info.samplerate, s->rate, src_strerror(error));
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
            if (room <= 0) break;
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
