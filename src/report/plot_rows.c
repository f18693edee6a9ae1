/* Rows: a name, the mean of some values as a dot with its interval or as a bar, its number. In a
 * file the names stand beside their rows; on a page above them, so that the rows keep the whole
 * width. */
#include <math.h>
#include <stdio.h>

#include "report/page.h"
#include "report/plot_parts.h"

enum { NAME_MAX = 300, TOP = 38 };

typedef struct {
    const kd_plot_rows *plot;
    kd_axis x;
    bool file;
    int width;
} canvas;

/* What a row takes: more where a group begins. */
static int row_height(const canvas *c, const kd_plot_row *row) {
    if (!row->name) return 14;
    return c->file ? 26 : 36;
}

static int first_row(const canvas *c) {
    return c->file ? TOP : 4;
}

static bool fit(canvas *c) {
    const kd_plot_rows *plot = c->plot;
    int longest = 0;
    for (int i = 0; i < plot->count; i++) {
        const kd_plot_row *row = &plot->row[i];
        const int length = row->name ? kd_utf8_count(row->name) : 0;
        if (length > longest) longest = length;
        for (int k = 0; k < row->n; k++) kd_axis_widen(&c->x, row->value[k]);
        kd_axis_widen(&c->x, row->mean);
        kd_axis_widen(&c->x, row->low);
        kd_axis_widen(&c->x, row->high);
    }
    if (c->x.low > c->x.high) return false;
    if (plot->zero || plot->bars) kd_axis_widen(&c->x, 0);
    kd_plot_bounds bounds = plot->bounds;
    if (plot->bars && c->x.low >= 0) bounds = (kd_plot_bounds){0, INFINITY};
    if (c->file) c->x.first = fmin(7.0 * longest + 22, NAME_MAX);
    kd_axis_add_margin(&c->x, 0.04, &bounds);
    return true;
}

static void add_axis(kd_text *out, const canvas *c, int bottom) {
    kd_tick tick[KD_TICKS_MAX];
    const int count = kd_axis_ticks(tick, &c->x, 6);
    for (int k = 0; k < count; k++) {
        const double at = kd_axis_place(&c->x, tick[k].value);
        const bool zero = c->plot->zero && tick[k].value == 0;
        kd_text_add(out, "<path class=\"%s\" d=\"M%.1f %d V%d\"/>", zero ? "axis" : "grid", at,
                    first_row(c) - 4, bottom);
        kd_text_add(out, "<path class=\"axis\" d=\"M%.1f %d v4\"/>", at, bottom);
        kd_plot_add_text(out, "mid", at, bottom + 17, tick[k].name);
    }
    kd_text_add(out, "<path class=\"axis\" d=\"M%.0f %d H%.0f\"/>\n", c->x.first, bottom,
                c->x.last);
    char name[200];
    const char *note = c->file ? c->plot->note : NULL;
    snprintf(name, sizeof name, "%s%s%s%s", c->plot->x_name, note ? " (" : "", note ? note : "",
             note ? ")" : "");
    kd_plot_add_text(out, "label mid", (c->x.first + c->x.last) / 2, bottom + 35, name);
}

static void add_values(kd_text *out, const canvas *c, const kd_plot_row *row, int y) {
    const char *colour = kd_plot_colour(row->colour, 0);
    const double at = kd_axis_place(&c->x, row->mean);
    for (int k = 0; k < row->n && row->n > 1; k++)
        if (isfinite(row->value[k]))
            kd_text_add(out, "<circle class=\"value\" cx=\"%.1f\" cy=\"%d\" r=\"2.6\"/>",
                        kd_axis_place(&c->x, row->value[k]), y);
    if (c->plot->bars) {
        const double zero = kd_axis_place(&c->x, 0);
        kd_text_add(
            out, "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"9\" rx=\"1.5\">",
            colour, fmin(zero, at), y - 5, fmax(1, fabs(at - zero)));
    } else {
        if (isfinite(row->low) && isfinite(row->high))
            kd_text_add(out, "<path class=\"line %s\" d=\"M%.1f %d v8 m0 -4 H%.1f m0 -4 v8\"/>",
                        colour, kd_axis_place(&c->x, row->low), y - 4,
                        kd_axis_place(&c->x, row->high));
        kd_text_add(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%d\" r=\"4\">", colour, at, y);
    }
    if (row->words) {
        kd_text_add(out, "<title>");
        kd_text_add_escaped(out, row->words);
        kd_text_add(out, "</title>");
    }
    kd_text_add(out, "</%s>", c->plot->bars ? "rect" : "circle");
}

static void add_row(kd_text *out, const canvas *c, const kd_plot_row *row, int top) {
    const int y = top + row_height(c, row) - (row->name && c->file ? 13 : 7);
    if (row->name && c->file) kd_plot_add_text(out, "label end", c->x.first - 10, y + 4, row->name);
    if (row->name && !c->file) kd_plot_add_text(out, "label", 0, y - 12, row->name);
    if (!isfinite(row->mean)) return;
    add_values(out, c, row, y);
    char value[64];
    kd_axis_number(value, sizeof value, c->plot->x_format, row->mean);
    kd_plot_add_text(out, "end", c->width - 2, y + 4, value);
}

void kd_plot_add_rows(kd_text *out, const kd_plot_rows *plot, kd_plot_form form) {
    const bool file = form == KD_PLOT_AS_FILE;
    const int width = file ? KD_PLOT_FILE_WIDTH : KD_PLOT_PAGE_WIDTH;
    canvas c = {
        .plot = plot, .x = kd_axis_begin(false, 4, width - 62), .file = file, .width = width};
    c.x.whole = plot->bars;
    if (!fit(&c)) return;
    int bottom = first_row(&c);
    for (int i = 0; i < plot->count; i++) bottom += row_height(&c, &plot->row[i]);
    bottom += 6;
    kd_plot_begin(out, form, bottom + 44, plot->title, plot->note, plot->key_count, plot->key);
    add_axis(out, &c, bottom);
    int top = first_row(&c);
    for (int i = 0; i < plot->count; i++) {
        add_row(out, &c, &plot->row[i], top);
        top += row_height(&c, &plot->row[i]);
    }
    kd_plot_end(out, form);
}
