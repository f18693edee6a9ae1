/* The forms a report takes, each as text, and the small things they share. */
#ifndef KD_DISTILL_REPORT_PARTS_H
#define KD_DISTILL_REPORT_PARTS_H

#include "base/text.h"
#include "distill/report.h"
#include "distill/runlog.h"

void kd_report_add_text(kd_text *out, const kd_report *report);
void kd_report_add_json(kd_text *out, const kd_report *report);
void kd_report_add_html(kd_text *out, const kd_report *report, const kd_runlog_curves *curves);

/* Accuracy on one class as a fraction; NAN when it has no samples. */
double kd_result_class_accuracy(const kd_result *result, int label);

/* The teacher's row, or NULL. */
const kd_result *kd_report_teacher(const kd_report *report);

/* A page around its content: begin_page, more CSS if need be, begin_body, the content, and of a run
 * its settings under the title and end_page with the resolved config. */
void kd_report_begin_page(kd_text *out, const char *name);
void kd_report_begin_body(kd_text *out, const char *name);
void kd_report_add_settings(kd_text *out, uint64_t seed, const char *precision,
                            const kd_hash *config);
void kd_report_end_page(kd_text *out, const char *resolved);

/* Text as HTML content or attribute: & < > " ' escaped. */
void kd_text_add_escaped(kd_text *out, const char *text);

/* The CSS class of a row's marks: "teacher", "student", "alone", "ptq", "blob"; "other" for a kind
 * that the page does not know. */
const char *kd_report_kind_class(const kd_result *result);

/* The charts of a run's log (report_curves.c): losses, `measure` (the title of the validation
 * chart), learning rate. `qat`: the stage drawn behind the float training, "" for none; `taught`:
 * the loss has parts. */
void kd_report_add_curves(kd_text *out, const kd_runlog_curves *log, const char *qat, bool taught,
                          const char *measure);
/* Whether the log has steps of a stage. */
bool kd_report_has_stage(const kd_runlog_curves *log, const char *stage);

/* --- charts (report_svg.c) ------------------------------------------------------------------ */

/* The accuracy on one class, one bar for each model, as an <svg>. */
void kd_svg_add_class_bars(kd_text *out, const kd_report *report, int label);

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
