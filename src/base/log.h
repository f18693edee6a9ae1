/* What the program tells the person while it works: stderr only; results go to stdout. Of several
 * ranks (ranks.h) the first speaks for all. */
#ifndef KD_BASE_LOG_H
#define KD_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* One line on stderr ("distill: " is not put in front; the text speaks for itself). A progress
 * line that stands on the terminal is cleared first. */
void kd_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same behind "warning: ". */
void kd_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* True when stderr is a terminal and NO_COLOR is not set. */
bool kd_log_colour(void);

/* A progress line: on a terminal it is redrawn in place, at most ten times a second; elsewhere one
 * plain line every 30 seconds. The ETA comes from this run's own rate. */
typedef struct {
    const char *what;         /* "train", "teach" …; borrowed                    */
    const char *unit;         /* "samples"; borrowed                             */
    double unit_per_step;     /* how many units one step of `done` stands for    */
    int64_t start, total;     /* steps done before this run, and in all          */
    double began, last_shown; /* seconds                                         */
} kd_progress;

void kd_progress_begin(kd_progress *progress, const char *what, const char *unit,
                       double unit_per_step, int64_t start, int64_t total);
/* `detail` is put behind the bar ("loss 0.412 (kl 0.310 hard 0.102)"); may be "". */
void kd_progress_show(kd_progress *progress, int64_t done, const char *detail);
void kd_progress_end(kd_progress *progress);

/* "1 h 02 min", "3 min 20 s", "12 s" */
void kd_format_duration(char *out, int capacity, double seconds);
/* "1.4 MB" (powers of 1000), "312 B" */
void kd_format_bytes(char *out, int capacity, double bytes);

double kd_clock(void);     /* monotonic seconds                             */
int64_t kd_peak_rss(void); /* bytes, of this process; 0 when it is unknown  */

#endif
