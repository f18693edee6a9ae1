/* The forms a report takes, each as text, and the small things they share. */
#ifndef KD_TASKS_CLASSIFY_REPORT_PARTS_H
#define KD_TASKS_CLASSIFY_REPORT_PARTS_H

#include "base/text.h"
#include "report/page.h"
#include "report/runlog.h"
#include "report/svg.h"
#include "tasks/classify/report.h"

void kd_report_add_html(kd_text *out, const kd_report *report, const kd_runlog_curves *curves);

/* Accuracy on one class as a fraction; NAN when it has no samples. */
double kd_result_class_accuracy(const kd_result *result, int label);

/* The teacher's row, or NULL. */
const kd_result *kd_report_teacher(const kd_report *report);

/* The CSS class of a row's marks: "teacher", "student", "alone", "ptq", "blob"; "other" for a kind
 * that the page does not know. */
const char *kd_report_kind_class(const kd_result *result);

/* The accuracy on one class, one bar for each model, as an <svg> (report_bars.c). */
void kd_svg_add_class_bars(kd_text *out, const kd_report *report, int label);

#endif
