#include "base/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/ranks.h"

enum {
    RECORD_MAX = 512,
    OWNED_MAX = 8,      /* folders at a time: a sweep's and its run's, and teachers'          */
    RENEW_SECONDS = 15, /* of KD_OWNER_SILENCE                                                */
    LOOK_MILLISECONDS = 250,
    LONG_AGO = 20 * KD_OWNER_SILENCE, /* clocks of machines differ less: dead without waiting  */
    RACE_SECONDS = 2 /* in which another that takes over, too, has written its record      */
};

typedef struct {
    int fd; /* −1: free */
    char path[KD_PATH_MAX], record[RECORD_MAX];
} owned_folder;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Under the mutex. */
static owned_folder folders[OWNED_MAX] = {{.fd = -1}, {.fd = -1}, {.fd = -1}, {.fd = -1},
                                          {.fd = -1}, {.fd = -1}, {.fd = -1}, {.fd = -1}};
static int folder_count;
static bool renews;            /* the thread runs */
static char lost[KD_PATH_MAX]; /* the file of a folder that another has taken; "": none */

/* --- records ---------------------------------------------------------------------------------- */

/* The name of this machine since it was started, "host 1f0c…", or "host -" where it does not say.
 */
static void name_machine(char *out, size_t capacity) {
    char host[128] = "", *boot = NULL;
    size_t length = 0;
    gethostname(host, sizeof host - 1);
    const char *path = "/proc/sys/kernel/random/boot_id";
    FILE *file = fopen(path, "r");
    if (file && getline(&boot, &length, file) > 0) boot[strcspn(boot, "\n")] = '\0';
    if (file) fclose(file);
    snprintf(out, capacity, "%s %.64s", *host ? host : "-", boot && *boot ? boot : "-");
    free(boot);
}

/* Whether a record is of this machine; of one that says too little, by the host. */
static bool is_of(const char *record, const char *machine) {
    char host[2][128], boot[2][72];
    if (sscanf(record, "%127s %71s", host[0], boot[0]) != 2 ||
        sscanf(machine, "%127s %71s", host[1], boot[1]) != 2 || strcmp(host[0], host[1]) != 0)
        return false;
    const bool torn = !strchr(record, '\n'); /* by a power cut */
    return torn || strcmp(boot[0], boot[1]) == 0 || strcmp(boot[0], "-") == 0 ||
           strcmp(boot[1], "-") == 0;
}

/* "host boot process\nsince …\n" */
static void write_record(char out[RECORD_MAX]) {
    char machine[256], since[64];
    const time_t now = time(NULL);
    struct tm parts;
    name_machine(machine, sizeof machine);
    strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&now, &parts));
    snprintf(out, RECORD_MAX, "%s %ld\nsince %s\n", machine, (long)getpid(), since);
}

static void read_record(char out[RECORD_MAX], int fd) {
    const ssize_t n = pread(fd, out, RECORD_MAX - 1, 0);
    out[n > 0 ? n : 0] = '\0';
}

/* "process 12 of host since …" */
static const char *describe(char *out, size_t capacity, const char *record) {
    char host[128] = "?", since[64] = "?";
    long process = 0;
    if (sscanf(record, "%127s %*s %ld since %63[^\n]", host, &process, since) < 2)
        snprintf(out, capacity, "another distill process");
    else
        snprintf(out, capacity, "process %ld on %s, since %s,", process, host, since);
    return out;
}

static int put_record(int fd, const char *path, const char *record) {
    const size_t length = strlen(record);
    if (pwrite(fd, record, length, 0) != (ssize_t)length || ftruncate(fd, (off_t)length) < 0 ||
        fsync(fd) < 0) {
        const int status = kd_fail(KD_EIO, "%s: cannot write: %s", path, strerror(errno));
        if (ftruncate(fd, 0) < 0) kd_warn("%s: %s", path, strerror(errno)); /* nobody's */
        return status;
    }
    return KD_OK;
}

/* --- renewing --------------------------------------------------------------------------------- */

static void renew(const owned_folder *o) {
    char found[RECORD_MAX];
    read_record(found, o->fd);
    if (strcmp(found, o->record) != 0)
        snprintf(lost, sizeof lost, "%s", o->path);
    else
        futimens(o->fd, NULL);
}

static void renew_now(void) {
    for (int i = 0; i < OWNED_MAX; i++)
        if (folders[i].fd >= 0) renew(&folders[i]);
}

static void *renew_all(void *unused) {
    pthread_mutex_lock(&mutex);
    while (folder_count > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += RENEW_SECONDS;
        pthread_cond_timedwait(&changed, &mutex, &until);
        renew_now();
    }
    renews = false;
    pthread_mutex_unlock(&mutex);
    return unused;
}

/* Signals are the main thread's business. Called with the mutex. */
static int start_renewing(void) {
    sigset_t all, before;
    pthread_t thread;
    if (renews) return KD_OK;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&thread, NULL, renew_all, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) return kd_fail(KD_EINTERNAL, "cannot start a thread: %s", strerror(error));
    pthread_detach(thread);
    renews = true;
    return KD_OK;
}

static int remember(int fd, const char *path, const char *record) {
    int status = KD_OK, i = 0;
    pthread_mutex_lock(&mutex);
    while (i < OWNED_MAX && folders[i].fd >= 0) i++;
    KD_CONTRACT(i < OWNED_MAX, "%s: more than %d folders", path, OWNED_MAX);
    folders[i].fd = fd;
    snprintf(folders[i].path, sizeof folders[i].path, "%s", path);
    snprintf(folders[i].record, sizeof folders[i].record, "%s", record);
    folder_count++;
    status = start_renewing();
    pthread_mutex_unlock(&mutex);
    return status;
}

int kd_folder_check_owned(void) {
    int status = KD_OK;
    pthread_mutex_lock(&mutex);
    renew_now();
    if (lost[0])
        status =
            kd_fail(KD_EIO,
                    "%s: another process has taken over this folder, since nothing was heard of "
                    "this one; nothing more is written",
                    lost);
    pthread_mutex_unlock(&mutex);
    return status;
}

/* --- taking ----------------------------------------------------------------------------------- */

static int refuse(const char *folder, const char *record) {
    char owner[320];
    return kd_fail(KD_EIO, "%s: another distill process is at work in this folder: %s", folder,
                   describe(owner, sizeof owner, record));
}

/* Whether a process of this machine is there. */
static bool is_alive_here(const char *record) {
    long process = 0;
    return sscanf(record, "%*s %*s %ld", &process) == 1 && process != (long)getpid() &&
           (kill((pid_t)process, 0) == 0 || errno == EPERM);
}

static double changed_at(int fd) {
    struct stat info;
    if (fstat(fd, &info) < 0) return 0;
    return (double)info.st_mtim.tv_sec + 1e-9 * (double)info.st_mtim.tv_nsec;
}

/* The file as other machines see it now: a file system may keep what an open one was. */
static int look_again(const char *path, char record[RECORD_MAX], double *when) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    record[0] = '\0';
    *when = 0;
    if (fd < 0) return errno == ENOENT ? KD_OK : kd_fail(KD_EIO, "%s: %s", path, strerror(errno));
    read_record(record, fd);
    *when = changed_at(fd);
    close(fd);
    return KD_OK;
}

/* Of another machine: whether it renews its record while this one looks. */
static int wait_for_silence(const char *folder, const char *path, const char *record, int fd) {
    const struct timespec moment = {.tv_nsec = LOOK_MILLISECONDS * 1000000L};
    const double began = kd_clock(), first = changed_at(fd);
    char owner[320], now[RECORD_MAX];
    if ((double)time(NULL) - first > LONG_AGO) return KD_OK;
    kd_log("%s: %s has it; waiting up to %d seconds to see whether it is alive", folder,
           describe(owner, sizeof owner, record), KD_OWNER_SILENCE);
    while (kd_clock() - began < KD_OWNER_SILENCE) {
        double when;
        nanosleep(&moment, NULL);
        int status = look_again(path, now, &when);
        if (status < 0) return status;
        if (!now[0]) return KD_OK; /* it has left */
        if (when > first || when < first || strcmp(now, record) != 0) return refuse(folder, now);
    }
    kd_log("%s: it is dead; taken over", folder);
    return KD_OK;
}

/* `locked`: by flock, so nobody of this machine has it. */
static int examine(const char *folder, const char *path, int fd, bool locked, bool *races) {
    char record[RECORD_MAX], machine[256];
    read_record(record, fd);
    name_machine(machine, sizeof machine);
    const bool here = is_of(record, machine);
    *races = !locked;
    if (!record[0] || (here && locked)) return KD_OK;
    if (here) return is_alive_here(record) ? refuse(folder, record) : KD_OK;
    *races = true;
    return wait_for_silence(folder, path, record, fd);
}

/* Writes its record, and sees that no other one did. */
static int settle(const char *folder, const char *path, int fd, bool races) {
    char record[RECORD_MAX], found[RECORD_MAX];
    double when;
    write_record(record);
    int status = put_record(fd, path, record);
    if (status == KD_OK && races) {
        sleep(RACE_SECONDS);
        status = look_again(path, found, &when);
        if (status == KD_OK && strcmp(found, record) != 0) status = refuse(folder, found);
    }
    return status < 0 ? status : remember(fd, path, record);
}

/* Opens the file, and sees that nobody else has it; *races: another may be coming, too. */
static int enter(int *out, const char *folder, const char *path, int flags, bool *races) {
    char record[RECORD_MAX];
    int status = KD_OK;
    const int fd = open(path, flags | O_RDWR | O_CLOEXEC, 0644);
    *out = -1;
    if (fd < 0 && errno == ENOENT && !(flags & O_CREAT)) return KD_OK;
    if (fd < 0) return kd_fail(KD_EIO, "%s: cannot create: %s", path, strerror(errno));
    const bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!locked && errno == EWOULDBLOCK) {
        read_record(record, fd);
        status = refuse(folder, record);
    }
    if (status == KD_OK) status = examine(folder, path, fd, locked, races);
    if (status < 0)
        close(fd);
    else
        *out = fd;
    return status;
}

int kd_folder_own_existing(int *out, const char *folder) {
    char path[KD_PATH_MAX];
    bool races;
    *out = -1;
    if (!kd_rank_writes()) return KD_OK;
    int status = kd_path_join(path, folder, "lock");
    return status < 0 ? status : enter(out, folder, path, 0, &races);
}

int kd_folder_own(int *owned, const char *folder) {
    char path[KD_PATH_MAX];
    bool races = true;
    if (!kd_rank_writes()) return KD_OK;
    int status = kd_path_join(path, folder, "lock");
    if (status == KD_OK && *owned >= 0) {
        const bool locked = flock(*owned, LOCK_EX | LOCK_NB) == 0;
        status = examine(folder, path, *owned, locked, &races);
    } else if (status == KD_OK) {
        status = enter(owned, folder, path, O_CREAT, &races);
    }
    if (status == KD_OK) status = settle(folder, path, *owned, races);
    if (status < 0 && *owned >= 0) {
        close(*owned);
        *owned = -1;
    }
    return status;
}

/* An empty file: nobody. Not where it is another's by now. */
void kd_folder_leave(int *out) {
    char found[RECORD_MAX];
    if (*out < 0) return;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < OWNED_MAX; i++) {
        if (folders[i].fd != *out) continue;
        read_record(found, *out);
        const bool own_still = strcmp(found, folders[i].record) == 0;
        if (own_still && ftruncate(*out, 0) < 0)
            kd_warn("%s: %s", folders[i].path, strerror(errno));
        folders[i].fd = -1;
        folder_count--;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    close(*out);
    *out = -1;
}
