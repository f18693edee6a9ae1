/* The page of a sweep: its table, its plots, what each variant changes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "distill/sweep_parts.h"
#include "report/page.h"
#include "report/plot.h"

enum { POINTS_MAX = KD_SWEEP_VARIANTS_MAX };

/* --- plots ---------------------------------------------------------------------------------- */

static const char SPREAD[] = "dots: seeds; bars: 95 % intervals of the mean";

static const char *percent(const kd_metric *metric) {
    return metric->unit == KD_UNIT_SHARE ? ", %" : "";
}

static kd_plot_bounds bounds_of(const kd_metric *metric) {
    const double scale = kd_metric_scale(metric);
    return (kd_plot_bounds){scale * metric->least, scale * metric->most};
}

static void add_variants_plot(kd_text *out, const kd_sweep_results *results,
                              const kd_sweep_row *rows, int count, kd_plot_form form) {
    const kd_metric *metric = &results->sweep->task->test[0];
    kd_plot_row row[KD_SWEEP_VARIANTS_MAX];
    int n = 0;
    for (int i = 0; i < count && n < KD_SWEEP_VARIANTS_MAX; i++) {
        if (results->sweep->variant[rows[i].variant].point[0] >= 0) continue;
        kd_statistics s = kd_sweep_statistics(metric, results->sweep->seed_count, rows[i].value[0]);
        row[n++] = (kd_plot_row){.name = rows[i].label,
                                 .n = results->sweep->seed_count,
                                 .value = rows[i].value[0],
                                 .mean = s.mean,
                                 .low = s.low,
                                 .high = s.high};
    }
    char axis[96];
    snprintf(axis, sizeof axis, "%s on the test split%s", kd_sweep_title(metric), percent(metric));
    kd_plot_rows plot = {.title = results->sweep->name,
                         .x_name = axis,
                         .note = SPREAD,
                         .x_format = kd_metric_format(metric),
                         .bounds = bounds_of(metric),
                         .count = n,
                         .row = row};
    if (n > 0) kd_plot_add_rows(out, &plot, form);
}

/* Means over seeds of the grid's points, and of the first variant for comparison. */
typedef struct {
    double x[POINTS_MAX], y[POINTS_MAX], low[POINTS_MAX], high[POINTS_MAX];
    double flat_x[2], flat_y[2];
    const char *tick_name[POINTS_MAX];
    char tick_text[POINTS_MAX][24], line_text[KD_PLOT_LINES_MAX][64];
} grid_memory;

/* Whether the axis is of numbers, and whether they ask for a logarithmic one. */
static bool is_numeric(const kd_sweep_axis *axis, bool *log) {
    double low = INFINITY, high = -INFINITY;
    for (const cJSON *v = axis->values->child; v; v = v->next) {
        if (!cJSON_IsNumber(v)) return false;
        low = fmin(low, v->valuedouble);
        high = fmax(high, v->valuedouble);
    }
    *log = low > 0 && high / low >= 8;
    return true;
}

static const kd_sweep_row *student_row(const kd_sweep_row *rows, int count, int variant) {
    for (int i = 0; i < count; i++)
        if (rows[i].variant == variant && strcmp(rows[i].kind, "student") == 0) return &rows[i];
    return NULL;
}

static kd_statistics statistics_of(const kd_sweep_results *results, const kd_sweep_row *row,
                                   bool validation) {
    const kd_task *task = results->sweep->task;
    if (!row) return kd_statistics_of(0, NULL);
    return kd_sweep_statistics(validation ? task->validation : &task->test[0],
                               results->sweep->seed_count,
                               validation ? row->validation : row->value[0]);
}

/* One line for each value of the second axis. */
static void fill_lines(kd_plot *plot, grid_memory *m, const kd_sweep_results *results,
                       const kd_sweep_row *rows, int count, bool validation, bool numeric) {
    const kd_sweep *sweep = results->sweep;
    int columns = sweep->axis[0].count, lines = sweep->axis_count > 1 ? sweep->axis[1].count : 1;
    for (int v = 0; v < sweep->variant_count; v++) {
        const kd_sweep_variant *variant = &sweep->variant[v];
        if (variant->point[0] < 0) continue;
        int line = sweep->axis_count > 1 ? variant->point[1] : 0;
        int at = line * columns + variant->point[0];
        kd_statistics s = statistics_of(results, student_row(rows, count, v), validation);
        m->x[at] = numeric ? kd_sweep_value(sweep, variant, 0)->valuedouble : variant->point[0];
        m->y[at] = s.mean;
        m->low[at] = s.low;
        m->high[at] = s.high;
    }
    for (int i = 0; i < lines; i++) {
        if (sweep->axis_count > 1)
            kd_sweep_value_text(m->line_text[i], sizeof m->line_text[i],
                                cJSON_GetArrayItem(sweep->axis[1].values, i));
        plot->line[plot->line_count++] =
            (kd_plot_line){.name = sweep->axis_count > 1 ? m->line_text[i] : NULL,
                           .n = columns,
                           .x = m->x + i * columns,
                           .y = m->y + i * columns,
                           .low = m->low + i * columns,
                           .high = m->high + i * columns};
    }
}

static void add_reference(kd_plot *plot, grid_memory *m, const kd_sweep_results *results,
                          const kd_sweep_row *rows, int count, bool validation) {
    const kd_sweep_variant *first = &results->sweep->variant[0];
    kd_statistics s = statistics_of(results, student_row(rows, count, 0), validation);
    if (first->point[0] >= 0 || s.n == 0) return;
    m->flat_x[0] = m->flat_x[1] = m->x[0];
    for (int i = 0; i < results->sweep->axis[0].count; i++) {
        m->flat_x[0] = fmin(m->flat_x[0], m->x[i]);
        m->flat_x[1] = fmax(m->flat_x[1], m->x[i]);
    }
    m->flat_y[0] = m->flat_y[1] = s.mean;
    plot->line[plot->line_count++] = (kd_plot_line){.name = first->label,
                                                    .n = 2,
                                                    .x = m->flat_x,
                                                    .y = m->flat_y,
                                                    .dashed = true,
                                                    .no_marks = true};
}

static void add_grid_plot(kd_text *out, const kd_sweep_results *results, const kd_sweep_row *rows,
                          int count, bool validation, kd_plot_form form) {
    const kd_sweep *sweep = results->sweep;
    grid_memory *m = sweep->axis_count > 0 ? calloc(1, sizeof *m) : NULL;
    if (!m) {
        out->failed = out->failed || sweep->axis_count > 0;
        return;
    }
    bool log = false, numeric = is_numeric(&sweep->axis[0], &log);
    char title[160], axis[96];
    snprintf(title, sizeof title, "%s: %s split", sweep->name, validation ? "validation" : "test");
    const kd_metric *metric = validation ? sweep->task->validation : &sweep->task->test[0];
    snprintf(axis, sizeof axis, "%s%s (bars: 95 %% intervals)", kd_sweep_title(metric),
             percent(metric));
    kd_plot plot = {.title = title,
                    .x_name = sweep->axis[0].key,
                    .y_name = axis,
                    .legend = sweep->axis_count > 1 ? kd_sweep_axis_name(&sweep->axis[1]) : NULL,
                    .log_x = numeric && log,
                    .y_bounds = bounds_of(metric),
                    .y_format = kd_metric_format(metric),
                    .tick_count = sweep->axis[0].count,
                    .tick = m->x,
                    .tick_name = m->tick_name};
    for (int i = 0; i < sweep->axis[0].count; i++) {
        kd_sweep_value_text(m->tick_text[i], sizeof m->tick_text[i],
                            cJSON_GetArrayItem(sweep->axis[0].values, i));
        m->tick_name[i] = m->tick_text[i];
    }
    fill_lines(&plot, m, results, rows, count, validation, numeric);
    add_reference(&plot, m, results, rows, count, validation);
    kd_plot_add_lines(out, &plot, form);
    free(m);
}

void kd_sweep_add_plot(kd_text *out, const kd_sweep_results *results, kd_sweep_plot which,
                       kd_plot_form form) {
    kd_sweep_row *rows;
    int count;
    if (kd_sweep_rows(&rows, &count, results) < 0) {
        out->failed = true;
        return;
    }
    if (which == KD_SWEEP_PLOT_VARIANTS)
        add_variants_plot(out, results, rows, count, form);
    else
        add_grid_plot(out, results, rows, count, which == KD_SWEEP_PLOT_VALIDATION, form);
    free(rows);
}

/* --- table ---------------------------------------------------------------------------------- */

static void add_cell(kd_text *out, int n, const kd_metric *metric, double value) {
    kd_text_add(out, "<td>");
    if (n > 0) kd_text_add(out, "%.*f", kd_metric_digits(metric), value);
    kd_text_add(out, "</td>");
}

static void add_mean(kd_text *out, const kd_metric *metric, const kd_statistics *s) {
    kd_text_add(out, "<td>");
    if (s->n > 0)
        kd_text_add(out, "%.*f%s", kd_metric_digits(metric), s->mean,
                    metric->unit == KD_UNIT_SHARE ? " %" : "");
    kd_text_add(out, "</td>");
}

static void add_table_row(kd_text *out, const kd_sweep_row *row, const kd_sweep *sweep) {
    const kd_task *task = sweep->task;
    const int digits = kd_metric_digits(&task->test[0]), seeds = sweep->seed_count;
    kd_text_add(out, "<tr><th scope=\"row\">");
    kd_text_add_escaped(out, row->label);
    kd_text_add(out, "</th><td>%d</td>", row->seeds);
    for (int m = 0; m < task->test_count; m++) {
        if (!kd_sweep_shows(task, m)) continue;
        const kd_statistics s = kd_sweep_statistics(&task->test[m], seeds, row->value[m]);
        add_mean(out, &task->test[m], &s);
        add_cell(out, s.n - 1, &task->test[m], s.deviation);
        if (m > 0) continue;
        kd_text_add(out, "<td><small>");
        if (s.n > 1) kd_text_add(out, "%.*f – %.*f", digits, s.low, digits, s.high);
        kd_text_add(out, "</small></td>");
    }
    const kd_statistics v = kd_statistics_of(seeds, row->validation);
    const kd_statistics d = kd_statistics_of(seeds, row->against_first);
    add_mean(out, task->validation, &v);
    kd_text_add(out, "<td>");
    if (d.n > 0 && (row->variant > 0 || strcmp(row->kind, "student") != 0)) {
        kd_text_add(out, "%s%.*f", d.mean < 0 ? "−" : "+", digits, fabs(d.mean));
        if (d.n > 1) kd_text_add(out, " <small>± %.*f</small>", digits, d.reach);
    }
    kd_text_add(out, "</td></tr>\n");
}

/* The title with a capital letter. */
static void add_head(kd_text *out, const char *title) {
    const bool small = title[0] >= 'a' && title[0] <= 'z';
    kd_text_add(out, "<th scope=\"col\">%c%s</th>", small ? title[0] - 'a' + 'A' : title[0],
                title + 1);
}

static void add_table(kd_text *out, const kd_sweep_results *results) {
    const kd_task *task = results->sweep->task;
    kd_sweep_row *rows;
    int count;
    if (kd_sweep_rows(&rows, &count, results) < 0) {
        out->failed = true;
        return;
    }
    kd_text_add(out, "<h2 id=\"table\">Table</h2>\n<div class=\"scroll\" tabindex=\"0\" "
                     "role=\"region\" aria-labelledby=\"table\"><table><thead><tr>");
    add_head(out, "Variant");
    add_head(out, "Seeds");
    for (int m = 0; m < task->test_count; m++) {
        if (!kd_sweep_shows(task, m)) continue;
        add_head(out, kd_sweep_title(&task->test[m]));
        kd_text_add(out, "<th scope=\"col\">sd</th>");
        if (m == 0) add_head(out, "95 % interval");
    }
    add_head(out, "Validation");
    add_head(out, "Against the first");
    kd_text_add(out, "</tr></thead><tbody>\n");
    for (int i = 0; i < count; i++) add_table_row(out, &rows[i], results->sweep);
    free(rows);
    kd_text_add(out,
                "</tbody></table></div>\n<p class=\"soft\">Means over the seeds, on the test "
                "split but for the validation column (%s). Intervals are Student's. Against the "
                "first: the difference in %s to the first variant, seed by seed%s.</p>\n",
                kd_sweep_title(task->validation), kd_sweep_title(&task->test[0]),
                task->test[0].unit == KD_UNIT_SHARE ? ", in points" : "");
}

/* --- the page ------------------------------------------------------------------------------- */

static void add_page_head(kd_text *out, const kd_sweep_results *results) {
    const kd_sweep *sweep = results->sweep;
    int total = sweep->variant_count * sweep->seed_count, done = 0;
    for (int i = 0; i < total; i++) done += results->run[i].done;
    kd_report_begin_page(out, sweep->name);
    kd_report_begin_body(out, sweep->name);
    kd_text_add(out, "<p class=\"soft\">%d variants of ", sweep->variant_count);
    kd_text_add_escaped(out, sweep->base);
    kd_text_add(out, ", %d seeds, %s; %d of %d runs finished</p>\n", sweep->seed_count,
                sweep->teacher_seeds ? "a teacher for each" : "one teacher for all", done, total);
}

static void add_changes(kd_text *out, const kd_sweep *sweep) {
    kd_text_add(out, "<details><summary>What each variant changes</summary>\n<pre>");
    for (int v = 0; v < sweep->variant_count; v++) {
        const kd_sweep_variant *variant = &sweep->variant[v];
        char *text =
            variant->set && variant->point[0] < 0 ? kd_json_print(variant->set, false) : NULL;
        kd_text_add_escaped(out, variant->label);
        kd_text_add(out, ": ");
        kd_text_add_escaped(out, text ? text : variant->point[0] < 0 ? "nothing" : "of the grid");
        kd_text_add(out, "\n");
        cJSON_free(text);
    }
    kd_text_add(out, "</pre></details>\n");
}

void kd_sweep_add_html(kd_text *out, const kd_sweep_results *results) {
    add_page_head(out, results);
    add_table(out, results);
    kd_text_add(out, "<h2>Plots</h2>\n<div class=\"charts\">\n");
    for (int i = 0; i < 3; i++) kd_sweep_add_plot(out, results, (kd_sweep_plot)i, KD_PLOT_ON_PAGE);
    kd_text_add(out, "</div>\n");
    add_changes(out, results->sweep);
    kd_text_add(out, "</main></body></html>\n");
}
