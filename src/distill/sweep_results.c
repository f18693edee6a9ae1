/* A sweep's results as rows, as text and as JSON, and read back from JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"
#include "distill/sweep_parts.h"

/* --- rows ----------------------------------------------------------------------------------- */

bool kd_sweep_shows(const kd_task *task, int m) {
    return m == 0 || task->test[m].in_sweep;
}

const char *kd_sweep_title(const kd_metric *metric) {
    return metric->title ? metric->title : metric->name;
}

kd_statistics kd_sweep_statistics(const kd_metric *metric, int seeds, const double *value) {
    const double scale = kd_metric_scale(metric);
    if (metric->least >= metric->most) return kd_statistics_of(seeds, value);
    return kd_statistics_within(seeds, value, scale * metric->least, scale * metric->most);
}

/* The model of this kind and, unless it is NULL, name. */
static const kd_sweep_model *model_of(const kd_sweep_run *run, const char *kind, const char *name) {
    for (int i = 0; i < run->model_count && run->done; i++)
        if (strcmp(run->model[i].kind, kind) == 0 &&
            (!name || strcmp(run->model[i].name, name) == 0))
            return &run->model[i];
    return NULL;
}

static double value_of(const kd_task *task, const kd_sweep_model *model, int m) {
    return model ? kd_metric_scale(&task->test[m]) * model->value[m] : NAN;
}

/* "distilled, int8 (QAT)": what of a model's name is not clear from the variant's. */
static void label_row(kd_sweep_row *row, const kd_sweep_variant *variant, const char *name) {
    if (strncmp(name, "student ", 8) == 0) name += 8;
    if (strcmp(name, "float") == 0 || strcmp(name, "student") == 0)
        snprintf(row->label, sizeof row->label, "%s", variant->label);
    else
        snprintf(row->label, sizeof row->label, "%s, %s", variant->label, name);
}

static void fill_row(kd_sweep_row *row, const kd_sweep_results *results, int variant,
                     const kd_sweep_model *like) {
    const kd_task *task = results->sweep->task;
    *row = (kd_sweep_row){.variant = variant};
    memcpy(row->kind, like->kind, sizeof row->kind);
    label_row(row, &results->sweep->variant[variant], like->name);
    for (int s = 0; s < results->sweep->seed_count; s++) {
        const kd_sweep_model *model =
            model_of(kd_sweep_run_at(results, variant, s), like->kind, like->name);
        const kd_sweep_model *first = model_of(kd_sweep_run_at(results, 0, s), "student", NULL);
        row->seeds += model != NULL;
        for (int m = 0; m < task->test_count; m++) row->value[m][s] = value_of(task, model, m);
        row->validation[s] = model ? kd_metric_scale(task->validation) * model->validation : NAN;
        row->against_first[s] = row->value[0][s] - value_of(task, first, 0);
    }
}

/* What no variant changes (the teacher, a student before it learnt) has the figures of an earlier
 * row, and is not told again. */
static bool is_told(const kd_sweep_row *rows, int count, const kd_sweep_results *results) {
    const kd_sweep_row *last = &rows[count];
    const size_t seeds = (size_t)results->sweep->seed_count;
    if (strcmp(last->kind, "teacher") != 0 && strcmp(last->kind, "initial") != 0) return false;
    for (int i = 0; i < count; i++)
        if (strcmp(rows[i].kind, last->kind) == 0 &&
            memcmp(rows[i].value[0], last->value[0], seeds * sizeof *last->value[0]) == 0)
            return true;
    return false;
}

int kd_sweep_rows(kd_sweep_row **out, int *count, const kd_sweep_results *results) {
    const kd_sweep *sweep = results->sweep;
    size_t most = (size_t)sweep->variant_count * KD_SWEEP_MODELS_MAX + 1;
    kd_sweep_row *row = malloc(most * sizeof *row);
    *out = row;
    *count = 0;
    if (!row) return kd_fail_memory(most * sizeof *row, "a sweep's rows");
    for (int v = 0; v < sweep->variant_count; v++) {
        const kd_sweep_run *run = NULL;
        for (int s = 0; s < sweep->seed_count; s++)
            if (!run || !run->done) run = kd_sweep_run_at(results, v, s);
        for (int m = 0; run->done && m < run->model_count; m++) {
            fill_row(&row[*count], results, v, &run->model[m]);
            *count += !is_told(row, *count, results);
        }
    }
    return KD_OK;
}

/* --- text ----------------------------------------------------------------------------------- */

/* The mean and the deviation; of the first metric the interval, too. */
static void add_text_cells(kd_text *rows, const kd_metric *metric, const kd_statistics *s,
                           bool interval) {
    const int digits = kd_metric_digits(metric);
    if (s->n > 0)
        kd_text_add(rows, "\t%.*f%s\t", digits, s->mean, metric->unit == KD_UNIT_SHARE ? " %" : "");
    else
        kd_text_add(rows, "\t–\t");
    if (s->n > 1) kd_text_add(rows, "%.*f", digits, s->deviation);
    if (!interval) return;
    kd_text_add(rows, "\t");
    if (s->n > 1) kd_text_add(rows, "%.*f … %.*f", digits, s->low, digits, s->high);
}

/* "\t+0.21 ± 0.08"; nothing behind the tab for the first variant itself. */
static void add_difference(kd_text *rows, const kd_sweep_row *row, const kd_metric *metric,
                           int seeds) {
    const int digits = kd_metric_digits(metric);
    kd_statistics d = kd_statistics_of(seeds, row->against_first);
    kd_text_add(rows, "\t");
    if (d.n == 0 || (row->variant == 0 && strcmp(row->kind, "student") == 0)) return;
    kd_text_add(rows, "%s%.*f", d.mean < 0 ? "−" : "+", digits, fabs(d.mean));
    if (d.n > 1) kd_text_add(rows, " ± %.*f", digits, d.reach);
}

static void add_text_row(kd_text *rows, const kd_sweep_row *row, const kd_sweep *sweep) {
    const kd_task *task = sweep->task;
    kd_text_add_plain(rows, row->label, strlen(row->label));
    kd_text_add(rows, "\t%d", row->seeds);
    for (int m = 0; m < task->test_count; m++) {
        if (!kd_sweep_shows(task, m)) continue;
        const kd_statistics s =
            kd_sweep_statistics(&task->test[m], sweep->seed_count, row->value[m]);
        add_text_cells(rows, &task->test[m], &s, m == 0);
    }
    const kd_statistics v = kd_statistics_of(sweep->seed_count, row->validation);
    kd_text_add(rows, "\t");
    if (v.n > 0)
        kd_text_add(rows, "%.*f%s", kd_metric_digits(task->validation), v.mean,
                    task->validation->unit == KD_UNIT_SHARE ? " %" : "");
    add_difference(rows, row, &task->test[0], sweep->seed_count);
    kd_text_add(rows, "\n");
}

void kd_sweep_add_text(kd_text *out, const kd_sweep_results *results) {
    const kd_task *task = results->sweep->task;
    char align[2 * KD_METRICS_MAX + 8] = "lr";
    kd_sweep_row *row;
    int count;
    kd_text rows = {0};
    if (kd_sweep_rows(&row, &count, results) < 0) {
        out->failed = true;
        return;
    }
    kd_text_add(&rows, "variant\tseeds");
    for (int m = 0; m < task->test_count; m++) {
        if (!kd_sweep_shows(task, m)) continue;
        kd_text_add(&rows, "\t%s\tsd%s", kd_sweep_title(&task->test[m]),
                    m == 0 ? "\t95 % interval" : "");
        strcat(align, m == 0 ? "rrr" : "rr");
    }
    strcat(align, "rr");
    kd_text_add(&rows, "\tvalidation\tagainst the first\n");
    for (int i = 0; i < count; i++) add_text_row(&rows, &row[i], results->sweep);
    free(row);
    if (kd_text_finish(&rows, "a table") == KD_OK)
        kd_text_add_table(out, align, rows.text);
    else
        out->failed = true;
    free(rows.text);
    if (results->sweep->seed_count > 1)
        kd_text_add(out,
                    "intervals: Student's t over the seeds; against the first: %s%s, seed by "
                    "seed\n",
                    kd_sweep_title(&task->test[0]),
                    task->test[0].unit == KD_UNIT_SHARE ? " in points" : "");
}

/* --- JSON ----------------------------------------------------------------------------------- */

static void add_statistics(kd_text *out, const char *name, kd_statistics s) {
    kd_text_add(out, ",\n     \"%s\": {\"n\": %d", name, s.n);
    kd_json_add_number(out, "mean", s.mean);
    kd_json_add_number(out, "deviation", s.deviation);
    kd_json_add_number(out, "low", s.low);
    kd_json_add_number(out, "high", s.high);
    kd_text_add(out, "}");
}

static void add_row(kd_text *out, const kd_sweep *sweep, const kd_sweep_row *row) {
    const kd_task *task = sweep->task;
    const int seeds = sweep->seed_count;
    kd_text_add(out, "\n    {\"label\": ");
    kd_json_add_quoted(out, row->label);
    kd_text_add(out, ", \"variant\": ");
    kd_json_add_quoted(out, sweep->variant[row->variant].label);
    kd_text_add(out, ", \"kind\": ");
    kd_json_add_quoted(out, row->kind);
    for (int m = 0; m < task->test_count; m++)
        if (kd_sweep_shows(task, m))
            add_statistics(out, task->test[m].name,
                           kd_sweep_statistics(&task->test[m], seeds, row->value[m]));
    add_statistics(out, "validation",
                   kd_sweep_statistics(task->validation, seeds, row->validation));
    add_statistics(out, "against_first", kd_statistics_of(seeds, row->against_first));
    kd_text_add(out, "}");
}

static void add_rows(kd_text *out, const kd_sweep_results *results) {
    kd_sweep_row *row;
    int count;
    if (kd_sweep_rows(&row, &count, results) < 0) {
        out->failed = true;
        return;
    }
    for (int i = 0; i < count; i++) {
        kd_text_add(out, "%s", i ? "," : "");
        add_row(out, results->sweep, &row[i]);
    }
    free(row);
}

static void add_model(kd_text *out, const kd_task *task, const kd_sweep_model *model) {
    kd_text_add(out, "{");
    kd_json_add_string(out, "name", model->name);
    kd_text_add(out, ", ");
    kd_json_add_string(out, "kind", model->kind);
    kd_text_add(out, ", ");
    kd_json_add_string(out, "stage", model->stage);
    for (int m = 0; m < task->test_count; m++)
        if (m == 0 || !isnan(model->value[m]))
            kd_json_add_number(out, task->test[m].name, model->value[m]);
    kd_json_add_number(out, "validation", model->validation);
    kd_text_add(out, "}");
}

static void add_run(kd_text *out, const kd_sweep *sweep, int variant, int seed,
                    const kd_sweep_run *run) {
    kd_text_add(out, "    {\"variant\": ");
    kd_json_add_quoted(out, sweep->variant[variant].label);
    kd_text_add(out, ", \"seed\": %lld, \"folder\": \"%s-s%lld\", \"key\": \"%s\"",
                (long long)sweep->seed[seed], sweep->variant[variant].folder,
                (long long)sweep->seed[seed], run->key.hex);
    kd_text_add(out, ",\n     \"origin\": %s", run->origin ? run->origin : "{}");
    kd_json_add_number(out, "seconds", run->seconds);
    kd_text_add(out, ",\n     \"models\": [");
    for (int i = 0; i < run->model_count; i++) {
        kd_text_add(out, "%s", i ? ",\n       " : "\n       ");
        add_model(out, sweep->task, &run->model[i]);
    }
    kd_text_add(out, "]}");
}

void kd_sweep_add_json(kd_text *out, const kd_sweep_results *results) {
    const kd_sweep *sweep = results->sweep;
    kd_text_add(out, "{\n  \"name\": ");
    kd_json_add_quoted(out, sweep->name);
    kd_text_add(out, ",\n  \"base\": ");
    kd_json_add_quoted(out, sweep->base);
    kd_text_add(out, ",\n  \"rows\": [");
    add_rows(out, results);
    kd_text_add(out, "],\n  \"runs\": [\n");
    const char *between = "";
    for (int v = 0; v < sweep->variant_count; v++)
        for (int s = 0; s < sweep->seed_count; s++) {
            const kd_sweep_run *run = kd_sweep_run_at(results, v, s);
            if (!run->done) continue;
            kd_text_add(out, "%s", between);
            add_run(out, sweep, v, s, run);
            between = ",\n";
        }
    kd_text_add(out, "\n  ]\n}\n");
}

/* --- back from JSON ------------------------------------------------------------------------- */

void kd_sweep_take_run(kd_sweep_run *run, const kd_task *task, const cJSON *entry) {
    const cJSON *seconds = kd_json_get(entry, "seconds"), *models = kd_json_get(entry, "models");
    run->seconds = cJSON_IsNumber(seconds) ? seconds->valuedouble : 0;
    run->model_count = 0;
    for (const cJSON *m = models ? models->child : NULL; m; m = m->next)
        if (run->model_count < KD_SWEEP_MODELS_MAX &&
            kd_sweep_model_read(&run->model[run->model_count], task, m))
            run->model_count++;
    run->done = run->model_count > 0;
}

const cJSON *kd_sweep_find_run(const cJSON *list, const kd_hash *key) {
    for (const cJSON *entry = list ? list->child : NULL; entry; entry = entry->next) {
        const cJSON *found = kd_json_get(entry, "key");
        if (cJSON_IsString(found) && strcmp(found->valuestring, key->hex) == 0) return entry;
    }
    return NULL;
}

/* --- files ---------------------------------------------------------------------------------- */

int kd_sweep_results_write(const kd_sweep_results *results, const char *folder) {
    static const char *const plots[] = {"sweep-variants.svg", "sweep-validation.svg",
                                        "sweep-test.svg"};
    kd_text json = {0}, html = {0};
    kd_sweep_add_json(&json, results);
    int status = kd_text_save(&json, folder, "sweep.json");
    if (status < 0) return status;
    kd_sweep_add_html(&html, results);
    status = kd_text_save(&html, folder, "sweep.html");
    for (int i = 0; i < 3 && status == KD_OK; i++) {
        kd_text plot = {0};
        kd_sweep_add_plot(&plot, results, (kd_sweep_plot)i, KD_PLOT_AS_FILE);
        status = kd_text_save(&plot, folder, plots[i]);
    }
    return status;
}
