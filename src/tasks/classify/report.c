#include "tasks/classify/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_text.h"
#include "report/compression.h"
#include "report/plot.h"
#include "tasks/classify/metrics.h"
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
    const kd_estimate share = kd_estimate_share(result->correct, result->samples);
    *low = share.low;
    *high = share.high;
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

/* --- by name -----------------------------------------------------------------------------------
 */

static void count_samples(kd_estimate *out, int64_t correct, int64_t samples) {
    out[KD_TEST_ACCURACY] = kd_estimate_share(correct, samples);
    out[KD_TEST_ERRORS] = kd_estimate_plain((double)(samples - correct), samples);
    out[KD_TEST_SAMPLES] = kd_estimate_plain((double)samples, samples);
    out[KD_TEST_CORRECT] = kd_estimate_plain((double)correct, samples);
}

static void fill_model(kd_measured_table *table, const kd_result *r) {
    kd_measured *model = kd_measured_add(table, r->name, r->kind, r->stage);
    kd_estimate *value = model->value;
    count_samples(value, r->correct, r->samples);
    value[KD_TEST_LOSS].value = r->loss;
    value[KD_TEST_PARAMETERS].value = (double)r->parameters;
    value[KD_TEST_BYTES].value = (double)r->bytes;
    value[KD_TEST_MEMORY].value = (double)r->memory;
    value[KD_TEST_TIME].value = r->ms_per_sample;
    if (strcmp(r->kind, "corrected") == 0) value[KD_TEST_BIAS_SHIFT].value = r->bias_shift;
    if (r->largest_difference >= 0) value[KD_TEST_DIFFERENCE].value = r->largest_difference;
    kd_fidelity_fill(&value[KD_TEST_FIDELITY], &r->fidelity);
    if (r->disagreements >= 0) value[KD_TEST_DISAGREEMENTS].value = (double)r->disagreements;
    for (int label = 0; label < r->classes; label++)
        count_samples(kd_measured_group(table, model, label, 0), r->class_correct[label],
                      r->class_samples[label]);
}

int kd_report_measured(kd_measured_table *out, const kd_report *report) {
    int status =
        kd_measured_create(out, report->count, KD_TEST_METRICS, kd_classify_test, report->classes);
    if (status < 0) return status;
    out->unit = "samples";
    out->speed = kd_classify_test[KD_TEST_TIME].name;
    out->group = "class";
    out->groups = "classes";
    for (int i = 0; i < report->classes; i++) out->group_name[i] = report->class_name[i];
    for (int i = 0; i < report->count; i++) fill_model(out, &report->result[i]);
    return KD_OK;
}

void kd_report_print(const kd_report *report) {
    kd_text text = {0};
    kd_measured_table table;
    if (kd_report_measured(&table, report) == KD_OK) {
        kd_measured_add_text(&text, &table);
        if (kd_compression_is_shown(&table)) kd_compression_add_text(&text, &table);
    }
    if (kd_text_finish(&text, "the report") == KD_OK) fputs(text.text, stdout);
    free(text.text);
    kd_measured_clear(&table);
}

static int add_json(kd_text *out, const kd_report *report) {
    kd_measured_table table;
    int status = kd_report_measured(&table, report);
    kd_text_add(out, "{\n  ");
    kd_json_add_string(out, "name", report->config->name);
    kd_text_add(out, ",\n  ");
    kd_json_add_string(out, "config_hash", report->config->hash.hex);
    kd_text_add(out, ",\n  ");
    if (status == KD_OK) kd_measured_add_json(out, &table);
    if (status == KD_OK)
        status = kd_compression_save(&table, report->config->name, report->run_folder);
    kd_text_add(out, "\n}\n");
    kd_measured_clear(&table);
    return status;
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
    int status = add_json(&json, report);
    if (status < 0) {
        free(json.text);
        return status;
    }
    status = kd_text_save(&json, report->run_folder, "report.json");
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
