/* The forms a report takes, each as text, and the small things they share. */
#ifndef KD_TASKS_CLASSIFY_REPORT_PARTS_H
#define KD_TASKS_CLASSIFY_REPORT_PARTS_H

#include "base/text.h"
#include "report/page.h"
#include "report/plot.h"
#include "report/runlog.h"
#include "tasks/classify/report.h"

void kd_report_add_html(kd_text *out, const kd_report *report, const kd_runlog_curves *curves);

/* Accuracy on one class as a fraction; NAN when it has no samples. */
double kd_result_class_accuracy(const kd_result *result, int label);

/* The teacher's row, or NULL. */
const kd_result *kd_report_teacher(const kd_report *report);

/* The section about classes: each one's difference to the teacher, the worst first, and the most
 * confused pairs (report_classes.c). */
void kd_report_add_classes(kd_text *out, const kd_report *report);

#endif
