/* Size, speed and quality of every model of a table side by side: what compressing brought and what
 * it cost. Any task's table has them, when its metrics are called so:
 *
 *   the first       quality, with its interval            bytes          size of the file
 *   table->speed    speed                                 kl_to_float …  distance from the float
 *                                                                        student, KD_FIDELITY_ROWS
 */
#ifndef KD_REPORT_COMPRESSION_H
#define KD_REPORT_COMPRESSION_H

#include "report/measured.h"
#include "report/plot.h"

/* Rows of a table of metrics: nats of KL(float student ‖ model) an answer, mean and quantiles, and
 * how often both find the same most likely. */
enum { KD_FIDELITY_METRICS = 7 };
#define KD_FIDELITY_ROWS(first)                                                                    \
    [first] = {.name = "kl_to_float", .title = "KL to float", .unit = KD_UNIT_NUMBER},             \
    [(first) + 1] = {.name = "kl_median", .unit = KD_UNIT_NUMBER},                                 \
    [(first) + 2] = {.name = "kl_90", .unit = KD_UNIT_NUMBER},                                     \
    [(first) + 3] = {.name = "kl_99", .unit = KD_UNIT_NUMBER},                                     \
    [(first) + 4] = {.name = "kl_999", .unit = KD_UNIT_NUMBER},                                    \
    [(first) + 5] = {.name = "kl_most", .unit = KD_UNIT_NUMBER},                                   \
    [(first) + 6] = {.name = "same_answer",                                                        \
                     .title = "same answer",                                                       \
                     .unit = KD_UNIT_SHARE,                                                        \
                     .higher_is_better = true,                                                     \
                     .least = 0,                                                                   \
                     .most = 1}

/* Whether there is anything to tell: a model has a distance from the float student. */
bool kd_compression_is_shown(const kd_measured_table *table);

/* The table for a terminal; ◆ marks the models that no other is both smaller and better than. */
void kd_compression_add_text(kd_text *out, const kd_measured_table *table);
/* The same and the drawing as a section of a page. */
void kd_compression_add_html(kd_text *out, const kd_measured_table *table);

/* Size against quality with its interval; a line joins those that ◆ marks. */
void kd_compression_add_plot(kd_text *out, const kd_measured_table *table, const char *title,
                             kd_plot_form form);

/* <folder>/pareto.svg; nothing when nothing is shown. */
int kd_compression_save(const kd_measured_table *table, const char *title, const char *folder);

#endif
