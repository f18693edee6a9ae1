/* report.json: {"models": [...]}, for machines. Fractions, bytes, milliseconds. */
#include <math.h>
#include <string.h>

#include "base/json_text.h"
#include "tasks/classify/report_parts.h"

static void add_worst(kd_text *out, const kd_report *report, const kd_result *r) {
    const kd_result *teacher = kd_report_teacher(report);
    int worst = kd_result_worst_class(r, teacher == r ? NULL : teacher);
    if (worst < 0) return;
    kd_text_add(out, ",\n     \"worst_class\": {");
    kd_json_add_string(out, "name", report->class_name[worst]);
    kd_json_add_number(out, "accuracy", kd_result_class_accuracy(r, worst));
    kd_json_add_number(out, "teacher_accuracy",
                       teacher ? kd_result_class_accuracy(teacher, worst) : NAN);
    kd_text_add(out, "}");
}

static void add_model(kd_text *out, const kd_report *report, const kd_result *r) {
    double low, high;
    kd_result_interval(r, &low, &high);
    kd_text_add(out, "    {");
    kd_json_add_string(out, "name", r->name);
    kd_text_add(out, ", ");
    kd_json_add_string(out, "kind", r->kind);
    kd_json_add_number(out, "accuracy", r->samples ? (double)r->correct / (double)r->samples : NAN);
    kd_text_add(out, ", \"interval\": [%.7g, %.7g]", low, high);
    kd_json_add_integer(out, "samples", r->samples);
    kd_json_add_integer(out, "correct", r->correct);
    kd_json_add_number(out, "loss", r->loss);
    kd_json_add_integer(out, "parameters", r->parameters);
    kd_json_add_integer(out, "bytes", r->bytes);
    kd_json_add_integer(out, "memory", r->memory);
    kd_json_add_number(out, "ms_per_sample", r->ms_per_sample);
    if (strcmp(r->kind, "corrected") == 0) kd_json_add_number(out, "bias_shift", r->bias_shift);
    if (r->largest_difference >= 0)
        kd_json_add_number(out, "largest_difference", r->largest_difference);
    if (r->disagreements >= 0) kd_json_add_integer(out, "disagreements", r->disagreements);
    add_worst(out, report, r);
    kd_text_add(out, ",\n     \"classes\": [");
    for (int label = 0; label < r->classes; label++) {
        kd_text_add(out, "%s{", label ? ", " : "");
        kd_json_add_string(out, "name", report->class_name[label]);
        kd_json_add_number(out, "accuracy", kd_result_class_accuracy(r, label));
        kd_json_add_integer(out, "samples", r->class_samples[label]);
        kd_json_add_integer(out, "correct", r->class_correct[label]);
        kd_text_add(out, "}");
    }
    kd_text_add(out, "]}");
}

void kd_report_add_json(kd_text *out, const kd_report *report) {
    kd_text_add(out, "{\n  ");
    kd_json_add_string(out, "name", report->config->name);
    kd_text_add(out, ",\n  ");
    kd_json_add_string(out, "config_hash", report->config->hash.hex);
    kd_text_add(out, ",\n  \"models\": [\n");
    for (int i = 0; i < report->count; i++) {
        add_model(out, report, &report->result[i]);
        kd_text_add(out, "%s\n", i + 1 < report->count ? "," : "");
    }
    kd_text_add(out, "  ]\n}\n");
}
