#include "cli/environment.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "autograd/gemm.h"
#include "base/error.h"
#include "base/isa.h"
#include "base/log.h"
#include "base/ranks.h"
#include "base/size.h"
#include "base/text.h"

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

/* How this rank computes: the same words, the same bits. */
enum { WAY_MAX = 256 };

static void describe_way(char out[WAY_MAX]) {
    char products[128];
    size_t used;
    kd_gemm_describe(products, sizeof products);
    used = (size_t)snprintf(out, WAY_MAX, "%s;", products);
    for (kd_isa i = 0; i < KD_ISA_COUNT; i++)
        if (kd_isa_may_use(i) && used < WAY_MAX)
            used += (size_t)snprintf(out + used, WAY_MAX - used, " %s", kd_isa_name(i));
}

/* The ranks that compute in one way, for each way there is. */
static int list_ways(kd_text *out, char (*way)[WAY_MAX]) {
    for (int r = 0; r < kd_rank_count(); r++) {
        int first = 0, more = 0;
        while (strcmp(way[first], way[r]) != 0) first++;
        if (first < r) continue;
        for (int q = r + 1; q < kd_rank_count(); q++) more += strcmp(way[q], way[r]) == 0;
        kd_text_add(out, "\n  rank %d on %s", r, kd_ranks_host(r));
        if (more > 0) kd_text_add(out, " and %d more", more);
        kd_text_add(out, ": %s", way[r]);
    }
    return kd_text_finish(out, "the ways of ranks to compute");
}

/* The same on all ranks, who have all ways. */
static int compare_ways(char (*way)[WAY_MAX]) {
    const char *allowed = getenv("DISTILL_MIXED");
    kd_text list = {0};
    int same = 0;
    while (same < kd_rank_count() && strcmp(way[same], way[0]) == 0) same++;
    if (same == kd_rank_count()) return KD_OK;
    int status = list_ways(&list, way);
    if (status < 0) return status;
    if (allowed && strcmp(allowed, "allow") == 0)
        kd_warn("the ranks compute in different ways, so that the result depends on how the work "
                "was shared:%s",
                list.text);
    else
        status = kd_fail(KD_EUSAGE,
                         "the ranks compute in different ways:%s\nso that the result would depend "
                         "on how the work was shared; take nodes of one kind, or the same "
                         "DISTILL_ISA on all, or say DISTILL_MIXED=allow",
                         list.text);
    free(list.text);
    return status;
}

int kd_environment_agree(void) {
    const int64_t ranks = kd_rank_count();
    if (ranks == 1) return KD_OK;
    char(*way)[WAY_MAX] = calloc(kd_array_bytes(ranks, 1), sizeof *way);
    int status = kd_ranks_worst(way ? KD_OK : kd_fail_memory((size_t)ranks * sizeof *way, "ranks"));
    if (status == KD_OK) {
        describe_way(way[kd_rank()]);
        kd_ranks_gather_parts(way, ranks, sizeof *way);
        status = kd_ranks_worst(compare_ways(way));
    }
    free(way);
    return status;
}
