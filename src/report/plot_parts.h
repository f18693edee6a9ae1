/* Inside report/: what both kinds of drawings begin and end with. */
#ifndef KD_REPORT_PLOT_PARTS_H
#define KD_REPORT_PLOT_PARTS_H

#include "report/plot.h"

enum { KD_PLOT_PAGE_WIDTH = 360, KD_PLOT_FILE_WIDTH = 640 };

/* <text class="…" x="…" y="…">words</text> */
void kd_plot_add_text(kd_text *out, const char *css, double x, double y, const char *words);

/* On a page the figure's title and legend, then the <svg>. */
void kd_plot_begin(kd_text *out, kd_plot_form form, int height, const char *title,
                   const char *legend, int key_count, const kd_plot_key *key);
void kd_plot_end(kd_text *out, kd_plot_form form);

/* The colour class of the number-th series. */
const char *kd_plot_colour(const char *colour, int number);

#endif
