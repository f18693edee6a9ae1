#include "base/open_files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

/* File i has place i mod KD_OPEN_FILES. */
struct kd_open_files {
    struct {
        pthread_mutex_t lock; /* of whoever reads the file */
        int64_t number;       /* which file it is; −1: none */
        int fd;
    } place[KD_OPEN_FILES];
};

int kd_open_files_create(kd_open_files **out) {
    kd_open_files *files = *out = malloc(sizeof *files);
    if (!files) return kd_fail_memory(sizeof *files, "open files");
    for (int i = 0; i < KD_OPEN_FILES; i++) {
        pthread_mutex_init(&files->place[i].lock, NULL);
        files->place[i].number = -1;
    }
    return KD_OK;
}

void kd_open_files_free(kd_open_files *files) {
    if (!files) return;
    for (int i = 0; i < KD_OPEN_FILES; i++) {
        if (files->place[i].number >= 0) close(files->place[i].fd);
        pthread_mutex_destroy(&files->place[i].lock);
    }
    free(files);
}

int kd_open_files_take(kd_open_files *files, int64_t number, const char *path, int *fd) {
    const int64_t i = number % KD_OPEN_FILES;
    pthread_mutex_lock(&files->place[i].lock);
    if (files->place[i].number != number) {
        if (files->place[i].number >= 0) close(files->place[i].fd);
        files->place[i].fd = open(path, O_RDONLY | O_CLOEXEC);
        files->place[i].number = files->place[i].fd < 0 ? -1 : number;
    }
    *fd = files->place[i].fd;
    if (*fd >= 0) return KD_OK;
    int status = kd_fail(KD_EIO, "%s: cannot open: %s", path, strerror(errno));
    pthread_mutex_unlock(&files->place[i].lock);
    return status;
}

void kd_open_files_give_back(kd_open_files *files, int64_t number) {
    pthread_mutex_unlock(&files->place[number % KD_OPEN_FILES].lock);
}
