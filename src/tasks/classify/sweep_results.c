/* A sweep's results as rows, as text and as JSON, and read back from JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"
#include "tasks/classify/sweep_parts.h"

/* --- rows ----------------------------------------------------------------------------------- */

/* The model of this kind and, unless it is NULL, name. */
static const kd_sweep_model *model_of(const kd_sweep_run *run, const char *kind, const char *name) {
    for (int i = 0; i < run->model_count && run->done; i++)
        if (strcmp(run->model[i].kind, kind) == 0 &&
            (!name || strcmp(run->model[i].name, name) == 0))
            return &run->model[i];
    return NULL;
}

static double accuracy_of(const kd_sweep_model *model) {
    return model ? 100 * (double)model->correct / (double)model->samples : NAN;
}

/* "distilled, int8 (QAT)": what of a model's name is not clear from the variant's. */
static void label_row(kd_sweep_row *row, const kd_sweep_variant *variant, const char *name) {
    if (strncmp(name, "student ", 8) == 0) name += 8;
    if (strcmp(name, "float") == 0)
        snprintf(row->label, sizeof row->label, "%s", variant->label);
    else
        snprintf(row->label, sizeof row->label, "%s, %s", variant->label, name);
}

static void fill_row(kd_sweep_row *row, const kd_sweep_results *results, int variant,
                     const kd_sweep_model *like) {
    *row = (kd_sweep_row){.variant = variant};
    memcpy(row->kind, like->kind, sizeof row->kind);
    label_row(row, &results->sweep->variant[variant], like->name);
    for (int s = 0; s < results->sweep->seed_count; s++) {
        const kd_sweep_model *m =
            model_of(kd_sweep_run_at(results, variant, s), like->kind, like->name);
        const kd_sweep_model *first = model_of(kd_sweep_run_at(results, 0, s), "student", NULL);
        row->seeds += m != NULL;
        row->accuracy[s] = accuracy_of(m);
        row->errors[s] = m ? (double)(m->samples - m->correct) : NAN;
        row->validation[s] = m ? 100 * m->validation : NAN;
        row->against_first[s] = row->accuracy[s] - accuracy_of(first);
    }
}

int kd_sweep_rows(kd_sweep_row **out, int *count, const kd_sweep_results *results) {
    const kd_sweep *sweep = results->sweep;
    size_t most = (size_t)sweep->variant_count * KD_SWEEP_MODELS_MAX;
    kd_sweep_row *row = malloc(most * sizeof *row);
    *out = row;
    *count = 0;
    if (!row) return kd_fail_memory(most * sizeof *row, "a sweep's rows");
    for (int v = 0; v < sweep->variant_count; v++) {
        const kd_sweep_run *run = NULL;
        for (int s = 0; s < sweep->seed_count; s++)
            if (!run || !run->done) run = kd_sweep_run_at(results, v, s);
        for (int m = 0; run->done && m < run->model_count; m++)
            fill_row(&row[(*count)++], results, v, &run->model[m]);
    }
    return KD_OK;
}

/* --- text ----------------------------------------------------------------------------------- */

/* "\t+0.21 ± 0.08"; nothing behind the tab for the first variant itself. */
static void add_difference(kd_text *rows, const kd_sweep_row *row, int seeds) {
    kd_statistics d = kd_statistics_of(seeds, row->against_first);
    kd_text_add(rows, "\t");
    if (d.n == 0 || (row->variant == 0 && strcmp(row->kind, "student") == 0)) return;
    kd_text_add(rows, "%s%.2f", d.mean < 0 ? "−" : "+", fabs(d.mean));
    if (d.n > 1) kd_text_add(rows, " ± %.2f", d.reach);
}

static void add_text_row(kd_text *rows, const kd_sweep_row *row, int seeds) {
    kd_statistics a = kd_statistics_within(seeds, row->accuracy, 0, 100);
    kd_statistics e = kd_statistics_of(seeds, row->errors);
    kd_statistics v = kd_statistics_of(seeds, row->validation);
    kd_text_add_plain(rows, row->label, strlen(row->label));
    kd_text_add(rows, "\t%d\t%.2f %%\t", row->seeds, a.mean);
    if (a.n > 1) kd_text_add(rows, "%.2f", a.deviation);
    kd_text_add(rows, "\t");
    if (a.n > 1) kd_text_add(rows, "%.2f … %.2f", a.low, a.high);
    kd_text_add(rows, "\t%.1f\t", e.mean);
    if (e.n > 1) kd_text_add(rows, "%.1f", e.deviation);
    kd_text_add(rows, "\t");
    if (v.n > 0) kd_text_add(rows, "%.2f %%", v.mean);
    add_difference(rows, row, seeds);
    kd_text_add(rows, "\n");
}

void kd_sweep_add_text(kd_text *out, const kd_sweep_results *results) {
    kd_sweep_row *row;
    int count;
    kd_text rows = {0};
    if (kd_sweep_rows(&row, &count, results) < 0) {
        out->failed = true;
        return;
    }
    kd_text_add(&rows, "variant\tseeds\taccuracy\tsd\t95 %% interval\terrors\tsd\tvalidation\t"
                       "against the first\n");
    for (int i = 0; i < count; i++) add_text_row(&rows, &row[i], results->sweep->seed_count);
    free(row);
    if (kd_text_finish(&rows, "a table") == KD_OK)
        kd_text_add_table(out, "lrrrrrrrr", rows.text);
    else
        out->failed = true;
    free(rows.text);
    if (results->sweep->seed_count > 1)
        kd_text_add(out, "intervals: Student's t over the seeds; against the first: accuracy in "
                         "points, seed by seed\n");
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

static void add_rows(kd_text *out, const kd_sweep_results *results) {
    kd_sweep_row *row;
    int count, seeds = results->sweep->seed_count;
    if (kd_sweep_rows(&row, &count, results) < 0) {
        out->failed = true;
        return;
    }
    for (int i = 0; i < count; i++) {
        const kd_sweep_variant *variant = &results->sweep->variant[row[i].variant];
        kd_text_add(out, "%s\n    {\"label\": ", i ? "," : "");
        kd_json_add_quoted(out, row[i].label);
        kd_text_add(out, ", \"variant\": ");
        kd_json_add_quoted(out, variant->label);
        kd_text_add(out, ", \"kind\": ");
        kd_json_add_quoted(out, row[i].kind);
        add_statistics(out, "accuracy", kd_statistics_within(seeds, row[i].accuracy, 0, 100));
        add_statistics(out, "errors", kd_statistics_within(seeds, row[i].errors, 0, INFINITY));
        add_statistics(out, "validation", kd_statistics_within(seeds, row[i].validation, 0, 100));
        add_statistics(out, "against_first", kd_statistics_of(seeds, row[i].against_first));
        kd_text_add(out, "}");
    }
    free(row);
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
        const kd_sweep_model *m = &run->model[i];
        kd_text_add(out, "%s{\"name\": ", i ? ",\n       " : "\n       ");
        kd_json_add_quoted(out, m->name);
        kd_text_add(out, ", \"kind\": ");
        kd_json_add_quoted(out, m->kind);
        kd_text_add(out, ", \"samples\": %lld, \"correct\": %lld", (long long)m->samples,
                    (long long)m->correct);
        kd_json_add_number(out, "loss", m->loss);
        kd_json_add_number(out, "validation", m->validation);
        kd_text_add(out, ", \"parameters\": %lld, \"bytes\": %lld}", (long long)m->parameters,
                    (long long)m->bytes);
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

void kd_sweep_take_run(kd_sweep_run *run, const cJSON *entry) {
    const cJSON *seconds = kd_json_get(entry, "seconds"), *models = kd_json_get(entry, "models");
    run->seconds = cJSON_IsNumber(seconds) ? seconds->valuedouble : 0;
    run->model_count = 0;
    for (const cJSON *m = models ? models->child : NULL; m; m = m->next)
        if (run->model_count < KD_SWEEP_MODELS_MAX &&
            kd_sweep_model_read(&run->model[run->model_count], m))
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
