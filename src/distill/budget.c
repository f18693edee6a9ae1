#include "distill/budget.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"
#include "base/log.h"
#include "base/ranks.h"
#include "report/page.h"

enum { ROWS_SHOWN = 12, ROWS_DRAWN = 40 };

/* --- choosing ----------------------------------------------------------------------------------
 */

static double bits_of(const kd_budget *b, int64_t bytes) {
    return 8 * (double)bytes / (double)b->values;
}

static void tell(const kd_budget *b, const char *name) {
    kd_text table = {0};
    char bytes[32], limit[32];
    kd_format_bytes(bytes, sizeof bytes, (double)b->bytes);
    kd_format_bytes(limit, sizeof limit, (double)b->limit);
    kd_log("%s: %s of weights (%.3f bits per weight) of %s (%.3f); KL to float %.5f predicted, "
           "%.5f measured at once",
           name, bytes, bits_of(b, b->bytes), limit, bits_of(b, b->limit), b->cost, b->together);
    kd_budget_add_table(&table, b, ROWS_SHOWN);
    if (kd_text_finish(&table, "a budget") == KD_OK && kd_rank() == 0) fputs(table.text, stderr);
    free(table.text);
}

int kd_budget_make(kd_budget **out, const kd_budget_spec *spec, const kd_quantizable *model,
                   const kd_answers *answers, const char *name) {
    int status = kd_budget_create(out, model, spec);
    const int64_t limit = status == KD_OK ? kd_budget_limit(*out, spec) : 0;
    if (status == KD_OK) status = kd_budget_choose(*out, limit);
    if (status == KD_OK) status = kd_sensitivity_by_gradient(*out, answers);
    if (status == KD_OK) status = kd_budget_choose(*out, limit);
    if (status == KD_OK && spec->sensitivity == KD_SENSITIVITY_MEASURED) {
        status = kd_sensitivity_by_measuring(*out, answers);
        if (status == KD_OK) status = kd_budget_choose(*out, limit);
    }
    if (status == KD_OK) status = kd_sensitivity_together(*out, answers);
    if (status == KD_OK) tell(*out, name);
    if (status == KD_OK) return KD_OK;
    kd_budget_free(*out);
    *out = NULL;
    return status;
}

kd_quantize_spec kd_budget_quantize(const kd_quantize_spec *spec, const kd_budget *budget) {
    kd_quantize_spec out = *spec;
    out.formats = budget->format;
    out.format = kd_budget_most(budget);
    return out;
}

/* --- as text -----------------------------------------------------------------------------------
 */

void kd_budget_add_metadata(kd_text *out, const kd_budget *b) {
    kd_text_add(out, "{\"limit\": %lld, \"bytes\": %lld, \"predicted_kl\": %.6g, \"matrices\": {",
                (long long)b->limit, (long long)b->bytes, b->cost);
    int groups = 0;
    for (int t = 0; t < b->count; t++) {
        const kd_number_format *format = b->format[b->matrix[t].param];
        int first = 0, n = 0;
        while (b->format[b->matrix[first].param] != format) first++;
        if (first < t) continue;
        for (int k = t; k < b->count; k++) n += b->format[b->matrix[k].param] == format;
        kd_text_add(out, "%s\"%s\": %d", groups++ ? ", " : "", format->name, n);
    }
    kd_text_add(out, "}}");
}

/* KL a megabyte. */
static double sensitivity(const kd_budget_matrix *m) {
    const kd_budget_option *small = &m->option[0], *large = &m->option[m->count - 1];
    const double cost = small->cost - large->cost;
    return large->bytes > small->bytes && isfinite(cost)
               ? 1e6 * cost / (double)(large->bytes - small->bytes)
               : 0;
}

static int by_sensitivity(const void *a, const void *b) {
    const kd_budget_matrix *x = *(const kd_budget_matrix *const *)a;
    const kd_budget_matrix *y = *(const kd_budget_matrix *const *)b;
    const double p = sensitivity(x), q = sensitivity(y);
    if (p != q) return p > q ? -1 : 1;
    return x->param < y->param ? -1 : 1;
}

/* NULL without memory; the caller frees. */
static const kd_budget_matrix **rank(const kd_budget *b) {
    const kd_budget_matrix **list = malloc(((size_t)b->count + 1) * sizeof *list);
    if (!list) return NULL;
    for (int t = 0; t < b->count; t++) list[t] = &b->matrix[t];
    qsort(list, (size_t)b->count, sizeof *list, by_sensitivity);
    return list;
}

void kd_budget_add_table(kd_text *out, const kd_budget *b, int most) {
    const kd_budget_matrix **list = rank(b);
    kd_text rows = {0};
    kd_text_add(&rows, "matrix\tvalues\tKL per MB saved\tformat\tKL\n");
    for (int i = 0; list && i < b->count && i < most; i++) {
        const kd_budget_matrix *m = list[i];
        char count[32];
        kd_format_count(count, sizeof count, m->values);
        kd_text_add(&rows, "%s\t%s\t%.4g\t%s\t%.3g\n", m->name, count, sensitivity(m),
                    m->option[m->chosen].format->name, m->option[m->chosen].cost);
    }
    if (!list || kd_text_add_rows(out, "lrrlr", &rows) < 0) out->failed = true;
    if (b->count > most) kd_text_add(out, "… and %d less sensitive matrices\n", b->count - most);
    free(list);
}

/* --- as a drawing ------------------------------------------------------------------------------
 */

static const char *const COLOURS[] = {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"};
enum { COLOURS_COUNT = (int)(sizeof COLOURS / sizeof *COLOURS) };

/* The formats of a choice, each with its colour; further ones share the last. */
typedef struct {
    int count;
    const kd_number_format *format[COLOURS_COUNT];
    kd_plot_key key[COLOURS_COUNT];
} palette;

static const char *colour_of(palette *p, const kd_number_format *format) {
    int i = 0;
    while (i < p->count && p->format[i] != format) i++;
    if (i == p->count && i < COLOURS_COUNT) {
        p->format[p->count++] = format;
        p->key[i] = (kd_plot_key){format->name, COLOURS[i]};
    }
    return COLOURS[i < COLOURS_COUNT ? i : COLOURS_COUNT - 1];
}

void kd_budget_add_plot(kd_text *out, const kd_budget *b, const char *title, kd_plot_form form) {
    const kd_budget_matrix **list = rank(b);
    const int count = b->count < ROWS_DRAWN ? b->count : ROWS_DRAWN;
    kd_plot_row *row = calloc((size_t)count + 1, sizeof *row);
    char(*words)[160] = calloc((size_t)count + 1, sizeof *words), note[160] = "";
    palette colours = {0};
    for (int i = 0; list && row && words && i < count; i++) {
        const kd_budget_matrix *m = list[i];
        const kd_budget_option *o = &m->option[m->chosen];
        snprintf(words[i], sizeof *words, "%s: %s, %.2f bits a weight, KL %.3g", m->name,
                 o->format->name, 8 * (double)o->bytes / (double)m->values, o->cost);
        row[i] = (kd_plot_row){.name = m->name,
                               .colour = colour_of(&colours, o->format),
                               .words = words[i],
                               .mean = sensitivity(m),
                               .low = NAN,
                               .high = NAN};
    }
    if (b->count > count)
        snprintf(note, sizeof note, "the %d most sensitive of %d matrices", count, b->count);
    const kd_plot_rows plot = {.title = title,
                               .x_name = "KL to float, nats for a megabyte saved",
                               .note = *note ? note : NULL,
                               .x_format = "%.3g",
                               .bars = true,
                               .bounds = {0, INFINITY},
                               .key_count = colours.count,
                               .key = colours.key,
                               .count = count,
                               .row = row};
    if (list && row && words)
        kd_plot_add_rows(out, &plot, form);
    else
        out->failed = true;
    free(list);
    free(row);
    free(words);
}

/* --- files -------------------------------------------------------------------------------------
 */

static void add_matrix(kd_text *out, const kd_budget_matrix *m) {
    kd_text_add(out, "{");
    kd_json_add_string(out, "name", m->name);
    kd_json_add_integer(out, "values", m->values);
    kd_text_add(out, ", \"format\": \"%s\"", m->option[m->chosen].format->name);
    kd_json_add_number(out, "kl_per_megabyte", sensitivity(m));
    kd_json_add_number(out, "kl_by_gradient", m->gradient);
    kd_json_add_number(out, "kl_measured", m->measured);
    kd_text_add(out, ", \"options\": [");
    for (int k = 0; k < m->count; k++) {
        kd_text_add(out, "%s{", k ? ", " : "");
        kd_json_add_string(out, "format", m->option[k].format->name);
        kd_json_add_integer(out, "bytes", m->option[k].bytes);
        kd_json_add_number(out, "kl", m->option[k].cost);
        kd_text_add(out, "}");
    }
    kd_text_add(out, "]}");
}

static int save_json(const kd_budget *b, const char *folder, const char *file) {
    const kd_budget_matrix **list = rank(b);
    kd_text json = {0};
    kd_text_add(&json, "{\"limit\": %lld", (long long)b->limit);
    kd_json_add_integer(&json, "bytes", b->bytes);
    kd_json_add_integer(&json, "rest", b->rest);
    kd_json_add_number(&json, "bits_per_weight", bits_of(b, b->bytes));
    kd_json_add_number(&json, "predicted_kl", b->cost);
    kd_json_add_number(&json, "measured_kl", b->together);
    kd_text_add(&json, ",\n\"matrices\": [\n");
    for (int i = 0; list && i < b->count; i++) {
        if (i > 0) kd_text_add(&json, ",\n");
        add_matrix(&json, list[i]);
    }
    kd_text_add(&json, "\n]}\n");
    json.failed = json.failed || !list;
    free(list);
    return kd_text_save(&json, folder, file);
}

int kd_budget_save(const kd_budget *b, const char *folder, const char *name) {
    char file[64], title[64];
    kd_text drawing = {0};
    snprintf(file, sizeof file, "budget.%s.json", name);
    int status = save_json(b, folder, file);
    snprintf(file, sizeof file, "budget.%s.svg", name);
    snprintf(title, sizeof title, "%s: which matrix has which format", name);
    kd_budget_add_plot(&drawing, b, title, KD_PLOT_AS_FILE);
    const int saved = kd_text_save(&drawing, folder, file);
    return status < 0 ? status : saved;
}
