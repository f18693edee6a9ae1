#include "data/sound_file.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

/* Up to n bytes from `at` on; fewer at the end or when the medium fails. */
static int64_t read_at(const kd_sound_file *f, void *out, int64_t n, int64_t at) {
    if (n > f->length - at) n = f->length - at;
    if (n <= 0) return 0;
    if (f->fd < 0) {
        memcpy(out, f->bytes + at, (size_t)n);
        return n;
    }
    int64_t done = 0;
    while (done < n) {
        ssize_t got = pread(f->fd, (char *)out + done, (size_t)(n - done), at + done);
        if (got <= 0) break;
        done += got;
    }
    return done;
}

/* --- as libsndfile sees it -------------------------------------------------------------------- */

static sf_count_t file_length(void *user) {
    return ((kd_sound_file *)user)->length;
}

static sf_count_t file_seek(sf_count_t offset, int whence, void *user) {
    kd_sound_file *f = user;
    sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? f->at : f->length, to;
    if (__builtin_add_overflow(base, offset, &to) || to < 0 || to > f->length) return -1;
    f->at = to;
    return to;
}

static sf_count_t file_read(void *out, sf_count_t count, void *user) {
    kd_sound_file *f = user;
    int64_t got = read_at(f, out, count, f->at);
    f->at += got;
    return got;
}

static sf_count_t file_write(const void *in, sf_count_t count, void *user) {
    (void)in, (void)count, (void)user;
    return 0;
}

static sf_count_t file_tell(void *user) {
    return ((kd_sound_file *)user)->at;
}

/* --- what libsndfile lets through ------------------------------------------------------------- */

static uint32_t little_endian(const uint8_t *b) {
    return (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

/* libsndfile shortens a cut WAV without a word. The size in its header tells, unless the writer
 * could not know it (0 or all ones). */
static int check_wav(const kd_sound_file *f, const uint8_t *head) {
    uint32_t size = little_endian(head + 4);
    if (size == 0 || size == UINT32_MAX || size + INT64_C(8) <= f->length) return KD_OK;
    return kd_fail(KD_EDATA, "%s: cut short: its header says %lld bytes, it has %lld", f->name,
                   (long long)size + 8, (long long)f->length);
}

/* Ogg comes in pages: "OggS", version, flags, …, the number of segments at 26, their sizes. The
 * last page must be whole and carry the flag "end of stream" (4). */
static int check_ogg(const kd_sound_file *f) {
    int64_t at = 0;
    int flags = 0;
    while (at < f->length) {
        uint8_t page[27 + 255];
        int64_t left = f->length - at, there = read_at(f, page, sizeof page, at);
        if (there < 27 || memcmp(page, "OggS", 4) != 0 || there < 27 + page[26])
            return kd_fail(KD_EDATA, "%s: at byte %lld: no whole Ogg page", f->name, (long long)at);
        int64_t size = 27 + page[26];
        for (int i = 0; i < page[26]; i++) size += page[27 + i];
        if (size > left)
            return kd_fail(KD_EDATA,
                           "%s: cut short: the Ogg page at byte %lld has %lld bytes, "
                           "%lld are there",
                           f->name, (long long)at, (long long)size, (long long)left);
        flags = page[5];
        at += size;
    }
    if (!(flags & 4))
        return kd_fail(KD_EDATA, "%s: cut short: the last Ogg page does not end the stream",
                       f->name);
    return KD_OK;
}

static int check_container(const kd_sound_file *f) {
    uint8_t head[12] = {0};
    if (f->length == 0) return kd_fail(KD_EDATA, "%s: is empty", f->name);
    if (read_at(f, head, sizeof head, 0) == sizeof head && !memcmp(head, "RIFF", 4) &&
        !memcmp(head + 8, "WAVE", 4))
        return check_wav(f, head);
    return memcmp(head, "OggS", 4) == 0 ? check_ogg(f) : KD_OK;
}

int kd_sound_file_open(kd_sound_file *out) {
    int status = check_container(out);
    if (status < 0) return status;
    SF_VIRTUAL_IO io = {file_length, file_seek, file_read, file_write, file_tell};
    out->file = sf_open_virtual(&io, SFM_READ, &out->info, out);
    if (!out->file)
        return kd_fail(KD_EDATA, "%s: no sound that libsndfile can decode: %s", out->name,
                       sf_strerror(NULL));
    return KD_OK;
}

void kd_sound_file_close(kd_sound_file *file) {
    if (file->file) sf_close(file->file);
    file->file = NULL;
}
