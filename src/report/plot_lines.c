/* Series of points on two axes. */
#include <math.h>
#include <stdio.h>

#include "report/page.h"
#include "report/plot_parts.h"

enum { MARKS_MAX = 60, HITS = 40 };

typedef struct {
    const kd_plot *plot;
    kd_axis x, y;
    int left, right, top, bottom;
    bool file;
} canvas;

static bool is_shown(const canvas *c, const kd_plot_line *line, int64_t k) {
    return kd_axis_can_show(&c->x, line->x[k]) && kd_axis_can_show(&c->y, line->y[k]);
}

static bool has_bar(const canvas *c, const kd_plot_line *line, int64_t k) {
    return line->low && kd_axis_can_show(&c->y, line->low[k]) &&
           kd_axis_can_show(&c->y, line->high[k]);
}

/* How far a series is moved aside so that its error bars do not hide those of others. */
static double aside(const kd_plot *plot, int number) {
    int with_bars = 0, before = 0;
    for (int i = 0; i < plot->line_count; i++) {
        with_bars += plot->line[i].low != NULL;
        before += i < number && plot->line[i].low;
    }
    return plot->line[number].low ? 6 * (before - (with_bars - 1) / 2.0) : 0;
}

/* --- axes ----------------------------------------------------------------------------------- */

static bool fit(canvas *c) {
    const kd_plot *plot = c->plot;
    for (int i = 0; i < plot->line_count; i++)
        for (int64_t k = 0; k < plot->line[i].n; k++) {
            const kd_plot_line *line = &plot->line[i];
            if (!is_shown(c, line, k)) continue;
            kd_axis_widen(&c->x, line->x[k]);
            kd_axis_widen(&c->y, line->y[k]);
            if (!has_bar(c, line, k)) continue;
            kd_axis_widen(&c->y, line->low[k]);
            kd_axis_widen(&c->y, line->high[k]);
        }
    if (c->x.low > c->x.high || c->y.low > c->y.high) return false;
    kd_plot_bounds bounds = plot->y_bounds;
    if (plot->x_counts) kd_axis_widen(&c->x, 0);
    const bool from_zero = plot->from_zero && !plot->log_y && c->y.low >= 0;
    if (from_zero) {
        kd_axis_widen(&c->y, 0);
        bounds = (kd_plot_bounds){0, bounds.most > 0 ? bounds.most : INFINITY};
    }
    kd_axis_add_margin(&c->x, 0.03, &(kd_plot_bounds){0, plot->x_counts ? INFINITY : 0});
    kd_axis_add_margin(&c->y, 0.06, &bounds);
    return true;
}

static void add_x_tick(kd_text *out, const canvas *c, double value, const char *name) {
    const double at = kd_axis_place(&c->x, value);
    kd_text_add(out, "<path class=\"axis\" d=\"M%.1f %d v%d\"/>", at, c->bottom, *name ? 4 : 2);
    if (*name) kd_plot_add_text(out, "mid", at, c->bottom + 17, name);
}

/* Ticks at their given places, leaving out names that would run into each other. */
static void add_given_ticks(kd_text *out, const canvas *c) {
    double free_from = -INFINITY;
    for (int i = 0; i < c->plot->tick_count; i++) {
        if (!kd_axis_can_show(&c->x, c->plot->tick[i])) continue;
        const char *name = c->plot->tick_name[i];
        const double at = kd_axis_place(&c->x, c->plot->tick[i]);
        const double half = 3.6 * kd_utf8_count(name) + 3;
        add_x_tick(out, c, c->plot->tick[i], at - half >= free_from ? name : "");
        if (at - half >= free_from) free_from = at + half;
    }
}

static void add_hairline(kd_text *out, const canvas *c) {
    const kd_plot *plot = c->plot;
    if (!plot->hairline_name || !kd_axis_can_show(&c->x, plot->hairline)) return;
    const double at = kd_axis_place(&c->x, plot->hairline);
    if (at < c->left || at > c->right) return;
    kd_text_add(out, "<path class=\"hairline\" d=\"M%.1f %d V%d\"/>", at, c->top, c->bottom);
    kd_plot_add_text(out, "mid", at, c->top - 4, plot->hairline_name);
}

/* The name of the y axis stands upright in a file; on a page, where room is scarce, above it. */
static void add_names(kd_text *out, const canvas *c) {
    kd_plot_add_text(out, "label mid", (c->left + c->right) / 2.0, c->bottom + 35, c->plot->x_name);
    if (!c->file) {
        kd_plot_add_text(out, "label", 0, 11, c->plot->y_name);
        return;
    }
    kd_text_add(out, "<text class=\"label mid\" transform=\"translate(16 %d) rotate(-90)\">",
                (c->top + c->bottom) / 2);
    kd_text_add_escaped(out, c->plot->y_name);
    kd_text_add(out, "</text>\n");
}

static void add_axes(kd_text *out, const canvas *c) {
    kd_tick tick[KD_TICKS_MAX];
    int count = kd_axis_ticks(tick, &c->y, 6);
    for (int k = 0; k < count; k++) {
        const double at = kd_axis_place(&c->y, tick[k].value);
        kd_text_add(out, "<path class=\"%s\" d=\"M%d %.1f H%d\"/>",
                    *tick[k].name ? "grid" : "grid minor", c->left, at, c->right);
        if (*tick[k].name) kd_plot_add_text(out, "end", c->left - 6, at + 4, tick[k].name);
    }
    kd_text_add(out, "<path class=\"axis\" d=\"M%d %d H%d\"/>\n", c->left, c->bottom, c->right);
    if (c->plot->tick_count > 0) {
        add_given_ticks(out, c);
    } else {
        count = kd_axis_ticks(tick, &c->x, 6);
        for (int k = 0; k < count; k++) add_x_tick(out, c, tick[k].value, tick[k].name);
    }
    add_names(out, c);
    add_hairline(out, c);
}

/* --- series --------------------------------------------------------------------------------- */

static void add_line(kd_text *out, const canvas *c, int number) {
    const kd_plot_line *line = &c->plot->line[number];
    bool pen_down = false;
    kd_text_add(out, "<path class=\"line %s%s%s\" d=\"", kd_plot_colour(line->colour, number),
                line->dashed ? " dash" : "", line->faint ? " faint" : "");
    for (int64_t k = 0; k < line->n; k++) {
        const bool shown = is_shown(c, line, k);
        if (shown)
            kd_text_add(out, "%c%.1f %.1f", pen_down ? 'L' : 'M',
                        kd_axis_place(&c->x, line->x[k]) + aside(c->plot, number),
                        kd_axis_place(&c->y, line->y[k]));
        pen_down = shown;
    }
    kd_text_add(out, "\"/>\n");
}

/* "student at 4: 91.20 % (90.1 … 92.3)" */
static void add_tooltip(kd_text *out, const canvas *c, const kd_plot_line *line, int64_t k) {
    char value[64];
    kd_axis_number(value, sizeof value, c->plot->y_format, line->y[k]);
    kd_text_add(out, "<title>");
    if (line->name) kd_text_add_escaped(out, line->name);
    kd_text_add(out, ", ");
    kd_text_add_escaped(out, c->plot->x_name);
    kd_text_add(out, " %.4g: %s", line->x[k], value);
    if (has_bar(c, line, k)) {
        kd_axis_number(value, sizeof value, c->plot->y_format, line->low[k]);
        kd_text_add(out, " (%s", value);
        kd_axis_number(value, sizeof value, c->plot->y_format, line->high[k]);
        kd_text_add(out, " … %s)", value);
    }
    kd_text_add(out, "</title>");
}

/* Marks with their intervals; of long series points without a mark that say their numbers. */
static void add_marks(kd_text *out, const canvas *c, int number) {
    const kd_plot_line *line = &c->plot->line[number];
    const bool marked = !line->no_marks && line->n <= MARKS_MAX;
    if (!marked && !line->name) return;
    const int64_t every = marked ? 1 : (line->n + HITS - 1) / HITS;
    const char *colour = kd_plot_colour(line->colour, number);
    for (int64_t k = 0; k < line->n; k += every) {
        if (!is_shown(c, line, k)) continue;
        const double x = kd_axis_place(&c->x, line->x[k]) + aside(c->plot, number);
        const double y = kd_axis_place(&c->y, line->y[k]);
        if (has_bar(c, line, k))
            kd_text_add(
                out, "<path class=\"line %s\" d=\"M%.1f %.1f V%.1f m-3 0 h6 M%.1f %.1f h6\"/>",
                colour, x, kd_axis_place(&c->y, line->low[k]), kd_axis_place(&c->y, line->high[k]),
                x - 3, kd_axis_place(&c->y, line->low[k]));
        kd_text_add(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\">",
                    marked ? colour : "hit", x, y, marked ? "3" : "7");
        add_tooltip(out, c, line, k);
        kd_text_add(out, "</circle>\n");
    }
}

/* Beside the drawing; on a page it is text above it. */
static void add_legend(kd_text *out, const canvas *c) {
    int y = c->top + 6;
    if (c->plot->legend) {
        kd_plot_add_text(out, "label", c->right + 16, y, c->plot->legend);
        y += 20;
    }
    for (int i = 0; i < c->plot->line_count; i++) {
        const kd_plot_line *line = &c->plot->line[i];
        const char *colour = kd_plot_colour(line->colour, i);
        if (!line->name) continue;
        kd_text_add(out, "<path class=\"line %s%s\" d=\"M%d %d h22\"/>", colour,
                    line->dashed ? " dash" : "", c->right + 16, y - 4);
        if (!line->no_marks && line->n <= MARKS_MAX)
            kd_text_add(out, "<circle class=\"%s\" cx=\"%d\" cy=\"%d\" r=\"3\"/>", colour,
                        c->right + 27, y - 4);
        kd_plot_add_text(out, "label", c->right + 45, y, line->name);
        y += 20;
    }
}

void kd_plot_add_lines(kd_text *out, const kd_plot *plot, kd_plot_form form) {
    const bool file = form == KD_PLOT_AS_FILE;
    canvas c = file ? (canvas){.left = 64, .right = 470, .top = 38, .bottom = 306}
                    : (canvas){.left = 42, .right = 354, .top = 24, .bottom = 204};
    kd_plot_key key[KD_PLOT_LINES_MAX];
    int keys = 0;
    c.plot = plot;
    c.file = file;
    c.x = kd_axis_begin(plot->log_x, c.left, c.right);
    c.x.whole = plot->x_counts;
    c.y = kd_axis_begin(plot->log_y, c.bottom, c.top);
    if (!fit(&c)) return;
    for (int i = 0; i < plot->line_count; i++)
        if (plot->line[i].name && plot->line[i].n > 0)
            key[keys++] =
                (kd_plot_key){plot->line[i].name, kd_plot_colour(plot->line[i].colour, i)};
    kd_plot_begin(out, form, c.bottom + 48, plot->title, plot->legend, keys, key);
    add_axes(out, &c);
    for (int i = 0; i < plot->line_count; i++) add_line(out, &c, i);
    for (int i = 0; i < plot->line_count; i++) add_marks(out, &c, i);
    if (file) add_legend(out, &c);
    kd_plot_end(out, form);
}
