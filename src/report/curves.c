/* The curves of a run's log as three plots. Training with fake-quant nodes is drawn behind the
 * float training, on one axis of epochs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "report/page.h"
#include "report/plot.h"

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

/* What the plots show: of several ways to quantize, the first that was trained. */
typedef struct {
    const kd_runlog_curves *log;
    const char *qat; /* its stage, "" without                          */
    double shift;    /* where it begins, the last epoch of the float training; NAN without */
} curves;

/* Float training, then QAT shifted behind it, as one line with a break between. */
static kd_plot_line step_line(pool *p, const curves *c, const char *what, const char *name,
                              const char *colour) {
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
    return (kd_plot_line){.name = name, .colour = colour, .n = n, .x = x, .y = y};
}

static kd_plot_line eval_line(pool *p, const kd_runlog_curves *c, const kd_metric *metric,
                              const char *stage, double shift, const char *name,
                              const char *colour) {
    double *x = take(p), *y = take(p);
    int64_t n = 0;
    for (int64_t i = 0; i < c->eval_count; i++) {
        if (!is_stage(c->eval[i].stage, stage)) continue;
        x[n] = c->eval[i].epoch + shift;
        y[n++] = kd_metric_scale(metric) * kd_runlog_value(c, &c->eval[i], metric->name);
    }
    return (kd_plot_line){.name = name, .colour = colour, .n = n, .x = x, .y = y};
}

/* Means over neighbours, so that the trend stands out of the noise; breaks stay. */
static kd_plot_line smoothed(pool *p, const kd_plot_line *raw) {
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
    kd_plot_line line = *raw;
    line.y = y;
    return line;
}

static double last_epoch(const kd_runlog_curves *c, const char *stage) {
    double last = 0;
    for (int64_t i = 0; i < c->step_count; i++)
        if (is_stage(c->step[i].stage, stage)) last = fmax(last, c->step[i].epoch);
    return last;
}

static kd_plot plot_of(const char *title, const char *y_name, double shift) {
    return (kd_plot){.title = title,
                     .x_name = "epoch",
                     .x_counts = true,
                     .y_name = y_name,
                     .y_format = "%.4f",
                     .hairline = shift,
                     .hairline_name = "QAT"};
}

/* What a logarithmic axis can show. */
static bool is_positive(const kd_plot_line *line) {
    for (int64_t i = 0; i < line->n; i++)
        if (line->y[i] <= 0) return false;
    return true;
}

static bool has_values(const kd_plot_line *line) {
    for (int64_t i = 0; i < line->n; i++)
        if (isfinite(line->y[i])) return true;
    return false;
}

/* The first steps would flatten the rest on a linear axis. */
static void add_loss_plot(kd_text *out, pool *p, const curves *c, const kd_report_curves *how) {
    static const char *const colour[TERMS_DRAWN_MAX] = {"term1", "term2", "term3", "term4"};
    kd_plot plot = plot_of("Training loss", "nats; the parts before weighting", c->shift);
    kd_plot_line total = step_line(p, c, "loss", "total", "total");
    plot.log_y = is_positive(&total);
    plot.from_zero = true;
    plot.line[plot.line_count] = total;
    plot.line[plot.line_count].faint = plot.line[plot.line_count].no_marks = true;
    plot.line[plot.line_count++].name = NULL;
    for (int i = 0; i < how->term_count && i < TERMS_DRAWN_MAX; i++) {
        const kd_metric *term = &how->term[i];
        kd_plot_line line = step_line(p, c, term->name, term->title, colour[i]);
        if (has_values(&line)) plot.line[plot.line_count++] = smoothed(p, &line);
    }
    plot.line[plot.line_count++] = smoothed(p, &total);
    kd_plot_add_lines(out, &plot, KD_PLOT_ON_PAGE);
}

static void add_validation_plot(kd_text *out, pool *p, const curves *c, const kd_metric *metric) {
    char title[128];
    snprintf(title, sizeof title, "Validation: %s", metric->title ? metric->title : metric->name);
    kd_plot plot = plot_of(title,
                           metric->unit == KD_UNIT_SHARE ? "%, held-out training samples"
                                                         : "held-out training samples",
                           c->shift);
    const double scale = kd_metric_scale(metric);
    plot.y_format = kd_metric_format(metric);
    plot.y_bounds = (kd_plot_bounds){scale * metric->least, scale * metric->most};
    plot.line[plot.line_count++] =
        eval_line(p, c->log, metric, "baseline", 0, "baseline", "baseline");
    plot.line[plot.line_count++] =
        eval_line(p, c->log, metric, "train", 0, "student float", "student");
    plot.line[plot.line_count++] =
        eval_line(p, c->log, metric, c->qat, c->shift, "student in QAT", "blob");
    kd_plot_add_lines(out, &plot, KD_PLOT_ON_PAGE);
}

static void add_rate_plot(kd_text *out, pool *p, const curves *c) {
    kd_plot plot = plot_of("Learning rate", "", c->shift);
    plot.y_format = "%.3g";
    plot.from_zero = true;
    plot.line[plot.line_count++] = step_line(p, c, "lr", "learning rate", "student");
    kd_plot_add_lines(out, &plot, KD_PLOT_ON_PAGE);
}

bool kd_report_has_stage(const kd_runlog_curves *log, const char *stage) {
    return last_epoch(log, stage) > 0;
}

/* The lines of one plot are used up before the next takes them again. */
void kd_report_add_curves(kd_text *out, const kd_runlog_curves *log, const kd_report_curves *how) {
    const char *qat = how->qat;
    int64_t longest = log->step_count > log->eval_count ? log->step_count : log->eval_count;
    pool p = {.length = longest + 1};
    p.memory = malloc(kd_array_bytes(p.length * SERIES_MAX, sizeof *p.memory));
    if (!p.memory) {
        out->failed = true;
        return;
    }
    const curves c = {.log = log, .qat = qat, .shift = *qat ? last_epoch(log, "train") : NAN};
    add_loss_plot(out, &p, &c, how);
    p.used = 0;
    add_validation_plot(out, &p, &c, how->validation);
    p.used = 0;
    add_rate_plot(out, &p, &c);
    free(p.memory);
}
