/* What was measured, for machines: facts by the names of their metrics. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json_text.h"
#include "report/measured.h"

static void add_value(kd_text *out, const kd_metric *metric, double value) {
    const bool whole = metric->unit == KD_UNIT_COUNT || metric->unit == KD_UNIT_BYTES;
    if (whole && isfinite(value))
        kd_json_add_integer(out, metric->name, (int64_t)llround(value));
    else
        kd_json_add_number(out, metric->name, value);
}

/* An end that is not finite is null. */
static void add_interval(kd_text *out, const char *name, const kd_estimate *value) {
    kd_text_add(out, ", \"%s_interval\": ", name);
    if (isnan(value->value) || isnan(value->low))
        kd_text_add(out, "null");
    else if (isfinite(value->high))
        kd_text_add(out, "[%.7g, %.7g]", value->low, value->high);
    else
        kd_text_add(out, "[%.7g, null]", value->low);
}

static void add_values(kd_text *out, const kd_measured_table *table, const kd_estimate *value,
                       bool of_group) {
    for (int m = 0; m < table->metric_count; m++) {
        const kd_metric *metric = &table->metric[m];
        const bool measured = !isnan(value[m].value);
        if (!measured && (of_group ? m > 0 : !metric->title)) continue;
        add_value(out, metric, value[m].value);
        if (metric->has_interval) add_interval(out, metric->name, &value[m]);
    }
}

static void add_worst(kd_text *out, const kd_measured_table *table, const kd_measured *model) {
    const kd_measured *teacher = kd_measured_teacher(table);
    const int worst = kd_measured_worst(table, model, teacher);
    char key[KD_METRIC_NAME_MAX + 16];
    if (worst < 0) return;
    kd_text_add(out, ",\n     \"worst_%s\": {", table->group);
    kd_json_add_string(out, "name", table->group_name[worst]);
    kd_json_add_number(out, table->metric[0].name,
                       kd_measured_group(table, model, worst, 0)->value);
    snprintf(key, sizeof key, "teacher_%s", table->metric[0].name);
    kd_json_add_number(out, key,
                       teacher ? kd_measured_group(table, teacher, worst, 0)->value : NAN);
    kd_text_add(out, "}");
}

static void add_groups(kd_text *out, const kd_measured_table *table, const kd_measured *model) {
    kd_text_add(out, ",\n     \"%s\": [", table->groups);
    for (int g = 0; g < table->group_count; g++) {
        kd_text_add(out, "%s{", g ? ", " : "");
        kd_json_add_string(out, "name", table->group_name[g]);
        add_values(out, table, kd_measured_group(table, model, g, 0), true);
        kd_text_add(out, "}");
    }
    kd_text_add(out, "]");
}

static void add_model(kd_text *out, const kd_measured_table *table, const kd_measured *model) {
    kd_text_add(out, "    {");
    kd_json_add_string(out, "name", model->name);
    kd_text_add(out, ", ");
    kd_json_add_string(out, "kind", model->kind);
    kd_text_add(out, ", ");
    kd_json_add_string(out, "stage", model->stage);
    add_values(out, table, model->value, false);
    if (table->group_count > 0) {
        add_worst(out, table, model);
        add_groups(out, table, model);
    }
    kd_text_add(out, "}");
}

static void add_metrics(kd_text *out, const kd_measured_table *table) {
    static const char *const unit[] = {[KD_UNIT_NUMBER] = "number",
                                       [KD_UNIT_SHARE] = "share",
                                       [KD_UNIT_COUNT] = "count",
                                       [KD_UNIT_BYTES] = "bytes",
                                       [KD_UNIT_TIME] = "time"};
    kd_text_add(out, "\"metrics\": [\n");
    for (int m = 0; m < table->metric_count; m++) {
        const kd_metric *metric = &table->metric[m];
        kd_text_add(out, "    {");
        kd_json_add_string(out, "name", metric->name);
        kd_text_add(out, ", ");
        if (metric->title) {
            kd_json_add_string(out, "title", metric->title);
            kd_text_add(out, ", ");
        }
        kd_json_add_string(out, "unit", unit[metric->unit]);
        kd_text_add(out, ", \"higher_is_better\": %s}%s\n",
                    metric->higher_is_better ? "true" : "false",
                    m + 1 < table->metric_count ? "," : "");
    }
    kd_text_add(out, "  ]");
}

void kd_measured_add_json(kd_text *out, const kd_measured_table *table) {
    add_metrics(out, table);
    kd_text_add(out, ",\n  \"models\": [\n");
    for (int i = 0; i < table->count; i++) {
        add_model(out, table, &table->model[i]);
        kd_text_add(out, "%s\n", i + 1 < table->count ? "," : "");
    }
    kd_text_add(out, "  ]");
}
