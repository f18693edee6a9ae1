#include "report/compression.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "report/page.h"

enum { CELL_MAX = 96, CELLS = 13 };

static const char *const DISTANCES[] = {"kl_to_float", "kl_median", "kl_90",
                                        "kl_99",       "kl_999",    "kl_most"};
enum { DISTANCE_COUNT = (int)(sizeof DISTANCES / sizeof *DISTANCES) };

/* NAN without such a metric. */
static double value_of(const kd_measured_table *t, const kd_measured *model, const char *name) {
    const int m = name ? kd_metric_find(t->metric, t->metric_count, name) : -1;
    return m < 0 ? NAN : model->value[m].value;
}

bool kd_compression_is_shown(const kd_measured_table *table) {
    for (int i = 0; i < table->count; i++)
        if (isfinite(value_of(table, &table->model[i], DISTANCES[0]))) return true;
    return false;
}

/* A model before it was trained is no file. */
static bool is_compared(const kd_measured_table *t, const kd_measured *model) {
    return isfinite(value_of(t, model, "bytes")) && isfinite(model->value[0].value) &&
           value_of(t, model, "bytes") > 0;
}

/* No other is at least as small and as good, and either smaller or better. */
static bool is_efficient(const kd_measured_table *t, const kd_measured *model) {
    const double bytes = value_of(t, model, "bytes"), quality = model->value[0].value;
    if (!is_compared(t, model)) return false;
    for (int i = 0; i < t->count; i++) {
        const kd_measured *other = &t->model[i];
        const double size = value_of(t, other, "bytes"), q = other->value[0].value;
        if (!is_compared(t, other) || size > bytes) continue;
        if (kd_metric_is_better(&t->metric[0], q, quality)) return false;
        if (size < bytes && !kd_metric_is_better(&t->metric[0], quality, q)) return false;
    }
    return true;
}

/* --- cells -------------------------------------------------------------------------------------
 */

typedef char cells[CELLS][CELL_MAX];

static void add_worst(char out[CELL_MAX], const kd_measured_table *t, const kd_measured *model) {
    const kd_measured *teacher = kd_measured_teacher(t);
    const int worst = kd_measured_worst(t, model, teacher == model ? NULL : teacher);
    char value[48];
    *out = '\0';
    if (worst < 0) return;
    kd_metric_text(value, sizeof value, &t->metric[0],
                   kd_measured_group(t, model, worst, 0)->value);
    snprintf(out, CELL_MAX, "%.40s %s", t->group_name[worst], value);
}

static void fill_cells(cells cell, const kd_measured_table *t, const kd_measured *model) {
    const kd_measured *teacher = kd_measured_teacher(t);
    const double bytes = value_of(t, model, "bytes");
    const double of_teacher = teacher ? value_of(t, teacher, "bytes") : NAN;
    const int speed = t->speed ? kd_metric_find(t->metric, t->metric_count, t->speed) : -1;
    const int same = kd_metric_find(t->metric, t->metric_count, "same_answer");
    snprintf(cell[0], CELL_MAX, "%s%s", model->name, is_efficient(t, model) ? " ◆" : "");
    snprintf(cell[1], CELL_MAX, "–");
    snprintf(cell[2], CELL_MAX, "–");
    snprintf(cell[3], CELL_MAX, "–");
    if (bytes > 0) kd_format_bytes(cell[1], CELL_MAX, bytes);
    if (bytes > 0 && of_teacher > 0) snprintf(cell[2], CELL_MAX, "%.1f×", of_teacher / bytes);
    if (speed >= 0) kd_metric_text(cell[3], CELL_MAX, &t->metric[speed], model->value[speed].value);
    kd_metric_text(cell[4], CELL_MAX, &t->metric[0], model->value[0].value);
    kd_metric_interval_text(cell[5], CELL_MAX, &t->metric[0], &model->value[0]);
    for (int i = 0; i < DISTANCE_COUNT - 1; i++) { /* the mean stands in the table of models */
        const double d = value_of(t, model, DISTANCES[i + 1]);
        if (isfinite(d))
            snprintf(cell[6 + i], CELL_MAX, "%.5f", d);
        else
            snprintf(cell[6 + i], CELL_MAX, "–");
    }
    snprintf(cell[11], CELL_MAX, "–");
    if (same >= 0) kd_metric_text(cell[11], CELL_MAX, &t->metric[same], model->value[same].value);
    add_worst(cell[12], t, model);
}

static void fill_head(cells cell, const kd_measured_table *t) {
    static const char *const DISTANCE_TITLE[] = {"KL median", "90 %", "99 %", "99.9 %", "most"};
    const int speed = t->speed ? kd_metric_find(t->metric, t->metric_count, t->speed) : -1;
    snprintf(cell[0], CELL_MAX, "model");
    snprintf(cell[1], CELL_MAX, "size");
    snprintf(cell[2], CELL_MAX, "smaller");
    snprintf(cell[3], CELL_MAX, "%s", speed >= 0 ? t->metric[speed].title : "speed");
    snprintf(cell[4], CELL_MAX, "%s", t->metric[0].title);
    snprintf(cell[5], CELL_MAX, "95 %% interval");
    for (int i = 0; i < DISTANCE_COUNT - 1; i++)
        snprintf(cell[6 + i], CELL_MAX, "%s", DISTANCE_TITLE[i]);
    snprintf(cell[11], CELL_MAX, "same answer");
    snprintf(cell[12], CELL_MAX, "worst %s", t->group ? t->group : "");
}

static int columns(const kd_measured_table *t) {
    return t->group_count > 0 ? CELLS : CELLS - 1;
}

/* --- tables ------------------------------------------------------------------------------------
 */

void kd_compression_add_text(kd_text *out, const kd_measured_table *t) {
    kd_text rows = {0};
    cells cell;
    for (int i = -1; i < t->count; i++) {
        if (i < 0)
            fill_head(cell, t);
        else
            fill_cells(cell, t, &t->model[i]);
        for (int k = 0; k < columns(t); k++) {
            if (k > 0) kd_text_add(&rows, "\t");
            kd_text_add_plain(&rows, cell[k], strlen(cell[k]));
        }
        kd_text_add(&rows, "\n");
    }
    kd_text_add(out, "\n");
    if (kd_text_add_rows(out, "lrrrrrrrrrrrl", &rows) < 0) out->failed = true;
    kd_text_add(out, "◆ nothing here is smaller and as good; KL(float student ‖ model), nats\n");
}

void kd_compression_add_html(kd_text *out, const kd_measured_table *t) {
    cells cell;
    kd_text_add(out, "<h2 id=\"compression\">Size, speed, quality</h2>\n<div class=\"scroll\" "
                     "tabindex=\"0\" role=\"region\" aria-labelledby=\"compression\"><table>"
                     "<thead><tr>");
    fill_head(cell, t);
    for (int k = 0; k < columns(t); k++) {
        kd_text_add(out, "<th scope=\"col\">");
        kd_text_add_escaped(out, cell[k]);
        kd_text_add(out, "</th>");
    }
    kd_text_add(out, "</tr></thead><tbody>\n");
    for (int i = 0; i < t->count; i++) {
        fill_cells(cell, t, &t->model[i]);
        kd_text_add(out, "<tr><th scope=\"row\"><i class=\"%s\"></i>",
                    kd_plot_model_colour(t->model[i].kind));
        kd_text_add_escaped(out, cell[0]);
        kd_text_add(out, "</th>");
        for (int k = 1; k < columns(t); k++) {
            kd_text_add(out, "<td>");
            kd_text_add_escaped(out, cell[k]);
            kd_text_add(out, "</td>");
        }
        kd_text_add(out, "</tr>\n");
    }
    kd_text_add(out,
                "</tbody></table></div>\n<p class=\"soft\">◆: nothing here is smaller and as good. "
                "KL: nats of KL(float student ‖ model) an answer, by quantile; same answer: how "
                "often both find the same most likely.</p>\n<div class=\"charts\">\n");
    kd_compression_add_plot(out, t, "Size against quality", KD_PLOT_ON_PAGE);
    kd_text_add(out, "</div>\n");
}

/* --- drawing -----------------------------------------------------------------------------------
 */

/* Points of the efficient ones by size, for the line through them. */
typedef struct {
    double x, y;
} point;

static int by_size(const void *a, const void *b) {
    const point *p = a, *q = b;
    return (p->x > q->x) - (p->x < q->x);
}

static int list_efficient(double *x, double *y, const kd_measured_table *t) {
    point *list = malloc((size_t)t->count * sizeof *list + 1);
    int n = 0;
    const double scale = kd_metric_scale(&t->metric[0]);
    for (int i = 0; list && i < t->count; i++)
        if (is_efficient(t, &t->model[i]))
            list[n++] = (point){value_of(t, &t->model[i], "bytes") / 1e6,
                                scale * t->model[i].value[0].value};
    if (n > 0) qsort(list, (size_t)n, sizeof *list, by_size);
    for (int i = 0; i < n; i++) {
        x[i] = list[i].x;
        y[i] = list[i].y;
    }
    free(list);
    return n;
}

/* A model is a series of one point; of many the last series has the rest. */
static void add_points(kd_plot *plot, double (*data)[4], const kd_measured_table *t) {
    const double scale = kd_metric_scale(&t->metric[0]);
    for (int i = 0; i < t->count && plot->line_count < KD_PLOT_LINES_MAX; i++) {
        const kd_measured *model = &t->model[i];
        double *d = data[i];
        if (!is_compared(t, model)) continue;
        d[0] = value_of(t, model, "bytes") / 1e6;
        d[1] = scale * model->value[0].value;
        d[2] = scale * model->value[0].low;
        d[3] = scale * model->value[0].high;
        const bool known = isfinite(d[2]) && isfinite(d[3]);
        plot->line[plot->line_count++] = (kd_plot_line){.name = model->name,
                                                        .n = 1,
                                                        .x = d,
                                                        .y = d + 1,
                                                        .low = known ? d + 2 : NULL,
                                                        .high = known ? d + 3 : NULL};
    }
}

void kd_compression_add_plot(kd_text *out, const kd_measured_table *t, const char *title,
                             kd_plot_form form) {
    const size_t n = (size_t)t->count + 1;
    double(*data)[4] = malloc(n * sizeof *data);
    double *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    char y_name[96];
    if (data && x && y) {
        snprintf(y_name, sizeof y_name, "%s%s", t->metric[0].title,
                 t->metric[0].unit == KD_UNIT_SHARE ? ", %" : "");
        kd_plot plot = {.title = title,
                        .x_name = "size of the file, MB",
                        .y_name = y_name,
                        .log_x = true,
                        .y_format = kd_metric_format(&t->metric[0]),
                        .y_bounds = {-INFINITY, INFINITY}};
        const int efficient = list_efficient(x, y, t);
        plot.line[plot.line_count++] = (kd_plot_line){.name = "nothing smaller is as good",
                                                      .colour = "total",
                                                      .n = efficient,
                                                      .x = x,
                                                      .y = y,
                                                      .dashed = true,
                                                      .no_marks = true};
        add_points(&plot, data, t);
        kd_plot_add_lines(out, &plot, form);
    } else {
        out->failed = true;
    }
    free(data);
    free(x);
    free(y);
}

int kd_compression_save(const kd_measured_table *table, const char *title, const char *folder) {
    kd_text svg = {0};
    if (!kd_compression_is_shown(table)) return KD_OK;
    kd_compression_add_plot(&svg, table, title, KD_PLOT_AS_FILE);
    return kd_text_save(&svg, folder, "pareto.svg");
}
