/* libsndfile: WAV, AIFF, CAF and whatever else it knows, Ogg Vorbis, Opus. */
#include <math.h>
#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "data/sound_decoder.h"

enum { CHUNK = 4096 };

typedef struct {
    kd_sound_decoder decoder;
    kd_sound_part part;
    int64_t at; /* where libsndfile stands in the part */
    SNDFILE *file;
    SF_INFO info;
    int64_t decoded;
    float *chunk; /* (CHUNK, channels) */
} state;

static sf_count_t view_length(void *user) {
    const state *s = user;
    return s->part.to - s->part.from;
}

static sf_count_t view_seek(sf_count_t offset, int whence, void *user) {
    state *s = user;
    sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? s->at : view_length(user), to;
    if (__builtin_add_overflow(base, offset, &to) || to < 0 || to > view_length(user)) return -1;
    s->at = to;
    return to;
}

static sf_count_t view_read(void *out, sf_count_t count, void *user) {
    state *s = user;
    const int64_t got = kd_sound_part_read(&s->part, out, count, s->at);
    s->at += got;
    return got;
}

static sf_count_t view_write(const void *in, sf_count_t count, void *user) {
    (void)in, (void)count, (void)user;
    return 0;
}

static sf_count_t view_tell(void *user) {
    return ((const state *)user)->at;
}

/* Called when the decoder gives no more: was that all? */
static int check_end(const state *s) {
    const int64_t frames = s->info.frames;
    if (frames < 1 || frames == SF_COUNT_MAX || s->decoded >= frames) return KD_OK;
    return kd_sound_damaged(&s->part, s->decoded, frames,
                            sf_error(s->file) ? sf_strerror(s->file) : NULL);
}

static int64_t read_some(kd_sound_decoder *decoder, float *out, int64_t n) {
    state *s = (state *)decoder;
    const int channels = s->info.channels;
    const int64_t got = sf_readf_float(s->file, s->chunk, n < CHUNK ? n : CHUNK);
    if (got <= 0) return check_end(s);
    for (int64_t i = 0; i < got; i++) {
        float sum = 0;
        for (int c = 0; c < channels; c++) {
            const float v = s->chunk[i * channels + c];
            if (!(fabsf(v) <= KD_SOUND_LOUDEST))
                return kd_fail(KD_EDATA, "%s: sample %lld is %g, should be within ±1",
                               s->part.file->name, (long long)(s->decoded + i), (double)v);
            sum += v;
        }
        out[i] = sum / (float)channels;
    }
    s->decoded += got;
    return got;
}

static void close_file(kd_sound_decoder *decoder) {
    state *s = (state *)decoder;
    if (s->file) sf_close(s->file);
    free(s->chunk);
    free(s);
}

static int open_file(state *s) {
    SF_VIRTUAL_IO io = {view_length, view_seek, view_read, view_write, view_tell};
    const char *name = s->part.file->name;
    s->file = sf_open_virtual(&io, SFM_READ, &s->info, s);
    if (!s->file)
        return kd_fail(KD_EDATA, "%s: no sound that libsndfile can decode: %s", name,
                       sf_strerror(NULL));
    int status = kd_sound_check_format(name, s->info.channels, s->info.samplerate);
    if (status < 0) return status;
    const size_t bytes = CHUNK * (size_t)s->info.channels * sizeof *s->chunk;
    s->decoder.rate = s->info.samplerate;
    s->chunk = malloc(bytes);
    return s->chunk ? KD_OK : kd_fail_memory(bytes, name);
}

int kd_sndfile_open(kd_sound_decoder **out, const kd_sound_part *part) {
    state *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, part->file->name);
    s->decoder = (kd_sound_decoder){.read = read_some, .close = close_file};
    s->part = *part;
    int status = open_file(s);
    if (status == KD_OK && (s->info.format & SF_FORMAT_TYPEMASK) != SF_FORMAT_MPEG) {
        *out = &s->decoder;
        return KD_OK;
    }
    close_file(&s->decoder);
    return status < 0 ? status : kd_mpeg_open(out, part); /* which knows where that ends */
}
