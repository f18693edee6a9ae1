/* What was measured, on a terminal: one table of models, one of groups. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "report/measured.h"

enum { CELL_MAX = 64, GROUPS_SHOWN_MAX = 24, COLUMNS_MAX = 2 * KD_METRICS_MAX + 2 };

static bool has_value(const kd_measured_table *table, int m) {
    for (int i = 0; i < table->count; i++)
        if (!isnan(table->model[i].value[m].value)) return true;
    return false;
}

/* Columns of metrics that nobody has are left out. */
static bool is_shown(const kd_measured_table *table, int m) {
    return table->metric[m].title && (m == 0 || has_value(table, m));
}

static void add_plain(kd_text *rows, const char *name) {
    kd_text_add_plain(rows, name, strlen(name));
}

/* --- models ----------------------------------------------------------------------------------- */

/* "−6.8" with the digits of a group's cell. */
static void add_change(kd_text *rows, const kd_metric *metric, double change) {
    kd_text_add(rows, " (%s%.*f)", change < 0 ? "−" : "+", metric->unit == KD_UNIT_SHARE ? 1 : 4,
                fabs(kd_metric_scale(metric) * change));
}

static void add_group_value(kd_text *rows, const kd_metric *metric, double value) {
    if (metric->unit == KD_UNIT_SHARE)
        kd_text_add(rows, "%.1f", 100 * value);
    else
        kd_text_add(rows, "%.4f", value);
}

/* "shirt 71.2 % (−6.8)" */
static void add_worst(kd_text *rows, const kd_measured_table *table, const kd_measured *model) {
    const kd_measured *teacher = kd_measured_teacher(table);
    const kd_metric *metric = &table->metric[0];
    const int worst = kd_measured_worst(table, model, teacher);
    if (worst < 0) return;
    const double value = kd_measured_group(table, model, worst, 0)->value;
    add_plain(rows, table->group_name[worst]);
    kd_text_add(rows, " ");
    add_group_value(rows, metric, value);
    if (metric->unit == KD_UNIT_SHARE) kd_text_add(rows, " %%");
    if (teacher && teacher != model)
        add_change(rows, metric, value - kd_measured_group(table, teacher, worst, 0)->value);
}

static void add_model_row(kd_text *rows, const kd_measured_table *table, const kd_measured *model) {
    char cell[CELL_MAX];
    add_plain(rows, model->name);
    for (int m = 0; m < table->metric_count; m++) {
        if (!is_shown(table, m)) continue;
        kd_metric_text(cell, sizeof cell, &table->metric[m], model->value[m].value);
        kd_text_add(rows, "\t%s", cell);
        if (!table->metric[m].has_interval) continue;
        kd_metric_interval_text(cell, sizeof cell, &table->metric[m], &model->value[m]);
        kd_text_add(rows, "\t%s", *cell ? cell : "–");
    }
    if (table->group_count > 0) {
        kd_text_add(rows, "\t");
        add_worst(rows, table, model);
    }
    kd_text_add(rows, "\n");
}

static void add_table(kd_text *out, const char *align, kd_text *rows) {
    if (kd_text_finish(rows, "a table") == KD_OK)
        kd_text_add_table(out, align, rows->text);
    else
        out->failed = true;
    free(rows->text);
}

static void add_models(kd_text *out, const kd_measured_table *table) {
    char align[COLUMNS_MAX + 1] = "l";
    int columns = 1;
    kd_text rows = {0};
    kd_text_add(&rows, "model");
    for (int m = 0; m < table->metric_count; m++) {
        if (!is_shown(table, m)) continue;
        kd_text_add(&rows, "\t%s", table->metric[m].title);
        align[columns++] = 'r';
        if (!table->metric[m].has_interval) continue;
        kd_text_add(&rows, "\t95 %% interval");
        align[columns++] = 'r';
    }
    if (table->group_count > 0) {
        kd_text_add(&rows,
                    kd_measured_teacher(table) ? "\t%s that lost most against the teacher"
                                               : "\tworst %s",
                    table->group);
        align[columns++] = 'l';
    }
    align[columns] = '\0';
    kd_text_add(&rows, "\n");
    for (int i = 0; i < table->count; i++) add_model_row(&rows, table, &table->model[i]);
    add_table(out, align, &rows);
}

/* --- groups ----------------------------------------------------------------------------------- */

/* A count that groups have, which stands behind the first metric: errors, say; −1 without. */
static int count_of_groups(const kd_measured_table *table) {
    for (int m = 1; m < table->metric_count && table->count > 0; m++)
        if (table->metric[m].unit == KD_UNIT_COUNT &&
            !isnan(kd_measured_group(table, &table->model[0], 0, m)->value))
            return m;
    return -1;
}

/* How many digits the largest count of a model takes. */
static int count_digits(const kd_measured_table *table, int m) {
    double most = 0;
    for (int i = 0; i < table->count; i++) most = fmax(most, table->model[i].value[m].value);
    return snprintf(NULL, 0, "%.0f", most);
}

/* "98.6 (14) ▼" */
static void add_group_cell(kd_text *rows, const kd_measured_table *table, const kd_estimate *value,
                           int m, int digits, bool mark) {
    char count[CELL_MAX];
    if (isnan(value[0].value)) {
        kd_text_add(rows, "\t–  ");
        return;
    }
    kd_text_add(rows, "\t");
    add_group_value(rows, &table->metric[0], value[0].value);
    if (m >= 0) {
        snprintf(count, sizeof count, "(%.0f)", value[m].value);
        kd_text_add(rows, " %*s", digits + 2, count);
    }
    kd_text_add(rows, " %s", mark ? "▼" : " ");
}

/* One row for each group and one for all; the group that lost most against the teacher is marked.
 */
static void add_group_rows(kd_text *rows, const kd_measured_table *table) {
    const kd_measured *teacher = kd_measured_teacher(table);
    const int m = count_of_groups(table), digits = m >= 0 ? count_digits(table, m) : 0;
    for (int g = 0; g < table->group_count; g++) {
        kd_text_add(rows, "\n");
        add_plain(rows, table->group_name[g]);
        kd_text_add(rows, "\t%lld", (long long)kd_measured_group(table, &table->model[0], g, 0)->n);
        for (int i = 0; i < table->count; i++) {
            const kd_measured *model = &table->model[i];
            const bool worst =
                teacher && model != teacher && kd_measured_worst(table, model, teacher) == g;
            add_group_cell(rows, table, kd_measured_group(table, model, g, 0), m, digits, worst);
        }
    }
    kd_text_add(rows, "\nall\t%lld", (long long)table->model[0].value[0].n);
    for (int i = 0; i < table->count; i++)
        add_group_cell(rows, table, table->model[i].value, m, digits, false);
    kd_text_add(rows, "\n");
}

static void add_groups(kd_text *out, const kd_measured_table *table) {
    const int m = count_of_groups(table);
    const kd_metric *metric = table->metric;
    kd_text rows = {0};
    kd_text_add(&rows, "%s\t%s", table->group, table->unit);
    for (int i = 0; i < table->count; i++) {
        kd_text_add(&rows, "\t");
        add_plain(&rows, table->model[i].name);
        kd_text_add(&rows, "  ");
    }
    add_group_rows(&rows, table);
    char *align = malloc((size_t)table->count + 3);
    if (!align) {
        out->failed = true;
        free(rows.text);
        return;
    }
    memset(align, 'r', (size_t)table->count + 2);
    align[0] = 'l';
    align[table->count + 2] = '\0';
    kd_text_add(out, "\n");
    add_table(out, align, &rows);
    free(align);
    kd_text_add(out, "%s%s", metric[0].title, metric[0].unit == KD_UNIT_SHARE ? ", %" : "");
    if (m > 0) kd_text_add(out, " (%s)", metric[m].title ? metric[m].title : metric[m].name);
    kd_text_add(out, "%s\n",
                kd_measured_teacher(table) && table->count > 1 ? "; ▼ lost most against the teacher"
                                                               : "");
}

void kd_measured_add_text(kd_text *out, const kd_measured_table *table) {
    add_models(out, table);
    if (table->count > 0 && table->group_count > 0 && table->group_count <= GROUPS_SHOWN_MAX)
        add_groups(out, table);
}
