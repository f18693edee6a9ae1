/* What every drawing has: its frame, title and legend, its colours. */
#include "report/plot.h"

#include <string.h>

#include "report/page.h"
#include "report/plot_parts.h"
#include "report/style.h"

void kd_plot_add_text(kd_text *out, const char *css, double x, double y, const char *words) {
    kd_text_add(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", css, x, y);
    kd_text_add_escaped(out, words);
    kd_text_add(out, "</text>\n");
}

const char *kd_plot_colour(const char *colour, int number) {
    static const char *const numbered[] = {"c0", "c1", "c2", "c3", "c4",
                                           "c5", "c6", "c7", "c8", "c9"};
    return colour ? colour : numbered[number % 10];
}

const char *kd_plot_model_colour(const char *kind) {
    static const char *const known[] = {"teacher", "student", "baseline", "ptq", "blob"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(kind, known[i]) == 0) return known[i];
    return "other";
}

static void add_caption(kd_text *out, const char *title, const char *legend, int key_count,
                        const kd_plot_key *key) {
    kd_text_add(out, "<figure class=\"plot\"><figcaption>");
    kd_text_add_escaped(out, title);
    kd_text_add(out, "</figcaption>\n");
    if (key_count == 0 && !legend) return;
    kd_text_add(out, "<ul class=\"legend\">");
    if (legend) {
        kd_text_add(out, "<li>");
        kd_text_add_escaped(out, legend);
        kd_text_add(out, "</li>");
    }
    for (int i = 0; i < key_count; i++) {
        kd_text_add(out, "<li><i class=\"%s\"></i>", key[i].colour);
        kd_text_add_escaped(out, key[i].name);
        kd_text_add(out, "</li>");
    }
    kd_text_add(out, "</ul>\n");
}

void kd_plot_begin(kd_text *out, kd_plot_form form, int height, const char *title,
                   const char *legend, int key_count, const kd_plot_key *key) {
    const bool file = form == KD_PLOT_AS_FILE;
    const int width = file ? KD_PLOT_FILE_WIDTH : KD_PLOT_PAGE_WIDTH;
    if (!file) add_caption(out, title, legend, key_count, key);
    kd_text_add(out, "<svg %sviewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"",
                file ? "xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" width=\"640\" " : "",
                width, height);
    kd_text_add_escaped(out, title);
    kd_text_add(out, "\">\n");
    if (!file) return;
    kd_text_add(out, "<style>\n%s%s</style>\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
                PLOT_STYLE("#1d2126", "#5c6670", "#dfe3e8"), COLOURS, width, height);
    kd_plot_add_text(out, "title", 12, 20, title);
}

void kd_plot_end(kd_text *out, kd_plot_form form) {
    kd_text_add(out, form == KD_PLOT_AS_FILE ? "</svg>\n" : "</svg></figure>\n");
}
