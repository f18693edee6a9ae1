/* The report on a terminal: one table of models, one of classes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "distill/report_parts.h"

enum { CELL_MAX = 96, CLASSES_SHOWN_MAX = 24 };

/* "shirt 71.2 % (−6.8)" */
static void worst_cell(char *out, const kd_report *report, const kd_result *r) {
    const kd_result *teacher = kd_report_teacher(report);
    if (teacher == r) teacher = NULL;
    int worst = kd_result_worst_class(r, teacher);
    out[0] = '\0';
    if (worst < 0) return;
    double accuracy = 100 * kd_result_class_accuracy(r, worst);
    int used = snprintf(out, CELL_MAX, "%.40s %.1f %%", report->class_name[worst], accuracy);
    if (!teacher || used < 0 || used >= CELL_MAX) return;
    double change = accuracy - 100 * kd_result_class_accuracy(teacher, worst);
    snprintf(out + used, (size_t)(CELL_MAX - used), " (%s%.1f)", change < 0 ? "−" : "+",
             fabs(change));
}

static void add_model_row(kd_text *rows, const kd_report *report, const kd_result *r) {
    char count[CELL_MAX], bytes[CELL_MAX], memory[CELL_MAX], worst[CELL_MAX];
    double low, high;
    kd_result_interval(r, &low, &high);
    kd_format_count(count, sizeof count, r->parameters);
    kd_format_bytes(bytes, sizeof bytes, (double)r->bytes);
    kd_format_bytes(memory, sizeof memory, (double)r->memory);
    worst_cell(worst, report, r);
    double accuracy = r->samples ? (double)r->correct / (double)r->samples : 0;
    kd_text_add(rows, "%s\t%.2f %%\t%.2f … %.2f\t%s\t%s\t%s\t%.3f\t%s\n", r->name, 100 * accuracy,
                100 * low, 100 * high, count, bytes, memory, r->ms_per_sample, worst);
}

static void add_table(kd_text *out, const char *align, kd_text *rows) {
    if (kd_text_finish(rows, "a table") == KD_OK)
        kd_text_add_table(out, align, rows->text);
    else
        out->failed = true;
    free(rows->text);
}

static void add_models(kd_text *out, const kd_report *report) {
    kd_text rows = {0};
    kd_text_add(&rows, "model\taccuracy\t95 %% interval\tparameters\tsize\tmemory\tms/sample\t%s\n",
                kd_report_teacher(report) ? "class that lost most against the teacher"
                                          : "worst class");
    for (int i = 0; i < report->count; i++) add_model_row(&rows, report, &report->result[i]);
    add_table(out, "lrrrrrrl", &rows);
}

/* One row for each class; the one that lost most against the teacher is marked. */
static void add_classes(kd_text *out, const kd_report *report) {
    const kd_result *teacher = kd_report_teacher(report);
    kd_text rows = {0};
    kd_text_add(&rows, "class");
    for (int i = 0; i < report->count; i++) kd_text_add(&rows, "\t%s  ", report->result[i].name);
    for (int label = 0; label < report->classes; label++) {
        kd_text_add(&rows, "\n%s", report->class_name[label]);
        for (int i = 0; i < report->count; i++) {
            const kd_result *r = &report->result[i];
            double accuracy = kd_result_class_accuracy(r, label);
            bool worst = teacher && r != teacher && kd_result_worst_class(r, teacher) == label;
            if (isnan(accuracy))
                kd_text_add(&rows, "\t–  ");
            else
                kd_text_add(&rows, "\t%.1f %s", 100 * accuracy, worst ? "▼" : " ");
        }
    }
    kd_text_add(&rows, "\n");
    kd_text_add(out, "\n");
    static const char right[] = "lrrrrrrrr";
    char align[sizeof right];
    snprintf(align, sizeof align, "%.*s", report->count + 1, right);
    add_table(out, align, &rows);
    if (teacher && report->count > 1) kd_text_add(out, "▼ lost most against the teacher\n");
}

void kd_report_add_text(kd_text *out, const kd_report *report) {
    add_models(out, report);
    if (report->classes <= CLASSES_SHOWN_MAX) add_classes(out, report);
}
