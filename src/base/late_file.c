#include "base/late_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/ranks.h"

static const double TOLD_AFTER = 2;

/* Has the folder listed anew, and with it what is remembered of names that were not there. */
static void look_again(const char *path) {
    char folder[KD_PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[1] = '\0';
    DIR *list = opendir(slash ? folder : ".");
    while (list && readdir(list)) continue;
    if (list) closedir(list);
}

int kd_file_await(const char *path, double seconds) {
    const struct timespec moment = {.tv_nsec = 100 * 1000 * 1000};
    const double began = kd_clock();
    bool told = false;
    for (int64_t looks = 0;; looks++) {
        const int fd = open(path, O_RDONLY | O_CLOEXEC); /* unlike stat, asks where the file is */
        if (fd >= 0) {
            close(fd);
            return KD_OK;
        }
        if (errno != ENOENT && errno != ESTALE)
            return kd_fail(KD_EIO, "%s: cannot open: %s", path, strerror(errno));
        const double waited = kd_clock() - began;
        if (waited >= seconds)
            return kd_fail(KD_EIO,
                           "%s: was written by another rank, but rank %d (host %s) did not see it "
                           "for %g seconds; is the folder the same on all machines?",
                           path, kd_rank(), kd_ranks_host(kd_rank()), seconds);
        if (waited >= TOLD_AFTER && !told)
            fprintf(stderr, "distill: rank %d (host %s) waits for %s, which another rank wrote\n",
                    kd_rank(), kd_ranks_host(kd_rank()), path);
        told = told || waited >= TOLD_AFTER;
        kd_ranks_alive("waiting for a file", looks);
        nanosleep(&moment, NULL);
        look_again(path);
    }
}
