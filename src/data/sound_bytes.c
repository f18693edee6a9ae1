#include "data/sound_bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "data/spool.h"

static int write_all(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0)
            return kd_fail(KD_EIO, "cannot write the temporary file of a sound from a pipe: %s",
                           strerror(errno));
        bytes += done;
        n -= (size_t)done;
    }
    return KD_OK;
}

/* Puts a nameless file with all that the pipe gives in its place. */
static int take_pipe(kd_sound_bytes *out) {
    int pipe = out->fd;
    int status = kd_spool_open(&out->fd);
    out->length = 0;
    while (status == KD_OK) {
        char piece[1 << 16];
        ssize_t got = read(pipe, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = kd_fail(KD_EIO, "%s: cannot read: %s", out->name, strerror(errno));
        if (got <= 0) break;
        status = write_all(out->fd, piece, (size_t)got);
        out->length += got;
    }
    close(pipe);
    return status;
}

int kd_sound_bytes_open(kd_sound_bytes *out, const char *path) {
    struct stat info;
    *out = (kd_sound_bytes){.name = path};
    out->fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                     : open(path, O_RDONLY | O_CLOEXEC);
    if (out->fd < 0 || fstat(out->fd, &info) < 0)
        return kd_fail(errno == ENOENT ? KD_ENOINPUT : KD_EIO, "%s: cannot open: %s", path,
                       strerror(errno));
    if (S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode)) return take_pipe(out);
    if (!S_ISREG(info.st_mode))
        return kd_fail(KD_ENOINPUT, "%s: is not a regular file or a pipe", path);
    out->length = info.st_size;
    return KD_OK;
}

void kd_sound_bytes_close(kd_sound_bytes *file) {
    if (file->fd >= 0) close(file->fd);
    file->fd = -1;
}

int64_t kd_sound_bytes_read(kd_sound_bytes *file, void *out, int64_t n, int64_t at) {
    if (n > file->length - at) n = file->length - at;
    if (n <= 0 || at < 0) return 0;
    if (file->fd < 0) {
        memcpy(out, file->bytes + at, (size_t)n);
        return n;
    }
    int64_t done = 0;
    while (done < n) {
        ssize_t got = pread(file->fd, (char *)out + done, (size_t)(n - done), at + done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) file->error = errno;
        if (got <= 0) break;
        done += got;
    }
    return done;
}
