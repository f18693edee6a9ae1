/* libmpg123: MP3 and its older layers, to the true end. Without a header that counts them, the
 * number of frames can only be estimated, and libsndfile stops at its estimate. */
#include <mpg123.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/sound_decoder.h"

typedef struct {
    kd_sound_decoder decoder;
    kd_sound_part part;
    int64_t at; /* where libmpg123 stands in the part */
    mpg123_handle *mpg;
    bool turned;     /* what comes next may have another rate            */
    int64_t decoded; /* samples                                          */
    int64_t stated;  /* samples, 0: unknown                              */
    int64_t bytes;   /* of all frames as stated, 0: unknown              */
    int64_t frame;   /* samples of one                                   */
} state;

static ssize_t on_read(void *user, void *out, size_t n) {
    state *s = user;
    const int64_t got = kd_sound_part_read(&s->part, out, (int64_t)n, s->at);
    s->at += got;
    return (ssize_t)got;
}

static off_t on_seek(void *user, off_t offset, int whence) {
    state *s = user;
    const int64_t length = s->part.to - s->part.from;
    int64_t to;
    if (__builtin_add_overflow(whence == SEEK_SET   ? 0
                               : whence == SEEK_CUR ? s->at
                                                    : length,
                               offset, &to) ||
        to < 0 || to > length)
        return -1;
    s->at = to;
    return to;
}

/* A first frame without sound may count the others: "Xing" or "Info", flags, the number of frames,
 * of bytes. Everything else is an estimate. */
static void read_count(state *s) {
    uint8_t frame[64] = {0};
    kd_sound_part_read(&s->part, frame, sizeof frame, 0);
    const bool first = (frame[1] & 8) != 0, mono = frame[3] >> 6 == 3;
    const uint8_t *tag = frame + 4 + (first ? mono ? 17 : 32 : mono ? 9 : 17);
    if ((memcmp(tag, "Xing", 4) != 0 && memcmp(tag, "Info", 4) != 0) || !(tag[7] & 1)) return;
    const int64_t length = mpg123_length(s->mpg); /* without delay and padding */
    s->stated = length > 0 ? length : 0;
    s->frame = first ? 1152 : 576;
    if (tag[7] & 2) s->bytes = (int64_t)tag[12] << 24 | tag[13] << 16 | tag[14] << 8 | tag[15];
}

/* Some encoders count the first frame too: one that lacks at the end of a whole file is forgiven.
 */
static int check_end(const state *s, const char *why) {
    const int64_t missing = s->stated - s->decoded;
    const bool whole = s->bytes <= s->part.to - s->part.from;
    if (!why && missing <= (whole ? s->frame : 0)) return KD_OK;
    return kd_sound_damaged(&s->part, s->decoded, s->stated, why);
}

static int take_format(state *s) {
    long rate;
    int channels, encoding;
    if (mpg123_getformat(s->mpg, &rate, &channels, &encoding) != MPG123_OK)
        return kd_fail(KD_EDATA, "%s: no sound that libmpg123 can decode: %s", s->part.file->name,
                       mpg123_strerror(s->mpg));
    s->decoder.rate = (int)rate;
    return kd_sound_check_format(s->part.file->name, channels, rate);
}

/* At a change of rate libmpg123 stops and says so before the samples behind it. */
static int64_t read_some(kd_sound_decoder *decoder, float *out, int64_t n) {
    state *s = (state *)decoder;
    for (;;) {
        if (s->turned) {
            int status = take_format(s);
            if (status < 0) return status;
        }
        size_t bytes = 0;
        const int result = mpg123_read(s->mpg, (void *)out, (size_t)n * sizeof *out, &bytes);
        const int64_t got = (int64_t)(bytes / sizeof *out);
        s->turned = result == MPG123_NEW_FORMAT;
        s->decoded += got;
        if (got > 0) return got;
        if (result == MPG123_DONE) return check_end(s, NULL);
        if (result != MPG123_OK && !s->turned) return check_end(s, mpg123_strerror(s->mpg));
    }
}

static void close_file(kd_sound_decoder *decoder) {
    state *s = (state *)decoder;
    if (s->mpg) mpg123_delete(s->mpg);
    free(s);
}

static int open_file(state *s) {
    const char *name = s->part.file->name;
    const long *rates;
    size_t count;
    int error = MPG123_OK;
    mpg123_init();
    s->mpg = mpg123_new(NULL, &error);
    if (!s->mpg)
        return kd_fail(KD_EINTERNAL, "%s: libmpg123: %s", name, mpg123_plain_strerror(error));
    mpg123_param(s->mpg, MPG123_ADD_FLAGS, MPG123_QUIET | MPG123_MONO_MIX | MPG123_SKIP_ID3V2, 0);
    mpg123_param(s->mpg, MPG123_REMOVE_FLAGS, MPG123_AUTO_RESAMPLE, 0);
    mpg123_param(s->mpg, MPG123_RESYNC_LIMIT, -1, 0);
    mpg123_param(s->mpg, MPG123_INDEX_SIZE, 0, 0);
    mpg123_format_none(s->mpg);
    mpg123_rates(&rates, &count);
    for (size_t i = 0; i < count; i++)
        mpg123_format(s->mpg, rates[i], MPG123_MONO, MPG123_ENC_FLOAT_32);
    if (mpg123_replace_reader_handle(s->mpg, on_read, on_seek, NULL) != MPG123_OK ||
        mpg123_open_handle(s->mpg, s) != MPG123_OK)
        return kd_fail(KD_EDATA, "%s: no sound that libmpg123 can decode: %s", name,
                       mpg123_strerror(s->mpg));
    int status = take_format(s);
    if (status == KD_OK) read_count(s);
    return status;
}

int kd_mpeg_open(kd_sound_decoder **out, const kd_sound_part *part) {
    state *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, part->file->name);
    s->decoder = (kd_sound_decoder){.read = read_some, .close = close_file};
    s->part = *part;
    int status = open_file(s);
    if (status == KD_OK)
        *out = &s->decoder;
    else
        close_file(&s->decoder);
    return status;
}
