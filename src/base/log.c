#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/ranks.h"

static const double TERMINAL_INTERVAL = 0.1, PLAIN_INTERVAL = 30.0;
static bool line_is_open; /* a progress line stands on the terminal */

static void clear_line(void) {
    if (line_is_open) fputs("\r\033[K", stderr);
    line_is_open = false;
}

static void log_line(const char *prefix, const char *format, va_list arguments) {
    if (!kd_rank_first()) return;
    clear_line();
    fputs(prefix, stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void kd_log(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    log_line("", format, arguments);
    va_end(arguments);
}

void kd_warn(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    log_line("warning: ", format, arguments);
    va_end(arguments);
}

bool kd_log_colour(void) {
    const char *no_colour = getenv("NO_COLOR");
    return isatty(STDERR_FILENO) && !(no_colour && *no_colour);
}

double kd_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int64_t kd_peak_rss(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}

void kd_format_duration(char *out, int capacity, double seconds) {
    long long s = (long long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, (size_t)capacity, "%lld h %02lld min", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        snprintf(out, (size_t)capacity, "%lld min %02lld s", s / 60, s % 60);
    else
        snprintf(out, (size_t)capacity, "%lld s", s);
}

void kd_format_bytes(char *out, int capacity, double bytes) {
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    int u = 0;
    while (bytes >= 999.5 && u < 4) {
        bytes /= 1000;
        u++;
    }
    snprintf(out, (size_t)capacity, u == 0 || bytes >= 99.5 ? "%.0f %s" : "%.1f %s", bytes,
             unit[u]);
}

void kd_progress_begin(kd_progress *progress, const char *what, const char *unit,
                       double unit_per_step, int64_t start, int64_t total) {
    double now = kd_clock();
    *progress = (kd_progress){.what = what,
                              .unit = unit,
                              .unit_per_step = unit_per_step,
                              .start = start,
                              .total = total,
                              .began = now,
                              .last_shown = isatty(STDERR_FILENO) ? 0 : now};
}

void kd_progress_show(kd_progress *progress, int64_t done, const char *detail) {
    kd_ranks_alive(progress->what, done);
    if (!kd_rank_first()) return;
    bool terminal = isatty(STDERR_FILENO);
    double now = kd_clock(), elapsed = now - progress->began;
    if (now - progress->last_shown < (terminal ? TERMINAL_INTERVAL : PLAIN_INTERVAL)) return;
    progress->last_shown = now;
    int64_t here = done - progress->start;
    double rate = elapsed > 0 ? (double)here / elapsed : 0;
    char eta[32] = "?";
    if (rate > 0) kd_format_duration(eta, sizeof eta, (double)(progress->total - done) / rate);
    clear_line();
    const double units = rate * progress->unit_per_step;
    fprintf(stderr, "%s %lld/%lld (%.0f %%)  %s%s%.*f %s/s  ETA %s", progress->what,
            (long long)done, (long long)progress->total,
            progress->total > 0 ? 100.0 * (double)done / (double)progress->total : 100.0, detail,
            *detail ? "  " : "", units < 10 ? 2 : 0, units, progress->unit, eta);
    if (terminal)
        line_is_open = true;
    else
        fputc('\n', stderr);
    fflush(stderr);
}

void kd_progress_end(kd_progress *progress) {
    (void)progress;
    clear_line();
}
