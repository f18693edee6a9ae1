/* Plots for papers and pages as SVG: lines with error bars on linear or logarithmic axes, and rows
 * of means with their intervals. The same drawing is part of a page, whose style sheet has
 * kd_plot_page_style, or a file of its own with its own style. */
#ifndef KD_REPORT_PLOT_H
#define KD_REPORT_PLOT_H

#include "base/text.h"

enum { KD_PLOT_LINES_MAX = 10 };

/* What a figure can be at least and at most, as 0 and 100 of a percentage: no axis goes beyond.
 * Both 0: anything. */
typedef struct {
    double least, most;
} kd_plot_bounds;

/* n points (x, y), each with a bar from low to high; both may be NULL. Points that are not finite
 * are left out and break the line; so is what a logarithmic axis cannot show. */
typedef struct {
    const char *name; /* in the legend; NULL: not there  */
    int n;
    const double *x, *y, *low, *high;
    bool dashed, no_marks;
} kd_plot_line;

/* Texts may hold anything; they are escaped. */
typedef struct {
    const char *title, *x_name, *y_name;
    const char *legend; /* above the legend's entries; may be NULL */
    bool log_x, log_y;
    kd_plot_bounds y_bounds;
    int tick_count; /* ticks of the x axis; 0: chosen here     */
    const double *tick;
    const char *const *tick_name;
    const char *y_format; /* printf format of one double, for tooltips */
    int line_count;
    kd_plot_line line[KD_PLOT_LINES_MAX];
} kd_plot;

/* Adds the <svg>; nothing when no point can be shown. `alone`: with its own style, as a file. */
void kd_plot_add_lines(kd_text *out, const kd_plot *plot, bool alone);

/* One row: `n` values, their mean and the interval low … high (NAN: none). */
typedef struct {
    const char *name;
    int n;
    const double *value;
    double mean, low, high;
} kd_plot_row;

typedef struct {
    const char *title, *x_name;
    const char *x_format;
    kd_plot_bounds bounds; /* of the values */
    int count;
    const kd_plot_row *row;
} kd_plot_rows;

void kd_plot_add_rows(kd_text *out, const kd_plot_rows *plot, bool alone);

/* Style rules for a page that has plots; colours --ink, --soft and --line come from the page. */
extern const char *const kd_plot_page_style;

#endif
