#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/ranks.h"

static int fail_errno(const char *path, const char *doing) {
    return kd_fail(errno == ENOENT ? KD_ENOINPUT : KD_EIO, "%s: cannot %s: %s", path, doing,
                   strerror(errno));
}

static int read_fully(int fd, char *bytes, size_t length, const char *path) {
    size_t done = 0;
    while (done < length) {
        ssize_t n = read(fd, bytes + done, length - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(path, "read");
        if (n == 0) return kd_fail(KD_EIO, "%s: became shorter while it was read", path);
        done += (size_t)n;
    }
    return KD_OK;
}

int kd_file_read(char **out, size_t *out_length, const char *path, size_t limit) {
    *out = NULL;
    *out_length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno(path, "open");
    int status = KD_OK;
    char *bytes = NULL;
    struct stat info;
    if (fstat(fd, &info) < 0) {
        status = fail_errno(path, "examine");
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        status = kd_fail(KD_ENOINPUT, "%s: is not a regular file", path);
        goto done;
    }
    if ((unsigned long long)info.st_size > limit) {
        status = kd_fail(KD_EDATA, "%s: %lld bytes, more than the %zu such a file may have", path,
                         (long long)info.st_size, limit);
        goto done;
    }
    size_t length = (size_t)info.st_size;
    bytes = malloc(length + 1);
    if (!bytes) {
        status = kd_fail_memory(length + 1, path);
        goto done;
    }
    status = read_fully(fd, bytes, length, path);
    if (status < 0) goto done;
    bytes[length] = '\0';
    *out = bytes;
    *out_length = length;
    bytes = NULL;
done:
    free(bytes);
    close(fd);
    return status;
}

int kd_file_read_at(int fd, const char *path, void *out, size_t length, int64_t at) {
    for (size_t done = 0; done < length;) {
        ssize_t n = pread(fd, (char *)out + done, length - done, at + (int64_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kd_fail(KD_EIO, "%s: cannot read: %s", path, strerror(errno));
        if (n == 0)
            return kd_fail(KD_EIO, "%s: became shorter while it was read: it ends before byte %lld",
                           path, (long long)at + (long long)length);
        done += (size_t)n;
    }
    return KD_OK;
}

int kd_file_map_open(kd_file_map *out, const char *path) {
    *out = (kd_file_map){0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno(path, "open");
    int status = KD_OK;
    struct stat info;
    if (fstat(fd, &info) < 0)
        status = fail_errno(path, "examine");
    else if (!S_ISREG(info.st_mode))
        status = kd_fail(KD_ENOINPUT, "%s: is not a regular file", path);
    else if ((unsigned long long)info.st_size != (size_t)info.st_size)
        status = kd_fail(KD_EDATA, "%s: %lld bytes, more than 32-bit addresses reach", path,
                         (long long)info.st_size);
    else if (info.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED)
            status = kd_fail(KD_EIO, "%s: cannot map: %s", path, strerror(errno));
        else
            *out = (kd_file_map){bytes, (size_t)info.st_size};
    }
    close(fd);
    return status;
}

void kd_file_map_close(kd_file_map *map) {
    if (map->length > 0) munmap((void *)(uintptr_t)map->bytes, map->length);
    *map = (kd_file_map){0};
}

static int write_fully(int fd, const char *bytes, size_t length, const char *path) {
    size_t done = 0;
    while (done < length) {
        ssize_t n = write(fd, bytes + done, length - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(path, "write");
        done += (size_t)n;
    }
    return KD_OK;
}

/* fsync of the folder that holds `path`, so that a rename in it survives a power cut. */
static int sync_folder(const char *path) {
    char folder[KD_PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= sizeof folder) return kd_fail(KD_EIO, "%s: path too long", path);
    if (!slash)
        memcpy(folder, ".", 2);
    else if (length == 0)
        memcpy(folder, "/", 2);
    else {
        memcpy(folder, path, length);
        folder[length] = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_errno(folder, "open");
    int status = fsync(fd) < 0 && errno != EINVAL ? fail_errno(folder, "fsync") : KD_OK;
    close(fd);
    return status;
}

int kd_file_commit(const char *part, const char *path) {
    if (!kd_rank_writes()) return KD_OK;
    int fd = open(part, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int status = fail_errno(part, "open");
        unlink(part);
        return status;
    }
    int status = fsync(fd) < 0 ? fail_errno(part, "fsync") : KD_OK;
    if (close(fd) < 0 && status == KD_OK) status = fail_errno(part, "close");
    if (status == KD_OK && rename(part, path) < 0) status = fail_errno(path, "rename to");
    if (status < 0) {
        unlink(part);
        return status;
    }
    return sync_folder(path);
}

int kd_file_replace(const char *path, const void *bytes, size_t length) {
    char part[KD_PATH_MAX];
    if (!kd_rank_writes()) return KD_OK;
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return kd_fail(KD_EIO, "%s: path too long", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return kd_fail(KD_EIO, "%s: cannot create: %s", part, strerror(errno));
    int status = write_fully(fd, bytes, length, part);
    if (close(fd) < 0 && status == KD_OK) status = fail_errno(part, "close");
    if (status < 0) {
        unlink(part);
        return status;
    }
    return kd_file_commit(part, path);
}

int kd_file_make_folders(const char *path) {
    char partial[KD_PATH_MAX];
    size_t length = strlen(path);
    if (!kd_rank_writes()) return KD_OK;
    if (length == 0 || length >= sizeof partial)
        return kd_fail(KD_EIO, "'%s': not a usable folder name", path);
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (partial[i] != '/' && partial[i] != '\0') continue;
        char keep = partial[i];
        partial[i] = '\0';
        if (mkdir(partial, 0755) == 0) {
            int status = sync_folder(partial);
            if (status < 0) return status;
        } else if (errno != EEXIST) {
            return kd_fail(KD_EIO, "%s: cannot create the folder: %s", partial, strerror(errno));
        }
        partial[i] = keep;
    }
    return KD_OK;
}

static int take_lock(int *out, const char *folder, int flags) {
    char path[KD_PATH_MAX];
    *out = -1;
    if (!kd_rank_writes()) return KD_OK;
    int status = kd_path_join(path, folder, "lock");
    if (status < 0) return status;
    int fd = open(path, flags | O_RDWR | O_CLOEXEC, 0644);
    if (fd < 0 && errno == ENOENT && !(flags & O_CREAT)) return KD_OK;
    if (fd < 0) return kd_fail(KD_EIO, "%s: cannot create: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        const int error = errno;
        close(fd);
        if (error == EWOULDBLOCK)
            return kd_fail(KD_EIO, "%s: another distill process is at work in this folder", folder);
        return kd_fail(KD_EIO,
                       "%s: cannot lock: %s; the folder must be on a file system that has locks",
                       path, strerror(error));
    }
    *out = fd;
    return KD_OK;
}

int kd_file_lock(int *out, const char *folder) {
    return take_lock(out, folder, O_CREAT);
}

int kd_file_lock_existing(int *out, const char *folder) {
    return take_lock(out, folder, 0);
}

bool kd_file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

bool kd_file_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

int kd_file_list_folder(struct dirent ***out, int *count, const char *folder) {
    *count = scandir(folder, out, visible, by_bytes);
    return *count < 0 ? kd_fail(KD_EIO, "%s: cannot list: %s", folder, strerror(errno)) : KD_OK;
}

int kd_path_join(char out[KD_PATH_MAX], const char *folder, const char *name) {
    size_t length = strlen(folder);
    const char *separator = length && folder[length - 1] == '/' ? "" : "/";
    if (snprintf(out, KD_PATH_MAX, "%s%s%s", folder, separator, name) >= KD_PATH_MAX)
        return kd_fail(KD_EIO, "%s/%s: path too long", folder, name);
    return KD_OK;
}

/* '.' and '..' and other hidden names match no pattern. */
static bool matches(const char *name, const char *const *patterns) {
    for (; *patterns; patterns++)
        if (fnmatch(*patterns, name, FNM_PERIOD) == 0) return true;
    return false;
}

int kd_file_remove_matching(const char *folder, const char *const *patterns) {
    if (!kd_rank_writes()) return KD_OK;
    DIR *listing = opendir(folder);
    if (!listing && errno == ENOENT) return KD_OK;
    if (!listing) return kd_fail(KD_EIO, "%s: cannot read: %s", folder, strerror(errno));
    int status = KD_OK;
    for (struct dirent *entry; status == KD_OK && (entry = readdir(listing)) != NULL;)
        if (matches(entry->d_name, patterns) && unlinkat(dirfd(listing), entry->d_name, 0) < 0)
            status =
                kd_fail(KD_EIO, "%s/%s: cannot remove: %s", folder, entry->d_name, strerror(errno));
    closedir(listing);
    return status;
}

bool kd_file_is_among(const char *path, const char *folder, const char *const *patterns) {
    char *file = realpath(path, NULL), *real = realpath(folder, NULL);
    char *slash = file ? strrchr(file, '/') : NULL;
    const size_t length = slash ? (size_t)(slash - file) : 0;
    const bool among = slash && real && strlen(real) == length && memcmp(real, file, length) == 0 &&
                       matches(slash + 1, patterns);
    free(file);
    free(real);
    return among;
}

double kd_file_free_bytes(const char *folder) {
    struct statvfs info;
    if (statvfs(folder, &info) != 0 && statvfs(".", &info) != 0) return 0;
    return (double)info.f_bavail * (double)info.f_frsize;
}
