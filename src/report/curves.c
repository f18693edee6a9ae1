/* The curves of a run's log as three charts. Training with fake-quant nodes is drawn behind the
 * float training, on one axis of epochs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "report/page.h"
#include "report/svg.h"

enum { SERIES_MAX = 12, SMOOTHING = 60 };

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

typedef enum { LOSS, KL, HARD, RATE } quantity;

/* What the charts show: of several ways to quantize, the first that was trained. */
typedef struct {
    const kd_runlog_curves *log;
    const char *qat; /* its stage, "" without                          */
    double shift;    /* where it begins, the last epoch of the float training; NAN without */
} curves;

static double quantity_of(const kd_runlog_step *s, quantity what) {
    const double value[] = {[LOSS] = s->loss, [KL] = s->kl, [HARD] = s->hard, [RATE] = s->rate};
    return value[what];
}

/* Float training, then QAT shifted behind it, as one line with a break between. */
static kd_svg_line step_line(pool *p, const curves *c, quantity what, const char *name,
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
            y[n++] = quantity_of(&log->step[i], what);
        }
    }
    return (kd_svg_line){.name = name, .css = css, .n = n, .x = x, .y = y};
}

static kd_svg_line eval_line(pool *p, const kd_runlog_curves *c, const char *stage, double shift,
                             const char *name, const char *css) {
    double *x = take(p), *y = take(p);
    int64_t n = 0;
    for (int64_t i = 0; i < c->eval_count; i++) {
        if (!is_stage(c->eval[i].stage, stage)) continue;
        x[n] = c->eval[i].epoch + shift;
        y[n++] = c->eval[i].accuracy;
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

static void add_loss_chart(kd_text *out, pool *p, const curves *c, bool taught) {
    kd_svg_chart chart =
        chart_of("loss", "Training loss",
                 "The loss that was minimised and its parts before weighting, by epoch.", c->shift);
    kd_svg_line total = step_line(p, c, LOSS, "total", "total");
    chart.line[chart.count] = total;
    chart.line[chart.count].css = "total faint";
    chart.line[chart.count++].name = NULL;
    if (taught) {
        kd_svg_line hard = step_line(p, c, HARD, "hard: labels", "hard");
        kd_svg_line kl = step_line(p, c, KL, "τ²·KL: teacher", "kl");
        chart.line[chart.count++] = smoothed(p, &hard);
        chart.line[chart.count++] = smoothed(p, &kl);
    }
    chart.line[chart.count++] = smoothed(p, &total);
    chart.from_zero = true;
    kd_svg_add_chart(out, &chart);
}

static void add_accuracy_chart(kd_text *out, pool *p, const curves *c, const char *measure) {
    kd_svg_chart chart =
        chart_of("accuracy", measure, "On the held-out training samples, by epoch.", c->shift);
    chart.y_scale = 100;
    chart.y_format = "%.2f %%";
    chart.line[chart.count++] = eval_line(p, c->log, "alone", 0, "student alone", "alone");
    chart.line[chart.count++] = eval_line(p, c->log, "train", 0, "student float", "student");
    chart.line[chart.count++] = eval_line(p, c->log, c->qat, c->shift, "student in QAT", "blob");
    kd_svg_add_chart(out, &chart);
}

static void add_rate_chart(kd_text *out, pool *p, const curves *c) {
    kd_svg_chart chart = chart_of("rate", "Learning rate", "The learning rate by epoch.", c->shift);
    chart.y_format = "%.3g";
    chart.from_zero = true;
    chart.line[chart.count++] = step_line(p, c, RATE, "learning rate", "student");
    kd_svg_add_chart(out, &chart);
}

bool kd_report_has_stage(const kd_runlog_curves *log, const char *stage) {
    return last_epoch(log, stage) > 0;
}

/* The lines of one chart are used up before the next takes them again. */
void kd_report_add_curves(kd_text *out, const kd_runlog_curves *log, const char *qat, bool taught,
                          const char *measure) {
    int64_t longest = log->step_count > log->eval_count ? log->step_count : log->eval_count;
    pool p = {.length = longest + 1};
    p.memory = malloc((size_t)(p.length * SERIES_MAX) * sizeof *p.memory);
    if (!p.memory) {
        out->failed = true;
        return;
    }
    const curves c = {.log = log, .qat = qat, .shift = *qat ? last_epoch(log, "train") : NAN};
    add_loss_chart(out, &p, &c, taught);
    p.used = 0;
    add_accuracy_chart(out, &p, &c, measure);
    p.used = 0;
    add_rate_chart(out, &p, &c);
    free(p.memory);
}
