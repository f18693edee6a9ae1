/* Numbers with names. A metric says what a number is called, how people read it and which way is
 * better; logs, checkpoints, tables, pages, curves and sweeps know no more of a task than its
 * metrics. Each task and each objective states its own in one static table. */
#ifndef KD_REPORT_METRIC_H
#define KD_REPORT_METRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KD_METRICS_MAX = 24, KD_METRIC_NAME_MAX = 32 };

/* How a value is written for people. */
typedef enum {
    KD_UNIT_NUMBER, /* "0.4312"                           */
    KD_UNIT_SHARE,  /* of 1, in percent: "84.21 %"        */
    KD_UNIT_COUNT,  /* "58,142"                           */
    KD_UNIT_BYTES,  /* "4.1 MB"                           */
    KD_UNIT_TIME    /* seconds, milliseconds …: "0.123"   */
} kd_unit;

typedef struct {
    const char *name;  /* in files: letters, digits, '_': "accuracy", "wer", "r2"     */
    const char *title; /* for people: "against the teacher"; NULL: files only         */
    kd_unit unit;
    bool higher_is_better;
    bool has_interval;  /* a table has a column for its interval                      */
    bool in_sweep;      /* beside the first, a sweep's table has it, too              */
    double least, most; /* what it can be, for axes and intervals; both 0: anything   */
} kd_metric;

/* A number of a log line or of a curve. */
typedef struct {
    const char *name;
    double value;
} kd_scalar;

/* What was measured, with its 95 % interval: NAN where none is stated, and `high` INFINITY where it
 * has no upper end. `n` is what it is of, samples mostly; 0: not said. */
typedef struct {
    double value, low, high;
    int64_t n;
} kd_estimate;

/* A value without an interval. */
kd_estimate kd_estimate_plain(double value, int64_t n);
/* right/n with Wilson's interval; NAN of none, whose interval is 0 … 1. */
kd_estimate kd_estimate_share(int64_t right, int64_t n);

/* Whether a is better than b; anything is better than NAN, and nothing than itself. */
bool kd_metric_is_better(const kd_metric *metric, double a, double b);

/* The metric of this name out of `count`, or −1. */
int kd_metric_find(const kd_metric *metric, int count, const char *name);

/* A value as people read it: "84.21 %"; a dash for NAN. */
void kd_metric_text(char *out, size_t capacity, const kd_metric *metric, double value);
/* The ends of an interval: "82.10 … 86.05", "at least 82.10", "" where there is none. */
void kd_metric_interval_text(char *out, size_t capacity, const kd_metric *metric,
                             const kd_estimate *estimate);
/* Decimals of a mean that was scaled: 2 of a share. */
int kd_metric_digits(const kd_metric *metric);
/* What a value is multiplied with for people: 100 for shares. */
double kd_metric_scale(const kd_metric *metric);
/* The printf format of a value that was scaled, for axes and tooltips: "%.2f %%". */
const char *kd_metric_format(const kd_metric *metric);

#endif
