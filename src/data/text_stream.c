#include "data/text_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/text.h"

enum { BLOCK = 1 << 16 };

typedef enum { PLAIN, GZIP, XZ } packing;

struct kd_text_stream {
    const char *path;
    packing packing;
    int fd;
    bool file_ended, ended, between; /* between: two members of a gzip file */
    z_stream zip;
    lzma_stream xz;
    size_t held; /* bytes in `block` that the decompressor has not taken */
    unsigned char block[BLOCK];
};

int kd_text_stream_open(kd_text_stream **out, const char *path) {
    *out = NULL;
    kd_text_stream *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, path);
    s->path = path;
    s->packing = kd_ends_with(path, ".gz") ? GZIP : kd_ends_with(path, ".xz") ? XZ : PLAIN;
    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0) {
        const int status = errno == ENOENT ? KD_ENOINPUT : KD_EIO;
        free(s);
        return kd_fail(status, "%s: cannot open: %s", path, strerror(errno));
    }
    bool started = true;
    if (s->packing == GZIP) started = inflateInit2(&s->zip, 15 + 16) == Z_OK;
    if (s->packing == XZ)
        started = lzma_stream_decoder(&s->xz, (uint64_t)1 << 30, LZMA_CONCATENATED) == LZMA_OK;
    if (!started) {
        kd_text_stream_close(s);
        return kd_fail_memory(BLOCK, path);
    }
    *out = s;
    return KD_OK;
}

void kd_text_stream_close(kd_text_stream *s) {
    if (!s) return;
    if (s->packing == GZIP) inflateEnd(&s->zip);
    if (s->packing == XZ) lzma_end(&s->xz);
    close(s->fd);
    free(s);
}

static int64_t read_file(kd_text_stream *s, void *out, size_t room) {
    for (;;) {
        const ssize_t n = read(s->fd, out, room);
        if (n >= 0) return n;
        if (errno != EINTR) return kd_fail(KD_EIO, "%s: cannot read: %s", s->path, strerror(errno));
    }
}

static int fill(kd_text_stream *s) {
    if (s->held > 0 || s->file_ended) return KD_OK;
    const int64_t n = read_file(s, s->block, BLOCK);
    if (n < 0) return (int)n;
    s->held = (size_t)n;
    s->file_ended = n == 0;
    return KD_OK;
}

static int broken(const kd_text_stream *s, const char *kind) {
    return kd_fail(KD_EDATA, "%s: %s %s file", s->path,
                   s->file_ended ? "breaks off: no whole" : "is damaged, or no", kind);
}

/* A gzip file is one member behind the other. */
static int64_t read_gzip(kd_text_stream *s, char *out, size_t room) {
    s->zip.next_out = (unsigned char *)out;
    s->zip.avail_out = (unsigned)room;
    while (s->zip.avail_out > 0 && !s->ended) {
        const int status = fill(s);
        if (status < 0) return status;
        if (s->between && s->file_ended) {
            s->ended = true;
            break;
        }
        if (s->between && inflateReset(&s->zip) != Z_OK) return broken(s, "gzip");
        s->between = false;
        s->zip.next_in = s->block;
        s->zip.avail_in = (unsigned)s->held;
        const int result = inflate(&s->zip, Z_NO_FLUSH);
        memmove(s->block, s->block + (s->held - s->zip.avail_in), s->zip.avail_in);
        s->held = s->zip.avail_in;
        if (result == Z_STREAM_END)
            s->between = true;
        else if (result != Z_OK || (s->file_ended && s->zip.avail_out > 0))
            return broken(s, "gzip");
    }
    return (int64_t)(room - s->zip.avail_out);
}

static int64_t read_xz(kd_text_stream *s, char *out, size_t room) {
    s->xz.next_out = (uint8_t *)out;
    s->xz.avail_out = room;
    while (s->xz.avail_out > 0 && !s->ended) {
        const int status = fill(s);
        if (status < 0) return status;
        s->xz.next_in = s->block;
        s->xz.avail_in = s->held;
        const lzma_ret result = lzma_code(&s->xz, s->file_ended ? LZMA_FINISH : LZMA_RUN);
        memmove(s->block, s->block + (s->held - s->xz.avail_in), s->xz.avail_in);
        s->held = s->xz.avail_in;
        if (result == LZMA_STREAM_END)
            s->ended = true;
        else if (result != LZMA_OK)
            return broken(s, "xz");
    }
    return (int64_t)(room - s->xz.avail_out);
}

int64_t kd_text_stream_read(kd_text_stream *s, char *out, size_t room) {
    if (room > INT32_MAX) room = INT32_MAX;
    if (s->packing == GZIP) return read_gzip(s, out, room);
    if (s->packing == XZ) return read_xz(s, out, room);
    size_t done = 0;
    while (done < room) {
        const int64_t n = read_file(s, out + done, room - done);
        if (n < 0) return n;
        if (n == 0) break;
        done += (size_t)n;
    }
    return (int64_t)done;
}
