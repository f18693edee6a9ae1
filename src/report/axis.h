/* An axis of a drawing, linear or logarithmic: what it spans, where its values lie, its ticks. */
#ifndef KD_REPORT_AXIS_H
#define KD_REPORT_AXIS_H

#include <stdbool.h>
#include <stddef.h>

enum { KD_TICKS_MAX = 80 };

/* What a figure can be at least and at most, as 0 and 100 of a percentage: no axis goes beyond.
 * Both 0: anything. */
typedef struct {
    double least, most;
} kd_plot_bounds;

typedef struct {
    double low, high;   /* after log10 when `log`; low > high: nothing was shown yet */
    double first, last; /* where they lie on the paper                               */
    bool log;
    bool whole; /* ticks are whole numbers */
} kd_axis;

/* An axis that spans nothing yet. */
kd_axis kd_axis_begin(bool log, double first, double last);
/* Whether a value has a place: it is finite and, on a logarithmic axis, positive. */
bool kd_axis_can_show(const kd_axis *axis, double value);
/* Makes room for a value; what cannot be shown is passed over. */
void kd_axis_widen(kd_axis *axis, double value);
/* Adds `share` of the span on both sides, within the bounds. */
void kd_axis_add_margin(kd_axis *axis, double share, const kd_plot_bounds *bounds);
double kd_axis_place(const kd_axis *axis, double value);

/* A value that has a mark; `name` is empty where only a logarithmic axis shows its steps. */
typedef struct {
    double value;
    char name[16];
} kd_tick;

/* Text of a number with a true minus sign in front of what is negative. */
void kd_axis_number(char *out, size_t capacity, const char *format, double value)
    __attribute__((format(printf, 3, 0)));

/* The ticks, at most `most` of them named: multiples of 1, 2 or 5 times a power of ten; on a
 * logarithmic axis of some decades the powers of ten, with 2 and 5 between where there is room. The
 * number of ticks, at most KD_TICKS_MAX. */
int kd_axis_ticks(kd_tick out[KD_TICKS_MAX], const kd_axis *axis, int most);

#endif
