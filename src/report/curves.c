/* The curves of a run's log as three charts. Training with fake-quant nodes is drawn behind the
 * float training, on one axis of epochs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "report/page.h"
#include "report/svg.h"

enum { SERIES_MAX = 24, TERMS_DRAWN_MAX = 4, SMOOTHING = 60 };

/* Arrays of one log's length each, handed out to lines. */
typedef struct {
    int64_t length;
    double *memory;
    int used;
} pool;

static double *take(pool *p) {
    KD_CONTRACT(p->used < SERIES_MAX, "more than %d series", SERIES_MAX);
    return p->memory + p->length * p->used++;
}

static bool is_stage(const char *stage, const char *wanted) {
    return strcmp(stage, wanted) == 0;
}

/* What the charts show: of several ways to quantize, the first that was trained. */
typedef struct {
    const kd_runlog_curves *log;
    const char *qat; /* its stage, "" without                          */
    double shift;    /* where it begins, the last epoch of the float training; NAN without */
} curves;

/* Float training, then QAT shifted behind it, as one line with a break between. */
static kd_svg_line step_line(pool *p, const curves *c, const char *what, const char *name,
                             const char *css) {
    const kd_runlog_curves *log = c->log;
    double *x = take(p), *y = take(p);
    int64_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 && n > 0) {
            x[n] = c->shift;
            y[n++] = NAN;
        }
        for (int64_t i = 0; i < log->step_count; i++) {
            if (!is_stage(log->step[i].stage, pass ? c->qat : "train")) continue;
            x[n] = log->step[i].epoch + (pass ? c->shift : 0);
            y[n++] = kd_runlog_value(log, &log->step[i], what);
        }
    }
    return (kd_svg_line){.name = name, .css = css, .n = n, .x = x, .y = y};
}

static kd_svg_line eval_line(pool *p, const kd_runlog_curves *c, const char *metric,
                             const char *stage, double shift, const char *name, const char *css) {
    double *x = take(p), *y = take(p);
    int64_t n = 0;
    for (int64_t i = 0; i < c->eval_count; i++) {
        if (!is_stage(c->eval[i].stage, stage)) continue;
        x[n] = c->eval[i].epoch + shift;
        y[n++] = kd_runlog_value(c, &c->eval[i], metric);
    }
    return (kd_svg_line){.name = name, .css = css, .n = n, .x = x, .y = y, .dots = true};
}

/* Means over neighbours, so that the trend stands out of the noise; breaks stay. */
static kd_svg_line smoothed(pool *p, const kd_svg_line *raw) {
    double *y = take(p);
    int64_t reach = raw->n / (2 * SMOOTHING);
    for (int64_t i = 0; i < raw->n; i++) {
        double sum = raw->y[i];
        int64_t count = 1;
        for (int side = -1; side <= 1; side += 2)
            for (int64_t k = 1; k <= reach; k++) {
                int64_t at = i + side * k;
                if (at < 0 || at >= raw->n || !isfinite(raw->y[at])) break;
                sum += raw->y[at];
                count++;
            }
        y[i] = sum / (double)count;
    }
    kd_svg_line line = *raw;
    line.y = y;
    return line;
}

static double last_epoch(const kd_runlog_curves *c, const char *stage) {
    double last = 0;
    for (int64_t i = 0; i < c->step_count; i++)
        if (is_stage(c->step[i].stage, stage)) last = fmax(last, c->step[i].epoch);
    return last;
}

static kd_svg_chart chart_of(const char *id, const char *title, const char *description,
                             double shift) {
    return (kd_svg_chart){.id = id,
                          .title = title,
                          .description = description,
                          .x_name = "epoch",
                          .y_format = "%.4f",
                          .y_scale = 1,
                          .mark_x = shift,
                          .mark_name = "QAT"};
}

static bool has_values(const kd_svg_line *line) {
    for (int64_t i = 0; i < line->n; i++)
        if (isfinite(line->y[i])) return true;
    return false;
}

static void add_loss_chart(kd_text *out, pool *p, const curves *c, const kd_report_curves *how) {
    static const char *const css[TERMS_DRAWN_MAX] = {"term1", "term2", "term3", "term4"};
    kd_svg_chart chart =
        chart_of("loss", "Training loss",
                 "The loss that was minimised and its parts before weighting, by epoch.", c->shift);
    kd_svg_line total = step_line(p, c, "loss", "total", "total");
    chart.line[chart.count] = total;
    chart.line[chart.count].css = "total faint";
    chart.line[chart.count++].name = NULL;
    for (int i = 0; i < how->term_count && i < TERMS_DRAWN_MAX; i++) {
        const kd_metric *term = &how->term[i];
        kd_svg_line line = step_line(p, c, term->name, term->title, css[i]);
        if (has_values(&line)) chart.line[chart.count++] = smoothed(p, &line);
    }
    chart.line[chart.count++] = smoothed(p, &total);
    chart.from_zero = true;
    kd_svg_add_chart(out, &chart);
}

static void add_validation_chart(kd_text *out, pool *p, const curves *c, const kd_metric *metric) {
    char title[128];
    snprintf(title, sizeof title, "Validation: %s%s", metric->title ? metric->title : metric->name,
             metric->unit == KD_UNIT_SHARE ? ", %" : "");
    kd_svg_chart chart =
        chart_of("validation", title, "On the held-out training samples, by epoch.", c->shift);
    const char *name = metric->name;
    chart.y_scale = kd_metric_scale(metric);
    chart.y_format = kd_metric_format(metric);
    chart.line[chart.count++] = eval_line(p, c->log, name, "alone", 0, "student alone", "alone");
    chart.line[chart.count++] = eval_line(p, c->log, name, "train", 0, "student float", "student");
    chart.line[chart.count++] =
        eval_line(p, c->log, name, c->qat, c->shift, "student in QAT", "blob");
    kd_svg_add_chart(out, &chart);
}

static void add_rate_chart(kd_text *out, pool *p, const curves *c) {
    kd_svg_chart chart = chart_of("rate", "Learning rate", "The learning rate by epoch.", c->shift);
    chart.y_format = "%.3g";
    chart.from_zero = true;
    chart.line[chart.count++] = step_line(p, c, "lr", "learning rate", "student");
    kd_svg_add_chart(out, &chart);
}

bool kd_report_has_stage(const kd_runlog_curves *log, const char *stage) {
    return last_epoch(log, stage) > 0;
}

/* The lines of one chart are used up before the next takes them again. */
void kd_report_add_curves(kd_text *out, const kd_runlog_curves *log, const kd_report_curves *how) {
    const char *qat = how->qat;
    int64_t longest = log->step_count > log->eval_count ? log->step_count : log->eval_count;
    pool p = {.length = longest + 1};
    p.memory = malloc((size_t)(p.length * SERIES_MAX) * sizeof *p.memory);
    if (!p.memory) {
        out->failed = true;
        return;
    }
    const curves c = {.log = log, .qat = qat, .shift = *qat ? last_epoch(log, "train") : NAN};
    add_loss_chart(out, &p, &c, how);
    p.used = 0;
    add_validation_chart(out, &p, &c, how->validation);
    p.used = 0;
    add_rate_chart(out, &p, &c);
    free(p.memory);
}
