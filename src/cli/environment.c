#include "cli/environment.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <omp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/isa.h"

/* Threads beyond the processors are allowed, but not so many that the system cannot make them; and
 * the bytes that a product's blocks and what calls it may take of a stack. */
enum { THREADS_MOST = 1024, STACK_LEAST = 2 << 20 };

static const char *skip_space(const char *at) {
    while (isspace((unsigned char)*at)) at++;
    return at;
}

/* "4" or "4,2", as OpenMP has it: a number for each level of nesting. */
static int check_threads(void) {
    const char *text = getenv("OMP_NUM_THREADS"), *at = text;
    const int processors = omp_get_num_procs();
    const long most = processors > THREADS_MOST ? processors : THREADS_MOST;
    if (!text || !*skip_space(text)) return KD_OK;
    for (;; at++) {
        char *end;
        errno = 0;
        const long n = strtol(at, &end, 10);
        const bool number = end != at;
        at = skip_space(end);
        if (!number || errno || n < 1 || n > most || (*at && *at != ','))
            return kd_fail(
                KD_EUSAGE,
                "OMP_NUM_THREADS=%s: must be a number of threads, 1 to %ld; this machine "
                "has %d processors",
                text, most, processors);
        if (!*at) return KD_OK;
    }
}

/* Bytes of "512", "512k", "8 M": kilobytes where no unit stands; −1 for anything else. */
static double stack_bytes(const char *text) {
    static const char units[] = "bkmg";
    char *end;
    const double n = strtod(text, &end);
    const char *unit = skip_space(end), *found;
    if (end == text || n < 0) return -1;
    if (!*unit) return n * 1024;
    found = strchr(units, tolower((unsigned char)*unit));
    if (!found || *skip_space(unit + 1)) return -1;
    double bytes = n;
    for (const char *u = units; u < found; u++) bytes *= 1024;
    return bytes;
}

static int check_stacks(void) {
    static const char *const names[] = {"OMP_STACKSIZE", "GOMP_STACKSIZE"};
    struct rlimit limit;
    for (int i = 0; i < 2; i++) {
        const char *text = getenv(names[i]);
        const double bytes = text && *skip_space(text) ? stack_bytes(text) : STACK_LEAST;
        if (!(bytes >= STACK_LEAST))
            return kd_fail(KD_EUSAGE, "%s=%s: must be a size of 2M or more", names[i], text);
    }
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < STACK_LEAST)
        return kd_fail(KD_EUSAGE,
                       "the stack is limited to %llu kB; at least 2048 are needed: "
                       "ulimit -s 8192",
                       (unsigned long long)limit.rlim_cur / 1024);
    return KD_OK;
}

void kd_environment_settle(char **argv) {
    /* Some 30 to 150 microseconds: what it takes to wake a thread. */
    static const char variable[] = "GOMP_SPINCOUNT", looks[] = "3000";
    const char *set = getenv(variable);
    char program[PATH_MAX];
    if (set && strcmp(set, looks) == 0) unsetenv(variable); /* the second start */
    if (set || getenv("OMP_WAIT_POLICY")) return;
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0 || length == sizeof program - 1) return;
    program[length] = 0;
    if (setenv(variable, looks, 1) != 0) return;
    execv(program, argv);
    unsetenv(variable);
}

int kd_environment_check(void) {
    int status = kd_isa_check();
    if (status == KD_OK) status = check_threads();
    return status == KD_OK ? check_stacks() : status;
}
