/* Drawings as SVG: curves and points on linear or logarithmic axes with their intervals, and rows
 * of means or bars. Every picture of a page or a paper is one of the two. Texts may hold anything;
 * they are escaped. */
#ifndef KD_REPORT_PLOT_H
#define KD_REPORT_PLOT_H

#include "base/text.h"
#include "report/axis.h"

/* On a page: a <figure> with its title and legend as text, as wide as a telephone, coloured by the
 * page (style.h). As a file of its own: an <svg> for papers, with everything in it, on white. */
typedef enum { KD_PLOT_ON_PAGE, KD_PLOT_AS_FILE } kd_plot_form;

enum { KD_PLOT_LINES_MAX = 32 };

/* A series of n points (x, y); `low` and `high` are the ends of their intervals, or NULL. Points
 * that are not finite are left out and break the line; so is what a logarithmic axis cannot show.
 */
typedef struct {
    const char *name;   /* in the legend and in tooltips; NULL: in neither                 */
    const char *colour; /* a class of style.h ("teacher"); NULL: by the place in the list  */
    int64_t n;
    const double *x, *y, *low, *high;
    bool dashed, faint, no_marks; /* marks are left out of long series in any case */
} kd_plot_line;

typedef struct {
    const char *title, *x_name, *y_name;
    const char *legend; /* above the legend's entries; may be NULL        */
    bool log_x, log_y;
    bool x_counts;           /* the x axis begins at 0, its ticks are whole    */
    bool from_zero;          /* a linear y axis begins at 0                    */
    kd_plot_bounds y_bounds; /* of the values                                  */
    int tick_count;          /* ticks of the x axis; 0: chosen here            */
    const double *tick;
    const char *const *tick_name;
    double hairline; /* an upright line here, with its name; without one: no line */
    const char *hairline_name;
    const char *y_format; /* printf format of one double, for tooltips         */
    int line_count;
    kd_plot_line line[KD_PLOT_LINES_MAX];
} kd_plot;

/* The colour class of a model: its kind, or "other" where that has none. */
const char *kd_plot_model_colour(const char *kind);

/* Adds the drawing; nothing when no point can be shown. */
void kd_plot_add_lines(kd_text *out, const kd_plot *plot, kd_plot_form form);

/* `n` values, their mean and the interval low … high (NAN: none). */
typedef struct {
    const char *name;   /* NULL: one more row of the group above it        */
    const char *colour; /* as of a line; NULL: the first                   */
    const char *words;  /* for the tooltip; may be NULL                    */
    int n;
    const double *value;
    double mean, low, high;
} kd_plot_row;

/* An entry of the legend. */
typedef struct {
    const char *name, *colour;
} kd_plot_key;

typedef struct {
    const char *title, *x_name;
    const char *note;      /* what the marks mean; may be NULL */
    const char *x_format;  /* printf format of a row's mean */
    bool bars;             /* from 0 to the mean, which counts something */
    bool zero;             /* a line at 0, which the axis then spans           */
    kd_plot_bounds bounds; /* of the values */
    int key_count;
    const kd_plot_key *key;
    int count;
    const kd_plot_row *row;
} kd_plot_rows;

void kd_plot_add_rows(kd_text *out, const kd_plot_rows *plot, kd_plot_form form);

#endif
