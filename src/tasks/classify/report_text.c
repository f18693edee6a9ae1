/* The report on a terminal: one table of models, one of classes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "tasks/classify/report_parts.h"

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

/* How many digits the largest number of errors of a class or a model takes. */
static int error_digits(const kd_report *report) {
    int64_t most = 0;
    for (int i = 0; i < report->count; i++) {
        int64_t errors = report->result[i].samples - report->result[i].correct;
        if (errors > most) most = errors;
    }
    return snprintf(NULL, 0, "%lld", (long long)most);
}

/* "98.6 (14) ▼" */
static void add_class_cell(kd_text *rows, int64_t samples, int64_t correct, int digits, bool mark) {
    char errors[CELL_MAX];
    if (samples == 0) {
        kd_text_add(rows, "\t–  ");
        return;
    }
    snprintf(errors, sizeof errors, "(%lld)", (long long)(samples - correct));
    kd_text_add(rows, "\t%.1f %*s %s", 100 * (double)correct / (double)samples, digits + 2, errors,
                mark ? "▼" : " ");
}

static void add_class_row(kd_text *rows, const kd_report *report, int label, int digits) {
    const kd_result *teacher = kd_report_teacher(report);
    kd_text_add(rows, "\n");
    add_name(rows, report->class_name[label]);
    kd_text_add(rows, "\t%lld", (long long)report->result[0].class_samples[label]);
    for (int i = 0; i < report->count; i++) {
        const kd_result *r = &report->result[i];
        bool worst = teacher && r != teacher && kd_result_worst_class(r, teacher) == label;
        add_class_cell(rows, r->class_samples[label], r->class_correct[label], digits, worst);
    }
}

/* One row for each class and one for all; the class that lost most against the teacher is marked.
 */
static void add_classes(kd_text *out, const kd_report *report) {
    const kd_result *teacher = kd_report_teacher(report);
    const int digits = error_digits(report);
    kd_text rows = {0};
    kd_text_add(&rows, "class\tsamples");
    for (int i = 0; i < report->count; i++) {
        kd_text_add(&rows, "\t");
        add_name(&rows, report->result[i].name);
        kd_text_add(&rows, "  ");
    }
    for (int label = 0; label < report->classes; label++)
        add_class_row(&rows, report, label, digits);
    kd_text_add(&rows, "\nall\t%lld", (long long)report->result[0].samples);
    for (int i = 0; i < report->count; i++)
        add_class_cell(&rows, report->result[i].samples, report->result[i].correct, digits, false);
    kd_text_add(&rows, "\n");
    kd_text_add(out, "\n");
    static const char right[] = "lrrrrrrrrr";
    char align[sizeof right];
    snprintf(align, sizeof align, "%.*s", report->count + 2, right);
    add_table(out, align, &rows);
    kd_text_add(out, "%% right (errors)%s\n",
                teacher && report->count > 1 ? "; ▼ lost most against the teacher" : "");
}

void kd_report_add_text(kd_text *out, const kd_report *report) {
    add_models(out, report);
    if (report->count > 0 && report->classes <= CLASSES_SHOWN_MAX) add_classes(out, report);
}
