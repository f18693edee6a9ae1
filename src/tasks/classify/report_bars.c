/* The accuracy on each class, a bar for each model, as inline SVG. */
#include <math.h>
#include <stdio.h>

#include "tasks/classify/report_parts.h"

enum { BAR_WIDTH = 250, BAR_STEP = 15, BAR_HEIGHT = 9, BARS_TOP = 22, SVG_WIDTH = 340 };

/* "student float on shirt: 71.2 % (712 of 1000), 6.8 points below the teacher" */
static void describe_bar(char *out, size_t capacity, const kd_report *report, const kd_result *r,
                         int label) {
    const kd_result *teacher = kd_report_teacher(report);
    double accuracy = kd_result_class_accuracy(r, label);
    int used = snprintf(out, capacity, "%s on %s: %.1f %% (%lld of %lld)", r->name,
                        report->class_name[label], 100 * accuracy,
                        (long long)r->class_correct[label], (long long)r->class_samples[label]);
    if (!teacher || r == teacher || used < 0 || (size_t)used >= capacity) return;
    double change = 100 * (accuracy - kd_result_class_accuracy(teacher, label));
    snprintf(out + used, capacity - (size_t)used, ", %.1f points %s the teacher", fabs(change),
             change < 0 ? "below" : "above");
}

static void add_bar(kd_text *out, const kd_report *report, const kd_result *r, int label, int y) {
    const kd_result *teacher = kd_report_teacher(report);
    double accuracy = kd_result_class_accuracy(r, label);
    if (isnan(accuracy)) return;
    bool worst = teacher && r != teacher && kd_result_worst_class(r, teacher) == label;
    char words[256];
    describe_bar(words, sizeof words, report, r, label);
    kd_text_add(out, "<g><title>");
    kd_text_add_escaped(out, words);
    kd_text_add(out,
                "</title><rect class=\"hit\" y=\"%d\" width=\"%d\" height=\"%d\"/>"
                "<rect class=\"fill %s\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"1.5\"/>"
                "<text class=\"value%s\" x=\"%.1f\" y=\"%d\">%.1f%s</text></g>\n",
                y - (BAR_STEP - BAR_HEIGHT) / 2, SVG_WIDTH, BAR_STEP, kd_report_kind_class(r), y,
                fmax(1, BAR_WIDTH * accuracy), BAR_HEIGHT, worst ? " worst" : "",
                fmax(1, BAR_WIDTH * accuracy) + 6, y + BAR_HEIGHT, 100 * accuracy,
                worst ? " ▼" : "");
}

void kd_svg_add_class_bars(kd_text *out, const kd_report *report, int label) {
    int bottom = BARS_TOP + report->count * BAR_STEP;
    kd_text_add(out,
                "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"c%d\">"
                "<text class=\"name\" id=\"c%d\" y=\"13\">",
                SVG_WIDTH, bottom, label, label);
    kd_text_add_escaped(out, report->class_name[label]);
    kd_text_add(out, "</text>\n<path class=\"grid\" d=\"M0.5 %d V%d M%d.5 %d V%d\"/>\n",
                BARS_TOP - 4, bottom, BAR_WIDTH, BARS_TOP - 4, bottom);
    for (int i = 0; i < report->count; i++)
        add_bar(out, report, &report->result[i], label, BARS_TOP + i * BAR_STEP);
    kd_text_add(out, "</svg>\n");
}
