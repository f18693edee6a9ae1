#include "tasks/classify/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "report/plot.h"
#include "report/statistics.h"
#include "tasks/classify/report_parts.h"

void kd_result_free_counts(kd_result *result) {
    free(result->class_samples);
    free(result->class_correct);
    free(result->answer);
    result->class_samples = result->class_correct = NULL;
    result->answer = NULL;
}

void kd_result_copy_costs(kd_result *out, const kd_result *from) {
    out->parameters = from->parameters;
    out->bytes = from->bytes;
    out->memory = from->memory;
    out->ms_per_sample = from->ms_per_sample;
}

void kd_result_interval(const kd_result *result, double *low, double *high) {
    kd_wilson_interval(result->correct, result->samples, low, high);
}

double kd_result_class_accuracy(const kd_result *result, int label) {
    int64_t n = result->class_samples[label];
    return n > 0 ? (double)result->class_correct[label] / (double)n : NAN;
}

int kd_result_worst_class(const kd_result *result, const kd_result *teacher) {
    int worst = -1;
    double most = -INFINITY;
    for (int label = 0; label < result->classes; label++) {
        double lost = -kd_result_class_accuracy(result, label);
        if (teacher) lost += kd_result_class_accuracy(teacher, label);
        if (isnan(lost) || lost <= most) continue;
        most = lost;
        worst = label;
    }
    return worst;
}

const kd_result *kd_report_teacher(const kd_report *report) {
    for (int i = 0; i < report->count; i++)
        if (strcmp(report->result[i].kind, "teacher") == 0) return &report->result[i];
    return NULL;
}

void kd_report_print(const kd_report *report) {
    kd_text text = {0};
    kd_report_add_text(&text, report);
    if (kd_text_finish(&text, "the report") == KD_OK) fputs(text.text, stdout);
    free(text.text);
}

/* Every model's accuracy and its interval, as a picture of its own. */
static void add_models_plot(kd_text *out, const kd_report *report) {
    kd_plot_row row[KD_RESULTS_MAX];
    double percent[KD_RESULTS_MAX];
    for (int i = 0; i < report->count; i++) {
        const kd_result *result = &report->result[i];
        double low, high;
        kd_result_interval(result, &low, &high);
        percent[i] = 100 * (double)result->correct / (double)result->samples;
        row[i] = (kd_plot_row){.name = result->name,
                               .colour = kd_plot_model_colour(result->kind),
                               .n = 1,
                               .value = &percent[i],
                               .mean = percent[i],
                               .low = 100 * low,
                               .high = 100 * high};
    }
    kd_plot_rows plot = {.title = report->config->name,
                         .x_name = "test accuracy, %, with 95 % interval",
                         .x_format = "%.2f %%",
                         .bounds = {0, 100},
                         .count = report->count,
                         .row = row};
    if (report->count > 0) kd_plot_add_rows(out, &plot, KD_PLOT_AS_FILE);
}

int kd_report_write(const kd_report *report) {
    char path[KD_PATH_MAX];
    kd_text json = {0}, html = {0}, models = {0};
    kd_report_add_json(&json, report);
    int status = kd_text_save(&json, report->run_folder, "report.json");
    if (status < 0) return status;
    add_models_plot(&models, report);
    status = kd_text_save(&models, report->run_folder, "accuracy.svg");
    if (status == KD_OK) status = kd_path_join(path, report->run_folder, "log.jsonl");
    if (status < 0) return status;
    kd_runlog_curves curves;
    status = kd_runlog_read(&curves, path);
    if (status < 0) return status;
    kd_report_add_html(&html, report, &curves);
    kd_runlog_free(&curves);
    return kd_text_save(&html, report->run_folder, "report.html");
}
