#include "report/measured.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int kd_measured_create(kd_measured_table *out, int models, int metric_count,
                       const kd_metric *metric, int group_count) {
    const size_t rows = (size_t)models * (size_t)(1 + group_count);
    const size_t bytes = (rows * (size_t)metric_count + 1) * sizeof *out->memory;
    KD_CONTRACT(metric_count >= 1 && metric_count <= KD_METRICS_MAX, "%d metrics", metric_count);
    *out = (kd_measured_table){
        .metric_count = metric_count, .metric = metric, .group_count = group_count};
    out->model = calloc((size_t)models + 1, sizeof *out->model);
    out->memory = malloc(bytes);
    out->group_name = calloc((size_t)group_count + 1, sizeof *out->group_name);
    if (!out->model || !out->memory || !out->group_name)
        return kd_fail_memory(bytes, "what was measured");
    const size_t each = (size_t)metric_count * (size_t)(1 + group_count);
    for (size_t i = 0; i < rows * (size_t)metric_count; i++)
        out->memory[i] = kd_estimate_plain(NAN, 0);
    for (int m = 0; m < models; m++) {
        out->model[m].value = out->memory + (size_t)m * each;
        out->model[m].group = group_count > 0 ? out->model[m].value + metric_count : NULL;
    }
    return KD_OK;
}

void kd_measured_clear(kd_measured_table *table) {
    free(table->model);
    free(table->memory);
    free(table->group_name);
    *table = (kd_measured_table){0};
}

kd_measured *kd_measured_add(kd_measured_table *table, const char *name, const char *kind,
                             const char *stage) {
    kd_measured *model = &table->model[table->count++];
    KD_CONTRACT(model->value, "more models than there is room for");
    snprintf(model->name, sizeof model->name, "%s", name);
    snprintf(model->kind, sizeof model->kind, "%s", kind);
    snprintf(model->stage, sizeof model->stage, "%s", stage);
    return model;
}

const kd_measured *kd_measured_of(const kd_measured_table *table, const char *kind) {
    for (int i = table->count - 1; i >= 0; i--)
        if (strcmp(table->model[i].kind, kind) == 0) return &table->model[i];
    return NULL;
}

const kd_measured *kd_measured_teacher(const kd_measured_table *table) {
    return kd_measured_of(table, "teacher");
}

int kd_measured_worst(const kd_measured_table *table, const kd_measured *model,
                      const kd_measured *teacher) {
    const double sign = table->metric[0].higher_is_better ? 1 : -1;
    int worst = -1;
    double most = -INFINITY;
    for (int g = 0; g < table->group_count; g++) {
        double lost = -sign * kd_measured_group(table, model, g, 0)->value;
        if (teacher && teacher != model)
            lost += sign * kd_measured_group(table, teacher, g, 0)->value;
        if (isnan(lost) || lost <= most) continue;
        most = lost;
        worst = g;
    }
    return worst;
}
