#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/page.h"

/* The colours of lines keep apart for people who see few of them (after Okabe and Ito) and on light
 * and dark ground. */
#define RULES(ink, soft, line)                                                                     \
    ".plot text{font:12px system-ui,sans-serif;fill:" soft "}\n"                                   \
    ".plot .title{font-size:14px;font-weight:600;fill:" ink "}.plot .label{fill:" ink "}\n"        \
    ".plot .end{text-anchor:end}.plot .mid{text-anchor:middle}\n"                                  \
    ".plot .grid{stroke:" line ";fill:none}.plot .axis{stroke:" soft ";fill:none}\n"               \
    ".plot .c{fill:none;stroke-width:1.8;stroke-linejoin:round}.plot .bar{stroke-width:1.3}\n"     \
    ".plot .dash{stroke-dasharray:5 4}.plot .hit{fill:transparent;stroke:none}\n"                  \
    ".plot .value{fill:" soft ";opacity:.55}\n"                                                    \
    ".plot .c0{stroke:#0072b2}.plot .c1{stroke:#d55e00}.plot .c2{stroke:#009e73}"                  \
    ".plot .c3{stroke:#cc79a7}.plot .c4{stroke:#b07800}.plot .c5{stroke:#56b4e9}"                  \
    ".plot .c6{stroke:#8b5cf6}.plot .c7{stroke:#7a7f87}.plot .c8{stroke:#a33b3b}"                  \
    ".plot .c9{stroke:#4d7c0f}\n"                                                                  \
    ".plot .f0{fill:#0072b2}.plot .f1{fill:#d55e00}.plot .f2{fill:#009e73}.plot .f3{fill:#cc79a7}" \
    ".plot .f4{fill:#b07800}.plot .f5{fill:#56b4e9}.plot .f6{fill:#8b5cf6}.plot .f7{fill:#7a7f87}" \
    ".plot .f8{fill:#a33b3b}.plot .f9{fill:#4d7c0f}\n"

const char *const kd_plot_page_style = RULES("var(--ink)", "var(--soft)", "var(--line)");
static const char FILE_STYLE[] = RULES("#1d2126", "#5c6670", "#dfe3e8");

enum { WIDTH = 640, HEIGHT = 360, LEFT = 64, RIGHT = 470, TOP = 38, BOTTOM = 306 };

/* --- axes ----------------------------------------------------------------------------------- */

typedef struct {
    double low, high;   /* of the axis, after log10 when `log` */
    double first, last; /* where they lie on the paper          */
    bool log;
} axis;

static double place(const axis *a, double value) {
    double v = a->log ? log10(value) : value;
    return a->first + (a->last - a->first) * (v - a->low) / (a->high - a->low);
}

static bool can_show(const axis *a, double value) {
    return isfinite(value) && (!a->log || value > 0);
}

static void widen(axis *a, double value) {
    if (!can_show(a, value)) return;
    double v = a->log ? log10(value) : value;
    a->low = fmin(a->low, v);
    a->high = fmax(a->high, v);
}

static void add_margin(axis *a, double share, const kd_plot_bounds *bounds) {
    double margin = share * (a->high - a->low);
    if (margin <= 0) margin = fabs(a->high) > 0 ? 0.05 * fabs(a->high) : 1;
    a->low -= margin;
    a->high += margin;
    if (bounds->most <= bounds->least) return;
    if (!a->log || bounds->least > 0)
        a->low = fmax(a->low, a->log ? log10(bounds->least) : bounds->least);
    a->high = fmin(a->high, a->log ? log10(bounds->most) : bounds->most);
}

/* The smallest of 1, 2, 5 times a power of ten that makes at most `most` steps over `range`. */
static double tick_step(double range, int most) {
    double power = pow(10, floor(log10(range / most)));
    static const double factor[] = {1, 2, 5};
    for (int i = 0; i < 3; i++)
        if (range / (factor[i] * power) <= most) return factor[i] * power;
    return 10 * power;
}

/* The k-th tick of an axis, in its own measure; false behind the last. */
static bool tick_at(const axis *a, int k, int most, double *value, char *name, size_t capacity) {
    double step = tick_step(a->high - a->low, most);
    if (a->log && step < 1) step = 1;
    double v = (ceil(a->low / step) + k) * step;
    if (v > a->high + 1e-9 * step) return false;
    if (fabs(v) < 1e-9 * step) v = 0;
    *value = a->log ? pow(10, v) : v;
    int decimals = (int)ceil(-log10(step) - 1e-9);
    if (a->log && (v < -3.5 || v > 3.5))
        snprintf(name, capacity, "1e%.0f", v);
    else if (a->log)
        snprintf(name, capacity, "%g", pow(10, v));
    else
        snprintf(name, capacity, "%.*f", decimals > 0 ? decimals : 0, v);
    return true;
}

static void add_x_tick(kd_text *out, double x, int bottom, const char *name) {
    kd_text_add(out,
                "<path class=\"axis\" d=\"M%.1f %d v4\"/><text class=\"mid\" x=\"%.1f\" y=\"%d\">",
                x, bottom, x, bottom + 18);
    kd_text_add_escaped(out, name);
    kd_text_add(out, "</text>\n");
}

/* Ticks at their given places, leaving out names that would run into each other. */
static void add_given_ticks(kd_text *out, const kd_plot *plot, const axis *x) {
    double free_from = -INFINITY;
    for (int i = 0; i < plot->tick_count; i++) {
        if (!can_show(x, plot->tick[i])) continue;
        double at = place(x, plot->tick[i]), half = 3.6 * kd_utf8_count(plot->tick_name[i]) + 3;
        add_x_tick(out, at, BOTTOM, at - half >= free_from ? plot->tick_name[i] : "");
        if (at - half >= free_from) free_from = at + half;
    }
}

static void add_axes(kd_text *out, const kd_plot *plot, const axis *x, const axis *y) {
    char name[32];
    double value;
    for (int k = 0; tick_at(y, k, 6, &value, name, sizeof name); k++)
        kd_text_add(out,
                    "<path class=\"grid\" d=\"M%d %.1f H%d\"/><text class=\"end\" x=\"%d\" "
                    "y=\"%.1f\">%s</text>\n",
                    LEFT, place(y, value), RIGHT, LEFT - 7, place(y, value) + 4, name);
    if (plot->tick_count > 0) add_given_ticks(out, plot, x);
    for (int k = 0; plot->tick_count == 0 && tick_at(x, k, 6, &value, name, sizeof name); k++)
        add_x_tick(out, place(x, value), BOTTOM, name);
    kd_text_add(
        out,
        "<path class=\"axis\" d=\"M%d %d H%d\"/>\n<text class=\"label mid\" x=\"%d\" y=\"%d\">",
        LEFT, BOTTOM, RIGHT, (LEFT + RIGHT) / 2, BOTTOM + 40);
    kd_text_add_escaped(out, plot->x_name);
    kd_text_add(out,
                "</text>\n<text class=\"label mid\" transform=\"translate(16 %d) rotate(-90)\">",
                (TOP + BOTTOM) / 2);
    kd_text_add_escaped(out, plot->y_name);
    kd_text_add(out, "</text>\n");
}

/* --- lines ---------------------------------------------------------------------------------- */

static bool is_shown(const kd_plot_line *line, int k, const axis *x, const axis *y) {
    return can_show(x, line->x[k]) && can_show(y, line->y[k]);
}

/* How far a line is moved aside so that its error bars do not hide those of others. */
static double aside(const kd_plot *plot, int number) {
    int with_bars = 0, before = 0;
    for (int i = 0; i < plot->line_count; i++) {
        with_bars += plot->line[i].low != NULL;
        before += i < number && plot->line[i].low;
    }
    return plot->line[number].low ? 6 * (before - (with_bars - 1) / 2.0) : 0;
}

static void add_line(kd_text *out, const kd_plot *plot, int number, const axis *x, const axis *y) {
    const kd_plot_line *line = &plot->line[number];
    bool pen_down = false;
    kd_text_add(out, "<path class=\"c c%d%s\" d=\"", number, line->dashed ? " dash" : "");
    for (int k = 0; k < line->n; k++) {
        bool shown = is_shown(line, k, x, y);
        if (shown)
            kd_text_add(out, "%c%.1f %.1f", pen_down ? 'L' : 'M',
                        place(x, line->x[k]) + aside(plot, number), place(y, line->y[k]));
        pen_down = shown;
    }
    kd_text_add(out, "\"/>\n");
}

static bool has_bar(const kd_plot_line *line, int k, const axis *y) {
    return line->low && can_show(y, line->low[k]) && can_show(y, line->high[k]);
}

static void add_error_bar(kd_text *out, int number, double at, double low, double high) {
    kd_text_add(out, "<path class=\"c bar c%d\" d=\"M%.1f %.1f V%.1f m-3 0 h6 M%.1f %.1f h6\"/>",
                number, at, low, high, at - 3, low);
}

static void add_marks(kd_text *out, const kd_plot *plot, int number, const axis *x, const axis *y) {
    const kd_plot_line *line = &plot->line[number];
    for (int k = 0; k < line->n && !line->no_marks; k++) {
        if (!is_shown(line, k, x, y)) continue;
        const bool barred = has_bar(line, k, y);
        const double at = place(x, line->x[k]) + aside(plot, number);
        if (barred) add_error_bar(out, number, at, place(y, line->low[k]), place(y, line->high[k]));
        char value[64];
        snprintf(value, sizeof value, plot->y_format, line->y[k]);
        kd_text_add(out, "<circle class=\"f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"><title>", number,
                    at, place(y, line->y[k]));
        if (line->name) kd_text_add_escaped(out, line->name);
        kd_text_add(out, " at %.4g: %s", line->x[k], value);
        if (barred) {
            snprintf(value, sizeof value, plot->y_format, line->low[k]);
            kd_text_add(out, " (%s", value);
            snprintf(value, sizeof value, plot->y_format, line->high[k]);
            kd_text_add(out, " … %s)", value);
        }
        kd_text_add(out, "</title></circle>\n");
    }
}

static void add_legend(kd_text *out, const kd_plot *plot) {
    int y = TOP + 6;
    if (plot->legend) {
        kd_text_add(out, "<text class=\"label\" x=\"%d\" y=\"%d\">", RIGHT + 16, y);
        kd_text_add_escaped(out, plot->legend);
        kd_text_add(out, "</text>\n");
        y += 20;
    }
    for (int i = 0; i < plot->line_count; i++) {
        const kd_plot_line *line = &plot->line[i];
        if (!line->name) continue;
        kd_text_add(out, "<path class=\"c c%d%s\" d=\"M%d %d h22\"/>", i,
                    line->dashed ? " dash" : "", RIGHT + 16, y - 4);
        if (!line->no_marks)
            kd_text_add(out, "<circle class=\"f%d\" cx=\"%d\" cy=\"%d\" r=\"3.2\"/>", i, RIGHT + 27,
                        y - 4);
        kd_text_add(out, "<text class=\"label\" x=\"%d\" y=\"%d\">", RIGHT + 45, y);
        kd_text_add_escaped(out, line->name);
        kd_text_add(out, "</text>\n");
        y += 20;
    }
}

/* --- the whole ------------------------------------------------------------------------------ */

static void add_head(kd_text *out, int height, const char *title, bool alone) {
    kd_text_add(out, "<svg %sclass=\"plot\" viewBox=\"0 0 %d %d\"%s role=\"img\" aria-label=\"",
                alone ? "xmlns=\"http://www.w3.org/2000/svg\" " : "", WIDTH, height,
                alone ? " width=\"640\"" : "");
    kd_text_add_escaped(out, title);
    kd_text_add(out, "\">\n");
    if (alone)
        kd_text_add(out, "<style>\n%s</style>\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
                    FILE_STYLE, WIDTH, height);
    kd_text_add(out, "<text class=\"title\" x=\"%d\" y=\"20\">", 12);
    kd_text_add_escaped(out, title);
    kd_text_add(out, "</text>\n");
}

void kd_plot_add_lines(kd_text *out, const kd_plot *plot, bool alone) {
    axis x = {INFINITY, -INFINITY, LEFT, RIGHT, plot->log_x};
    axis y = {INFINITY, -INFINITY, BOTTOM, TOP, plot->log_y};
    for (int i = 0; i < plot->line_count; i++)
        for (int k = 0; k < plot->line[i].n; k++) {
            const kd_plot_line *line = &plot->line[i];
            if (!is_shown(line, k, &x, &y)) continue;
            widen(&x, line->x[k]);
            widen(&y, line->y[k]);
            if (!has_bar(line, k, &y)) continue;
            widen(&y, line->low[k]);
            widen(&y, line->high[k]);
        }
    if (!isfinite(x.low) || !isfinite(y.low)) return;
    add_margin(&x, 0.03, &(kd_plot_bounds){0, 0});
    add_margin(&y, 0.06, &plot->y_bounds);
    add_head(out, HEIGHT, plot->title, alone);
    add_axes(out, plot, &x, &y);
    for (int i = 0; i < plot->line_count; i++) add_line(out, plot, i, &x, &y);
    for (int i = 0; i < plot->line_count; i++) add_marks(out, plot, i, &x, &y);
    add_legend(out, plot);
    kd_text_add(out, "</svg>\n");
}

enum { ROW_STEP = 26, NAME_MAX = 300 };

static void add_row(kd_text *out, const kd_plot_rows *plot, const kd_plot_row *row, const axis *x,
                    int y) {
    kd_text_add(out, "<text class=\"label end\" x=\"%.0f\" y=\"%d\">", x->first - 10, y + 4);
    kd_text_add_escaped(out, row->name);
    kd_text_add(out, "</text>\n");
    if (!isfinite(row->mean)) return;
    for (int k = 0; k < row->n; k++)
        if (isfinite(row->value[k]))
            kd_text_add(out, "<circle class=\"value\" cx=\"%.1f\" cy=\"%d\" r=\"2.6\"/>",
                        place(x, row->value[k]), y);
    if (isfinite(row->low) && isfinite(row->high))
        kd_text_add(out, "<path class=\"c c0\" d=\"M%.1f %d v8 m0 -4 H%.1f m0 -4 v8\"/>",
                    place(x, row->low), y - 4, place(x, row->high));
    char value[64];
    snprintf(value, sizeof value, plot->x_format, row->mean);
    kd_text_add(
        out,
        "<circle class=\"f0\" cx=\"%.1f\" cy=\"%d\" r=\"4\"/><text x=\"%d\" y=\"%d\">%s</text>\n",
        place(x, row->mean), y, WIDTH - 88, y + 4, value);
}

void kd_plot_add_rows(kd_text *out, const kd_plot_rows *plot, bool alone) {
    int longest = 0, bottom = TOP + plot->count * ROW_STEP;
    axis x = {INFINITY, -INFINITY, 0, WIDTH - 100, false};
    for (int i = 0; i < plot->count; i++) {
        const kd_plot_row *row = &plot->row[i];
        int length = kd_utf8_count(row->name);
        if (length > longest) longest = length;
        for (int k = 0; k < row->n; k++) widen(&x, row->value[k]);
        widen(&x, row->mean);
        widen(&x, row->low);
        widen(&x, row->high);
    }
    if (!isfinite(x.low)) return;
    double names = 7.0 * longest + 22;
    x.first = names < NAME_MAX ? names : NAME_MAX;
    add_margin(&x, 0.04, &plot->bounds);
    add_head(out, bottom + 48, plot->title, alone);
    char name[32];
    double value;
    for (int k = 0; tick_at(&x, k, 6, &value, name, sizeof name); k++) {
        kd_text_add(out, "<path class=\"grid\" d=\"M%.1f %d V%d\"/>", place(&x, value), TOP - 4,
                    bottom);
        add_x_tick(out, place(&x, value), bottom, name);
    }
    kd_text_add(out,
                "<path class=\"axis\" d=\"M%.0f %d H%.0f\"/>\n<text class=\"label mid\" x=\"%.0f\" "
                "y=\"%d\">",
                x.first, bottom, x.last, (x.first + x.last) / 2, bottom + 38);
    kd_text_add_escaped(out, plot->x_name);
    kd_text_add(out, "</text>\n");
    for (int i = 0; i < plot->count; i++)
        add_row(out, plot, &plot->row[i], &x, TOP + ROW_STEP / 2 + i * ROW_STEP);
    kd_text_add(out, "</svg>\n");
}
