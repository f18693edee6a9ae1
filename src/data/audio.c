#include "data/audio.h"

#include <math.h>
#include <samplerate.h>
#include <sndfile.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

enum { CHANNELS_MAX = 64, RATE_MIN = 1000, RATE_MAX = 768000, CHUNK = 4096 };

static const size_t FILE_LIMIT = (size_t)1 << 30;
static const int64_t SAMPLES_LIMIT = (int64_t)1 << 30;
static const float LOUDEST = 65536; /* some files carry 16-bit integers as floats */

/* --- a file in memory, as libsndfile sees it -------------------------------------------------- */

typedef struct {
    const uint8_t *bytes;
    sf_count_t length, at;
} memory;

static sf_count_t memory_length(void *user) {
    return ((memory *)user)->length;
}

static sf_count_t memory_seek(sf_count_t offset, int whence, void *user) {
    memory *m = user;
    sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? m->at : m->length, to;
    if (__builtin_add_overflow(base, offset, &to) || to < 0 || to > m->length) return -1;
    m->at = to;
    return to;
}

static sf_count_t memory_read(void *out, sf_count_t count, void *user) {
    memory *m = user;
    if (count > m->length - m->at) count = m->length - m->at;
    if (count <= 0) return 0;
    memcpy(out, m->bytes + m->at, (size_t)count);
    m->at += count;
    return count;
}

static sf_count_t memory_write(const void *in, sf_count_t count, void *user) {
    (void)in, (void)count, (void)user;
    return 0;
}

static sf_count_t memory_tell(void *user) {
    return ((memory *)user)->at;
}

/* --- what libsndfile lets through --------------------------------------------------------------
 */

static uint32_t little_endian(const uint8_t *b) {
    return (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

/* libsndfile shortens a cut WAV without a word. The size in its header tells, unless the writer
 * could not know it (0 or all ones). */
static int check_wav(const memory *m, const char *name) {
    uint32_t size = little_endian(m->bytes + 4);
    if (size == 0 || size == UINT32_MAX || size + INT64_C(8) <= m->length) return KD_OK;
    return kd_fail(KD_EDATA, "%s: cut short: its header says %lld bytes, it has %lld", name,
                   (long long)size + 8, (long long)m->length);
}

/* Ogg comes in pages: "OggS", version, flags, …, the number of segments at 26, their sizes. The
 * last page must be whole and carry the flag "end of stream" (4). */
static int check_ogg(const memory *m, const char *name) {
    sf_count_t at = 0;
    int flags = 0;
    while (at < m->length) {
        const uint8_t *page = m->bytes + at;
        sf_count_t left = m->length - at;
        if (left < 27 || memcmp(page, "OggS", 4) != 0 || left < 27 + page[26])
            return kd_fail(KD_EDATA, "%s: at byte %lld: no whole Ogg page", name, (long long)at);
        sf_count_t size = 27 + page[26];
        for (int i = 0; i < page[26]; i++) size += page[27 + i];
        if (size > left)
            return kd_fail(KD_EDATA,
                           "%s: cut short: the Ogg page at byte %lld has %lld bytes, "
                           "%lld are there",
                           name, (long long)at, (long long)size, (long long)left);
        flags = page[5];
        at += size;
    }
    if (!(flags & 4))
        return kd_fail(KD_EDATA, "%s: cut short: the last Ogg page does not end the stream", name);
    return KD_OK;
}

static int check_container(const memory *m, const char *name) {
    if (m->length >= 12 && !memcmp(m->bytes, "RIFF", 4) && !memcmp(m->bytes + 8, "WAVE", 4))
        return check_wav(m, name);
    if (m->length >= 4 && !memcmp(m->bytes, "OggS", 4)) return check_ogg(m, name);
    if (m->length >= 4 && !memcmp(m->bytes, "fLaC", 4)) return KD_OK;
    return kd_fail(KD_EDATA, "%s: at byte 0: neither WAV (RIFF….WAVE), FLAC (fLaC) nor Ogg (OggS)",
                   name);
}

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

/* --- reading -----------------------------------------------------------------------------------
 */

typedef struct {
    float *values;
    int64_t count, capacity;
} samples;

static int make_room(samples *s, int64_t more, const char *name) {
    if (s->count + more <= s->capacity) return KD_OK;
    int64_t capacity = s->capacity ? 2 * s->capacity : 16 * CHUNK;
    float *values = realloc(s->values, (size_t)capacity * sizeof *values);
    if (!values) return kd_fail_memory((size_t)capacity * sizeof *values, name);
    s->values = values;
    s->capacity = capacity;
    return KD_OK;
}

/* Appends the mean of the channels of `frames` frames. */
static int append_mono(samples *out, const float *chunk, int64_t frames, int channels,
                       const char *name) {
    int status = make_room(out, frames, name);
    if (status < 0) return status;
    for (int64_t i = 0; i < frames; i++) {
        float sum = 0;
        for (int c = 0; c < channels; c++) {
            float v = chunk[i * channels + c];
            if (!(fabsf(v) <= LOUDEST))
                return kd_fail(KD_EDATA, "%s: sample %lld is %g, should be within ±1", name,
                               (long long)(out->count + i), (double)v);
            sum += v;
        }
        out->values[out->count + i] = sum / (float)channels;
    }
    out->count += frames;
    return KD_OK;
}

/* Decodes at most `limit` frames; never trusts the header's number of frames for memory. */
static int decode_mono(samples *out, SNDFILE *file, const SF_INFO *info, int64_t limit,
                       const char *name) {
    float *chunk = malloc(sizeof *chunk * CHUNK * (size_t)info->channels);
    if (!chunk) return kd_fail_memory(sizeof *chunk * CHUNK * (size_t)info->channels, name);
    int status = KD_OK;
    while (status == KD_OK && out->count < limit) {
        int64_t wanted = limit - out->count < CHUNK ? limit - out->count : CHUNK;
        int64_t got = sf_readf_float(file, chunk, wanted);
        if (got <= 0) break;
        status = append_mono(out, chunk, got, info->channels, name);
    }
    free(chunk);
    if (status < 0) return status;
    bool known = info->frames > 0 && info->frames < SF_COUNT_MAX;
    if (known && out->count < limit && out->count < info->frames)
        return kd_fail(KD_EDATA, "%s: cut short or damaged: %lld of %lld frames can be decoded%s%s",
                       name, (long long)out->count, (long long)info->frames,
                       sf_error(file) ? ": " : "", sf_error(file) ? sf_strerror(file) : "");
    if (out->count == 0) return kd_fail(KD_EDATA, "%s: holds no samples", name);
    if (out->count >= SAMPLES_LIMIT)
        return kd_fail(KD_EDATA, "%s: more than %lld samples", name, (long long)SAMPLES_LIMIT);
    return KD_OK;
}

static int resample(samples *s, int from, int to, const char *name) {
    int64_t count = (s->count * to + from - 1) / from;
    if (count > SAMPLES_LIMIT)
        return kd_fail(KD_EDATA, "%s: more than %lld samples at %d Hz", name,
                       (long long)SAMPLES_LIMIT, to);
    float *values = calloc((size_t)count, sizeof *values);
    if (!values) return kd_fail_memory((size_t)count * sizeof *values, name);
    SRC_DATA job = {.data_in = s->values,
                    .data_out = values,
                    .input_frames = s->count,
                    .output_frames = count,
                    .src_ratio = (double)to / from};
    int error = src_simple(&job, SRC_SINC_MEDIUM_QUALITY, 1);
    if (error) {
        free(values);
        return kd_fail(KD_EDATA, "%s: cannot resample from %d to %d Hz: %s", name, from, to,
                       src_strerror(error));
    }
    free(s->values); /* the last sample or two the filter may not give stay 0 */
    *s = (samples){.values = values, .count = count, .capacity = count};
    return KD_OK;
}

int kd_audio_decode(float **out, int64_t *count, const void *bytes, size_t length, const char *name,
                    int rate, double seconds) {
    KD_CONTRACT(rate >= RATE_MIN && rate <= RATE_MAX && seconds >= 0, "%d Hz, %g s", rate, seconds);
    *out = NULL;
    *count = 0;
    memory m = {.bytes = bytes, .length = (sf_count_t)length};
    int status = check_container(&m, name);
    if (status < 0) return status;
    SF_VIRTUAL_IO io = {memory_length, memory_seek, memory_read, memory_write, memory_tell};
    SF_INFO info = {0};
    SNDFILE *file = sf_open_virtual(&io, SFM_READ, &info, &m);
    if (!file) return kd_fail(KD_EDATA, "%s: cannot be decoded: %s", name, sf_strerror(NULL));
    samples s = {0};
    status = check_info(&info, rate, name);
    if (status == KD_OK) {
        double frames = seconds > 0 ? ceil(seconds * info.samplerate) : (double)SAMPLES_LIMIT;
        int64_t limit = frames < (double)SAMPLES_LIMIT ? (int64_t)frames : SAMPLES_LIMIT;
        status = decode_mono(&s, file, &info, limit, name);
    }
    sf_close(file);
    if (status == KD_OK && info.samplerate != rate)
        status = resample(&s, info.samplerate, rate, name);
    if (status < 0) {
        free(s.values);
        return status;
    }
    *out = s.values;
    *count = s.count;
    return KD_OK;
}

int kd_audio_read(float **out, int64_t *count, const char *path, int rate, double seconds) {
    char *bytes;
    size_t length;
    *out = NULL;
    *count = 0;
    int status = kd_file_read(&bytes, &length, path, FILE_LIMIT);
    if (status < 0) return status;
    status = kd_audio_decode(out, count, bytes, length, path, rate, seconds);
    free(bytes);
    return status;
}
