/* Charts of lines as inline SVG. */
#ifndef KD_REPORT_SVG_H
#define KD_REPORT_SVG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

/* A line in a chart of curves: n points; a value that is not finite breaks the line. */
typedef struct {
    const char *name; /* in the legend and in tooltips; NULL: a line without words */
    const char *css;  /* class of the line                                         */
    int64_t n;
    const double *x, *y;
    bool dots; /* a mark at every point */
} kd_svg_line;

enum { KD_SVG_LINES_MAX = 6 };

/* Texts are plain ASCII or UTF-8 without characters that HTML would take for its own. */
typedef struct {
    const char *id, *title, *description; /* `id` is unique on the page                    */
    const char *x_name;                   /* "epoch"                                       */
    const char *y_format;                 /* printf format of one double, for tooltips     */
    double y_scale;                       /* values are multiplied by it before all else   */
    bool from_zero;                       /* the y axis begins at 0                        */
    double mark_x;                        /* a hairline here, called mark_name; or NAN     */
    const char *mark_name;
    int count;
    kd_svg_line line[KD_SVG_LINES_MAX];
} kd_svg_chart;

/* The chart as a <figure>; nothing when no line has two points. */
void kd_svg_add_chart(kd_text *out, const kd_svg_chart *chart);
bool kd_svg_chart_is_empty(const kd_svg_chart *chart);

#endif
