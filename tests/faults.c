#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

const char *const kd_fault_names[KD_FAULT_KINDS] = {"memory", "any-memory", "room",   "open",
                                                    "read",   "write",      "short",  "sync",
                                                    "close",  "rename",     "unlink", "mkdir"};

static atomic_bool armed, struck;
static atomic_long calls, taken; /* memory taken since the arming, in bytes */
static kd_fault_kind failing;
static long nth;
static bool keeps_failing;
static void *program; /* where the program itself is mapped */

void kd_faults_arm(kd_fault_kind kind, long n, bool forever) {
    Dl_info info;
    if (dladdr((void *)getauxval(AT_ENTRY), &info)) program = info.dli_fbase;
    failing = kind;
    nth = n;
    keeps_failing = forever;
    calls = taken = 0;
    struck = false;
    armed = true;
}

bool kd_faults_disarm(void) {
    armed = false;
    return struck;
}

static void tell_place(int signal_number) {
    void *frame[64];
    Dl_info info;
    int count = backtrace(frame, 64);
    for (int i = 2; i < count; i++) { /* behind this function and the signal's frame */
        if (!dladdr(frame[i], &info) || strstr(info.dli_fname, "libc.so")) continue;
        if (strstr(info.dli_fname, "libhdf5")) _exit(KD_FAULT_LIBRARY_CRASH);
        break;
    }
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void kd_faults_tell_crashes(void) {
    static char stack[1 << 16]; /* of the handler: the crash may be a stack that is full */
    const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = tell_place, .sa_flags = SA_ONSTACK};
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) sigaction(fatal[i], &action, NULL);
}

/* Whether this call of `kind` is to fail. */
static bool strikes(kd_fault_kind kind) {
    if (!armed || failing != kind) return false;
    long call = ++calls;
    if (call != nth && !(keeps_failing && call > nth)) return false;
    struck = true;
    return true;
}

/* --- memory --------------------------------------------------------------------------------- */

#ifndef __SANITIZE_ADDRESS__
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *block);

static size_t size_of(void *block) {
    return block ? malloc_usable_size(block) : 0;
}

/* `taken` with what a call gave, which was `before` bytes. */
static void *took(void *block, size_t before) {
    if (block) taken += (long)size_of(block) - (long)before;
    return block;
}

static bool memory_strikes(void *caller, size_t bytes) {
    if (!armed || failing > KD_FAULT_ROOM) return false;
    if (failing == KD_FAULT_ROOM) {
        if (bytes <= PTRDIFF_MAX / 2 && taken + (long)bytes <= nth) return false;
        struck = true;
        errno = ENOMEM;
        return true;
    }
    Dl_info info;
    bool own = dladdr(caller, &info) && info.dli_fbase == program;
    bool now = strikes(KD_FAULT_ANY_MEMORY) || (own && strikes(KD_FAULT_MEMORY));
    if (now) errno = ENOMEM;
    return now;
}

#define STRIKES(bytes) memory_strikes(__builtin_return_address(0), bytes)

void *malloc(size_t bytes) {
    return STRIKES(bytes) ? NULL : took(__libc_malloc(bytes), 0);
}
void *calloc(size_t count, size_t bytes) {
    return STRIKES(count * bytes) ? NULL : took(__libc_calloc(count, bytes), 0);
}
void *realloc(void *old, size_t bytes) {
    size_t before = size_of(old);
    return STRIKES(bytes) ? NULL : took(__libc_realloc(old, bytes), before);
}
void *aligned_alloc(size_t alignment, size_t bytes) {
    return STRIKES(bytes) ? NULL : took(__libc_memalign(alignment, bytes), 0);
}
void free(void *block) {
    taken -= (long)size_of(block);
    __libc_free(block);
}
#endif

/* --- files ---------------------------------------------------------------------------------- */

/* The C library's own function of this name. */
#define NEXT(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

void (*kd_faults_watcher)(const kd_fault_call *call);
static _Thread_local bool telling;

static void tell(kd_fault_kind kind, int fd, const char *path, const char *to) {
    if (!kd_faults_watcher || telling) return;
    telling = true;
    kd_faults_watcher(&(kd_fault_call){kind, fd, path, to});
    telling = false;
}

#define FAIL_WITH(kind, error)                                                                     \
    do {                                                                                           \
        if (strikes(kind)) {                                                                       \
            errno = error;                                                                         \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

#define DEFINE_OPEN(name)                                                                          \
    int name(const char *path, int flags, ...) {                                                   \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;               \
        va_end(arguments);                                                                         \
        tell(KD_FAULT_OPEN, -1, path, NULL);                                                       \
        FAIL_WITH(KD_FAULT_OPEN, EMFILE);                                                          \
        return NEXT(name)(path, flags, mode);                                                      \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

#define DEFINE_READ(name, parameters, arguments)                                                   \
    ssize_t name parameters {                                                                      \
        tell(KD_FAULT_READ, fd, NULL, NULL);                                                       \
        FAIL_WITH(KD_FAULT_READ, EIO);                                                             \
        return NEXT(name) arguments;                                                               \
    }
DEFINE_READ(read, (int fd, void *bytes, size_t length), (fd, bytes, length))
DEFINE_READ(pread, (int fd, void *bytes, size_t length, off_t at), (fd, bytes, length, at))
DEFINE_READ(pread64, (int fd, void *bytes, size_t length, off64_t at), (fd, bytes, length, at))

#define DEFINE_WRITE(name, parameters, arguments)                                                  \
    ssize_t name parameters {                                                                      \
        tell(KD_FAULT_WRITE, fd, NULL, NULL);                                                      \
        FAIL_WITH(KD_FAULT_WRITE, ENOSPC);                                                         \
        if (length > 1 && strikes(KD_FAULT_SHORT)) length /= 2;                                    \
        return NEXT(name) arguments;                                                               \
    }
DEFINE_WRITE(write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
DEFINE_WRITE(pwrite, (int fd, const void *bytes, size_t length, off_t at), (fd, bytes, length, at))
DEFINE_WRITE(pwrite64, (int fd, const void *bytes, size_t length, off64_t at),
             (fd, bytes, length, at))

int fsync(int fd) {
    tell(KD_FAULT_SYNC, fd, NULL, NULL);
    FAIL_WITH(KD_FAULT_SYNC, EIO);
    return 0;
}

int fdatasync(int fd) {
    tell(KD_FAULT_SYNC, fd, NULL, NULL);
    FAIL_WITH(KD_FAULT_SYNC, EIO);
    return 0;
}

int close(int fd) {
    tell(KD_FAULT_CLOSE, fd, NULL, NULL);
    int result = NEXT(close)(fd);
    FAIL_WITH(KD_FAULT_CLOSE, EIO);
    return result;
}

int rename(const char *from, const char *to) {
    tell(KD_FAULT_RENAME, -1, from, to);
    FAIL_WITH(KD_FAULT_RENAME, ENOSPC);
    return NEXT(rename)(from, to);
}

int unlink(const char *path) {
    tell(KD_FAULT_UNLINK, -1, path, NULL);
    FAIL_WITH(KD_FAULT_UNLINK, EACCES);
    return NEXT(unlink)(path);
}

int mkdir(const char *path, mode_t mode) {
    tell(KD_FAULT_MKDIR, -1, path, NULL);
    FAIL_WITH(KD_FAULT_MKDIR, ENOSPC);
    return NEXT(mkdir)(path, mode);
}
