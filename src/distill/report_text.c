/* The report on a terminal: one table of models, one of classes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "distill/report_parts.h"

enum { COLUMNS_MAX = 10, ROWS_MAX = 32, CELL_MAX = 96, CLASSES_SHOWN_MAX = 24, GAP = 3 };

typedef struct {
    int rows, columns;
    bool left[COLUMNS_MAX]; /* aligned to the left */
    char cell[ROWS_MAX][COLUMNS_MAX][CELL_MAX];
} table;

static void add_table(kd_text *out, const table *t) {
    int width[COLUMNS_MAX] = {0};
    for (int r = 0; r < t->rows; r++)
        for (int c = 0; c < t->columns; c++) {
            int n = kd_utf8_count(t->cell[r][c]);
            if (n > width[c]) width[c] = n;
        }
    for (int r = 0; r < t->rows; r++) {
        int blank = 0; /* spaces owed, so that none stand at a line's end */
        for (int c = 0; c < t->columns; c++) {
            const char *cell = t->cell[r][c];
            int gap = width[c] - kd_utf8_count(cell), trailing = 0;
            if (!t->left[c]) blank += gap;
            size_t length = strlen(cell);
            for (; length > 0 && cell[length - 1] == ' '; length--) trailing++;
            if (length > 0) {
                kd_text_add(out, "%*s%.*s", blank, "", (int)length, cell);
                blank = 0;
            }
            blank += trailing + (t->left[c] ? gap : 0) + GAP;
        }
        kd_text_add(out, "\n");
    }
}

static void set_cell(table *t, int row, int column, const char *text) {
    snprintf(t->cell[row][column], CELL_MAX, "%s", text);
}

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

static void fill_model_row(table *t, int row, const kd_report *report, const kd_result *r) {
    double low, high;
    kd_result_interval(r, &low, &high);
    double accuracy = r->samples ? (double)r->correct / (double)r->samples : 0;
    set_cell(t, row, 0, r->name);
    snprintf(t->cell[row][1], CELL_MAX, "%.2f %%", 100 * accuracy);
    snprintf(t->cell[row][2], CELL_MAX, "%.2f … %.2f", 100 * low, 100 * high);
    kd_format_count(t->cell[row][3], CELL_MAX, r->parameters);
    kd_format_bytes(t->cell[row][4], CELL_MAX, (double)r->bytes);
    kd_format_bytes(t->cell[row][5], CELL_MAX, (double)r->memory);
    snprintf(t->cell[row][6], CELL_MAX, "%.3f", r->ms_per_sample);
    worst_cell(t->cell[row][7], report, r);
}

static void add_models(kd_text *out, const kd_report *report) {
    static const char *const title[] = {"model", "accuracy", "95 % interval", "parameters",
                                        "size",  "memory",   "ms/sample"};
    table t = {.rows = report->count + 1, .columns = 8, .left = {[0] = true, [7] = true}};
    for (int c = 0; c < 7; c++) set_cell(&t, 0, c, title[c]);
    set_cell(&t, 0, 7,
             kd_report_teacher(report) ? "class that lost most against the teacher"
                                       : "worst class");
    for (int i = 0; i < report->count; i++) fill_model_row(&t, i + 1, report, &report->result[i]);
    add_table(out, &t);
}

/* One row for each class; the one that lost most against the teacher is marked. */
static void add_classes(kd_text *out, const kd_report *report) {
    const kd_result *teacher = kd_report_teacher(report);
    table t = {.rows = report->classes + 1, .columns = report->count + 1, .left = {[0] = true}};
    set_cell(&t, 0, 0, "class");
    for (int i = 0; i < report->count; i++) {
        const kd_result *r = &report->result[i];
        int worst = kd_result_worst_class(r, teacher);
        snprintf(t.cell[0][i + 1], CELL_MAX, "%s  ", r->name);
        for (int label = 0; label < report->classes; label++) {
            double accuracy = kd_result_class_accuracy(r, label);
            char *cell = t.cell[label + 1][i + 1];
            if (isnan(accuracy))
                snprintf(cell, CELL_MAX, "–  ");
            else
                snprintf(cell, CELL_MAX, "%.1f %s", 100 * accuracy,
                         teacher && r != teacher && label == worst ? "▼" : " ");
        }
    }
    for (int label = 0; label < report->classes; label++)
        set_cell(&t, label + 1, 0, report->class_name[label]);
    kd_text_add(out, "\n");
    add_table(out, &t);
    if (teacher && report->count > 1) kd_text_add(out, "▼ lost most against the teacher\n");
}

void kd_report_add_text(kd_text *out, const kd_report *report) {
    add_models(out, report);
    if (report->classes <= CLASSES_SHOWN_MAX) add_classes(out, report);
}
