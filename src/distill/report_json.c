/* report.json: {"models": [...]}, for machines. Fractions, bytes, milliseconds. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "distill/report_parts.h"

static void add_string(kd_text *out, const char *key, const char *value) {
    char quoted[6 * 128];
    kd_json_quote(quoted, sizeof quoted, value);
    kd_text_add(out, "\"%s\": %s", key, quoted);
}

static void add_number(kd_text *out, const char *key, double value) {
    if (isfinite(value))
        kd_text_add(out, ", \"%s\": %.7g", key, value);
    else
        kd_text_add(out, ", \"%s\": null", key);
}

static void add_integer(kd_text *out, const char *key, int64_t value) {
    kd_text_add(out, ", \"%s\": %lld", key, (long long)value);
}

static void add_worst(kd_text *out, const kd_report *report, const kd_result *r) {
    const kd_result *teacher = kd_report_teacher(report);
    int worst = kd_result_worst_class(r, teacher == r ? NULL : teacher);
    if (worst < 0) return;
    kd_text_add(out, ",\n     \"worst_class\": {");
    add_string(out, "name", report->class_name[worst]);
    add_number(out, "accuracy", kd_result_class_accuracy(r, worst));
    add_number(out, "teacher_accuracy", teacher ? kd_result_class_accuracy(teacher, worst) : NAN);
    kd_text_add(out, "}");
}

static void add_model(kd_text *out, const kd_report *report, const kd_result *r) {
    double low, high;
    kd_result_interval(r, &low, &high);
    kd_text_add(out, "    {");
    add_string(out, "name", r->name);
    kd_text_add(out, ", ");
    add_string(out, "kind", r->kind);
    add_number(out, "accuracy", r->samples ? (double)r->correct / (double)r->samples : NAN);
    kd_text_add(out, ", \"interval\": [%.7g, %.7g]", low, high);
    add_integer(out, "samples", r->samples);
    add_integer(out, "correct", r->correct);
    add_number(out, "loss", r->loss);
    add_integer(out, "parameters", r->parameters);
    add_integer(out, "bytes", r->bytes);
    add_integer(out, "memory", r->memory);
    add_number(out, "ms_per_sample", r->ms_per_sample);
    if (strcmp(r->kind, "corrected") == 0) add_number(out, "bias_shift", r->bias_shift);
    if (r->largest_difference >= 0) add_number(out, "largest_difference", r->largest_difference);
    if (r->disagreements >= 0) add_integer(out, "disagreements", r->disagreements);
    add_worst(out, report, r);
    kd_text_add(out, ",\n     \"classes\": [");
    for (int label = 0; label < r->classes; label++) {
        kd_text_add(out, "%s{", label ? ", " : "");
        add_string(out, "name", report->class_name[label]);
        add_number(out, "accuracy", kd_result_class_accuracy(r, label));
        add_integer(out, "samples", r->class_samples[label]);
        add_integer(out, "correct", r->class_correct[label]);
        kd_text_add(out, "}");
    }
    kd_text_add(out, "]}");
}

void kd_report_add_json(kd_text *out, const kd_report *report) {
    kd_text_add(out, "{\n  ");
    add_string(out, "name", report->config->name);
    kd_text_add(out, ",\n  ");
    add_string(out, "config_hash", report->config->hash.hex);
    kd_text_add(out, ",\n  \"models\": [\n");
    for (int i = 0; i < report->count; i++) {
        add_model(out, report, &report->result[i]);
        kd_text_add(out, "%s\n", i + 1 < report->count ? "," : "");
    }
    kd_text_add(out, "  ]\n}\n");
}
