/* report.html: one file that opens anywhere, without scripts and without the network. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "distill/budget.h"
#include "tasks/classify/metrics.h"
#include "tasks/classify/report_parts.h"

static double accuracy_of(const kd_result *r) {
    return r->samples ? (double)r->correct / (double)r->samples : 0;
}

static const kd_result *last_of_kind(const kd_report *report, const char *kind) {
    for (int i = report->count - 1; i >= 0; i--)
        if (strcmp(report->result[i].kind, kind) == 0) return &report->result[i];
    return NULL;
}

/* --- facts ---------------------------------------------------------------------------------- */

static void time_text(char *out, size_t capacity, double ms) {
    if (ms < 1)
        snprintf(out, capacity, "%.*f µs", ms < 0.01 ? 1 : 0, 1e3 * ms);
    else
        snprintf(out, capacity, "%.2f ms", ms);
}

static void add_fact(kd_text *out, const char *term, const char *value, const char *more) {
    kd_text_add(out, "<div><dt>%s</dt><dd><b>%s</b>%s</dd></div>\n", term, value, more);
}

/* Whether chance may explain the difference of two models. */
static bool intervals_overlap(const kd_result *a, const kd_result *b) {
    double a_low, a_high, b_low, b_high;
    kd_result_interval(a, &a_low, &a_high);
    kd_result_interval(b, &b_low, &b_high);
    return a_low <= b_high && b_low <= a_high;
}

static void add_facts(kd_text *out, const kd_report *report) {
    const kd_result *teacher = kd_report_teacher(report);
    const kd_result *student = last_of_kind(report, "student");
    const kd_result *baseline = last_of_kind(report, "baseline");
    const kd_result *blob = last_of_kind(report, "blob");
    if (!blob) blob = last_of_kind(report, "ptq");
    const kd_result *final = blob ? blob : student;
    if (!final) return;
    char value[64], more[160] = "";
    kd_text_add(out, "<dl class=\"facts\">\n");
    snprintf(value, sizeof value, "%.2f %%", 100 * accuracy_of(final));
    if (teacher) {
        double points = 100 * (accuracy_of(final) - accuracy_of(teacher));
        snprintf(more, sizeof more, "%.2f points %s the teacher%s", fabs(points),
                 points < 0 ? "below" : "above",
                 intervals_overlap(final, teacher) ? "; the intervals overlap" : "");
    }
    add_fact(out, blob ? "Accuracy of the exported file" : "Accuracy of the student", value, more);
    if (baseline && student) {
        double points = 100 * (accuracy_of(student) - accuracy_of(baseline));
        snprintf(value, sizeof value, "%s%.2f points", points < 0 ? "−" : "+", fabs(points));
        snprintf(more, sizeof more, "student float over the same network without a teacher%s",
                 intervals_overlap(student, baseline) ? "; the intervals overlap" : "");
        add_fact(out, "What the teacher brought", value, more);
    }
    kd_format_bytes(value, sizeof value, (double) final->bytes);
    more[0] = '\0';
    if (teacher && final->bytes > 0)
        snprintf(more, sizeof more, "%.1f times smaller than the teacher",
                 (double)teacher->bytes / (double) final->bytes);
    add_fact(out, "Size", value, more);
    time_text(value, sizeof value, final->ms_per_sample);
    more[0] = '\0';
    if (teacher && final->ms_per_sample > 0)
        snprintf(more, sizeof more, "%.1f times as fast as the teacher",
                 teacher->ms_per_sample / final->ms_per_sample);
    add_fact(out, "Time for a sample", value, more);
    kd_text_add(out, "</dl>\n");
}

/* --- table ---------------------------------------------------------------------------------- */

static void add_worst_cell(kd_text *out, const kd_report *report, const kd_result *r) {
    const kd_result *teacher = kd_report_teacher(report);
    if (teacher == r) teacher = NULL;
    int worst = kd_result_worst_class(r, teacher);
    kd_text_add(out, "<td>");
    if (worst >= 0) {
        double accuracy = 100 * kd_result_class_accuracy(r, worst);
        kd_text_add_escaped(out, report->class_name[worst]);
        kd_text_add(out, " %.1f %%", accuracy);
        if (teacher) {
            double change = accuracy - 100 * kd_result_class_accuracy(teacher, worst);
            kd_text_add(out, " <small>(%s%.1f)</small>", change < 0 ? "−" : "+", fabs(change));
        }
    }
    kd_text_add(out, "</td>");
}

static void add_model_row(kd_text *out, const kd_report *report, const kd_result *r) {
    char count[32], bytes[32], memory[32], time[32];
    double low, high;
    time_text(time, sizeof time, r->ms_per_sample);
    kd_result_interval(r, &low, &high);
    kd_format_count(count, sizeof count, r->parameters);
    kd_format_bytes(bytes, sizeof bytes, (double)r->bytes);
    kd_format_bytes(memory, sizeof memory, (double)r->memory);
    kd_text_add(out, "<tr><th scope=\"row\"><i class=\"%s\"></i>", kd_plot_model_colour(r->kind));
    kd_text_add_escaped(out, r->name);
    kd_text_add(out,
                "</th><td>%.2f %%</td><td><small>%.2f – %.2f</small></td><td>%s</td><td>%s</td>"
                "<td>%s</td><td>%s</td>",
                100 * accuracy_of(r), 100 * low, 100 * high, count, bytes, memory, time);
    add_worst_cell(out, report, r);
    kd_text_add(out, "</tr>\n");
}

static void add_table(kd_text *out, const kd_report *report) {
    kd_text_add(
        out,
        "<h2 id=\"models\">Models</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
        "aria-labelledby=\"models\"><table><thead><tr><th scope=\"col\">Model</th>"
        "<th scope=\"col\">Accuracy</th><th scope=\"col\">95 %% interval</th>"
        "<th scope=\"col\">Parameters</th><th scope=\"col\">Size</th>"
        "<th scope=\"col\">Memory</th><th scope=\"col\">Time</th>"
        "<th scope=\"col\">%s</th></tr></thead><tbody>\n",
        kd_report_teacher(report) ? "Lost most against the teacher" : "Worst class");
    for (int i = 0; i < report->count; i++) add_model_row(out, report, &report->result[i]);
    kd_text_add(out, "</tbody></table></div>\n");
    if (report->count > 0) {
        char samples[32];
        kd_format_count(samples, sizeof samples, report->result[0].samples);
        kd_text_add(out,
                    "<p class=\"soft\">All on the same %s test samples. The interval is Wilson's. "
                    "Size: the weights, for an exported model its file. Memory: weights and "
                    "activations for one sample. Time: of a sample, the median over "
                    "batches of one hundred on all threads of this machine; a network multiplies "
                    "in float, an exported file in integers.</p>\n",
                    samples);
    }
    for (int i = 0; i < report->count; i++) {
        const kd_result *r = &report->result[i];
        if (r->disagreements < 0) continue;
        kd_text_add(out, "<p class=\"soft\">");
        kd_text_add_escaped(out, r->name);
        kd_text_add(out,
                    ": %lld of %lld predictions differ from the fake-quantized network it was "
                    "written from; the largest difference of an output is %g.</p>\n",
                    (long long)r->disagreements, (long long)r->samples, r->largest_difference);
    }
}

/* --- compression ----------------------------------------------------------------------------- */

static void add_budgets(kd_text *out, const kd_report *report) {
    for (int i = 0; report->budget && i < report->config->quantize_count; i++) {
        if (!report->budget[i]) continue;
        kd_text_add(out, "<div class=\"charts\">\n");
        kd_budget_add_plot(out, report->budget[i], report->config->quantize[i].name,
                           KD_PLOT_ON_PAGE);
        kd_text_add(out, "</div>\n");
    }
}

static void add_compression(kd_text *out, const kd_report *report) {
    kd_measured_table table;
    if (kd_report_measured(&table, report) < 0)
        out->failed = true;
    else if (kd_compression_is_shown(&table))
        kd_compression_add_html(out, &table);
    kd_measured_clear(&table);
    add_budgets(out, report);
}

/* --- the page ------------------------------------------------------------------------------- */

/* Of several ways to quantize, the first that was trained; "" without. */
static const char *qat_stage(const kd_report *report, const kd_runlog_curves *curves) {
    for (int i = 0; i < report->config->quantize_count; i++)
        if (kd_report_has_stage(curves, report->config->quantize[i].stage))
            return report->config->quantize[i].stage;
    return "";
}

void kd_report_add_html(kd_text *out, const kd_report *report, const kd_runlog_curves *curves) {
    const kd_config *config = report->config;
    kd_report_begin_page(out, config->name);
    kd_report_begin_body(out, config->name);
    kd_report_add_settings(out, config->seed, config->precision, &config->hash);
    add_facts(out, report);
    add_table(out, report);
    add_compression(out, report);
    if (curves->step_count > 1) {
        kd_text_add(out, "<h2>Training</h2>\n<div class=\"charts level\">\n");
        const kd_report_curves how = {.qat = qat_stage(report, curves),
                                      .term = kd_classify_terms,
                                      .term_count =
                                          report->config->teacher.present ? KD_CLASSIFY_TERMS : 0,
                                      .validation = &kd_classify_validation[KD_CLASSIFY_ACCURACY]};
        kd_report_add_curves(out, curves, &how);
        kd_text_add(out, "</div>\n");
    }
    kd_report_add_classes(out, report);
    kd_report_end_page(out, report->config->resolved);
}
