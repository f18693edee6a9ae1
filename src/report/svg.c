/* Charts as inline SVG. Colours, fonts and the dark theme are the page's CSS (style.h); here
 * is only geometry. Charts are about 360 units wide, so that on a phone, where one fills the width,
 * a unit is a pixel and the text keeps its size. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/page.h"
#include "report/svg.h"

/* --- curves --------------------------------------------------------------------------------- */

enum { LEFT = 46, RIGHT = 352, TOP = 14, BOTTOM = 190, WIDTH = 360, HEIGHT = 226, HITS = 40 };

typedef struct {
    double x0, x1, y0, y1;
} window;

static double place_x(const window *w, double x) {
    return LEFT + (RIGHT - LEFT) * (x - w->x0) / (w->x1 - w->x0);
}

static double place_y(const window *w, double y) {
    return BOTTOM - (BOTTOM - TOP) * (y - w->y0) / (w->y1 - w->y0);
}

bool kd_svg_chart_is_empty(const kd_svg_chart *chart) {
    for (int i = 0; i < chart->count; i++) {
        int64_t finite = 0;
        for (int64_t k = 0; k < chart->line[i].n; k++) finite += isfinite(chart->line[i].y[k]) != 0;
        if (finite > 1) return false;
    }
    return true;
}

static window fit_window(const kd_svg_chart *chart) {
    window w = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (int i = 0; i < chart->count; i++)
        for (int64_t k = 0; k < chart->line[i].n; k++) {
            double x = chart->line[i].x[k], y = chart->line[i].y[k] * chart->y_scale;
            if (!isfinite(x) || !isfinite(y)) continue;
            w.x0 = fmin(w.x0, x);
            w.x1 = fmax(w.x1, x);
            w.y0 = fmin(w.y0, y);
            w.y1 = fmax(w.y1, y);
        }
    w.x0 = fmin(w.x0, 0);
    if (w.x1 <= w.x0) w.x1 = w.x0 + 1;
    if (chart->from_zero) w.y0 = fmin(w.y0, 0);
    double margin = 0.06 * (w.y1 - w.y0);
    if (margin <= 0) margin = fabs(w.y1) > 0 ? 0.1 * fabs(w.y1) : 1;
    w.y1 += margin;
    if (!chart->from_zero || w.y0 < 0) w.y0 -= margin;
    return w;
}

/* The smallest of 1, 2, 5 times a power of ten that makes at most `most` steps over `range`. */
static double tick_step(double range, int most) {
    double power = pow(10, floor(log10(range / most)));
    static const double factor[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++)
        if (range / (factor[i] * power) <= most) return factor[i] * power;
    return 10 * power;
}

/* A tick's number with as many decimals as its step needs; tiny ones as 1e-05. */
static void tick_label(char *out, size_t capacity, double value, double step) {
    int decimals = (int)ceil(-log10(step) - 1e-9);
    if (decimals > 4)
        snprintf(out, capacity, "%.0e", value);
    else
        snprintf(out, capacity, "%.*f", decimals > 0 ? decimals : 0, value);
}

static void add_axes(kd_text *out, const kd_svg_chart *chart, const window *w) {
    char label[32];
    double step = tick_step(w->y1 - w->y0, 5);
    for (double y = ceil(w->y0 / step) * step; y <= w->y1; y += step) {
        if (fabs(y) < step * 1e-6) y = 0;
        tick_label(label, sizeof label, y, step);
        kd_text_add(out,
                    "<path class=\"grid\" d=\"M%d %.1f H%d\"/>"
                    "<text class=\"tick end\" x=\"%d\" y=\"%.1f\">%s</text>\n",
                    LEFT, place_y(w, y), RIGHT, LEFT - 6, place_y(w, y) + 3.5, label);
    }
    step = fmax(tick_step(w->x1 - w->x0, 6), w->x1 - w->x0 > 1 ? 1 : 0);
    for (double x = ceil(w->x0 / step) * step; x <= w->x1 + step * 1e-6; x += step) {
        tick_label(label, sizeof label, x, step);
        kd_text_add(out, "<text class=\"tick mid\" x=\"%.1f\" y=\"%d\">%s</text>\n", place_x(w, x),
                    BOTTOM + 16, label);
    }
    kd_text_add(out,
                "<path class=\"axis\" d=\"M%d %d H%d\"/>"
                "<text class=\"tick end\" x=\"%d\" y=\"%d\">%s</text>\n",
                LEFT, BOTTOM, RIGHT, RIGHT, BOTTOM + 31, chart->x_name);
    if (!(chart->mark_x > w->x0 && chart->mark_x < w->x1)) return;
    double x = place_x(w, chart->mark_x);
    kd_text_add(out,
                "<path class=\"mark\" d=\"M%.1f %d V%d\"/>"
                "<text class=\"tick mid\" x=\"%.1f\" y=\"%d\">%s</text>\n",
                x, TOP, BOTTOM, x, TOP - 3, chart->mark_name);
}

static void add_line(kd_text *out, const kd_svg_chart *chart, const kd_svg_line *line,
                     const window *w) {
    bool pen_down = false;
    kd_text_add(out, "<path class=\"line %s\" d=\"", line->css);
    for (int64_t k = 0; k < line->n; k++) {
        double y = line->y[k] * chart->y_scale;
        if (isfinite(y))
            kd_text_add(out, "%c%.1f %.1f", pen_down ? 'L' : 'M', place_x(w, line->x[k]),
                        place_y(w, y));
        pen_down = isfinite(y);
    }
    kd_text_add(out, "\"/>\n");
}

/* Points that say their numbers when pointed at: all of them when they are shown, else some. */
static void add_points(kd_text *out, const kd_svg_chart *chart, const kd_svg_line *line,
                       const window *w) {
    if (!line->name) return;
    int64_t every = line->dots ? 1 : (line->n + HITS - 1) / HITS;
    for (int64_t k = 0; k<line->n; k += every> 0 ? every : 1) {
        double y = line->y[k] * chart->y_scale;
        if (!isfinite(y)) continue;
        char value[48];
        snprintf(value, sizeof value, chart->y_format, y);
        if (line->dots && line->n <= HITS)
            kd_text_add(out, "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.2\"/>",
                        line->css, place_x(w, line->x[k]), place_y(w, y));
        kd_text_add(out,
                    "<circle class=\"hit\" cx=\"%.1f\" cy=\"%.1f\" r=\"7\"><title>%s, %s %.4g: "
                    "%s</title></circle>\n",
                    place_x(w, line->x[k]), place_y(w, y), line->name, chart->x_name, line->x[k],
                    value);
    }
}

void kd_svg_add_chart(kd_text *out, const kd_svg_chart *chart) {
    if (kd_svg_chart_is_empty(chart)) return;
    window w = fit_window(chart);
    kd_text_add(out, "<figure><figcaption>%s</figcaption>\n<ul class=\"legend\">", chart->title);
    for (int i = 0; i < chart->count; i++)
        if (chart->line[i].name && chart->line[i].n > 0)
            kd_text_add(out, "<li><i class=\"%s\"></i>%s</li>", chart->line[i].css,
                        chart->line[i].name);
    kd_text_add(out,
                "</ul>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"%s-t %s-d\">"
                "<title id=\"%s-t\">%s</title><desc id=\"%s-d\">%s</desc>\n",
                WIDTH, HEIGHT, chart->id, chart->id, chart->id, chart->title, chart->id,
                chart->description);
    add_axes(out, chart, &w);
    for (int i = 0; i < chart->count; i++) add_line(out, chart, &chart->line[i], &w);
    for (int i = 0; i < chart->count; i++) add_points(out, chart, &chart->line[i], &w);
    kd_text_add(out, "</svg></figure>\n");
}
