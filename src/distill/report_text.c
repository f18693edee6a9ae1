/* The report on a terminal: one table of models, one of classes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "distill/report_parts.h"

enum { CELL_MAX = 32, CLASSES_SHOWN_MAX = 24 };

static void add_name(kd_text *rows, const char *name) {
    kd_text_add_plain(rows, name, strlen(name));
}

/* "shirt 71.2 % (−6.8)" */
static void add_worst(kd_text *rows, const kd_report *report, const kd_result *r) {
    const kd_result *teacher = kd_report_teacher(report);
    if (teacher == r) teacher = NULL;
    int worst = kd_result_worst_class(r, teacher);
    if (worst < 0) return;
    double accuracy = 100 * kd_result_class_accuracy(r, worst);
    add_name(rows, report->class_name[worst]);
    kd_text_add(rows, " %.1f %%", accuracy);
    if (!teacher) return;
    double change = accuracy - 100 * kd_result_class_accuracy(teacher, worst);
    kd_text_add(rows, " (%s%.1f)", change < 0 ? "−" : "+", fabs(change));
}

static void add_model_row(kd_text *rows, const kd_report *report, const kd_result *r) {
    char count[CELL_MAX], bytes[CELL_MAX], memory[CELL_MAX];
    double low, high;
    kd_result_interval(r, &low, &high);
    kd_format_count(count, sizeof count, r->parameters);
    kd_format_bytes(bytes, sizeof bytes, (double)r->bytes);
    kd_format_bytes(memory, sizeof memory, (double)r->memory);
    double accuracy = r->samples ? (double)r->correct / (double)r->samples : 0;
    add_name(rows, r->name);
    kd_text_add(rows, "\t%.2f %%\t%.2f … %.2f\t%s\t%s\t%s\t%.3f\t", 100 * accuracy, 100 * low,
                100 * high, count, bytes, memory, r->ms_per_sample);
    add_worst(rows, report, r);
    kd_text_add(rows, "\n");
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
    for (int i = 0; i < report->count; i++) {
        kd_text_add(&rows, "\t");
        add_name(&rows, report->result[i].name);
        kd_text_add(&rows, "  ");
    }
    for (int label = 0; label < report->classes; label++) {
        kd_text_add(&rows, "\n");
        add_name(&rows, report->class_name[label]);
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
