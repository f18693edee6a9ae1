#include "quant/budget.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { PADDING = 32 }; /* of tensors in a GGUF */

static int64_t padded(uint64_t bytes) {
    return (int64_t)(bytes + PADDING - 1) / PADDING * PADDING;
}

/* Rows that are one block each are two tensors: scales, and one byte a number. */
static int64_t bytes_in_file(const kd_number_format *format, const kd_param *param) {
    const kd_rows_of rows = kd_param_rows(param);
    if (format->block == 0)
        return padded((uint64_t)rows.count * sizeof(float)) + padded((uint64_t)param->tensor.size);
    return padded((uint64_t)rows.count * kd_number_format_bytes(format, rows.length));
}

/* --- options -----------------------------------------------------------------------------------
 */

/* Formats with a scale of the tensor are left to those who ask for them all over. */
static bool is_offered(const kd_number_format *format, const kd_quantizable *model) {
    if (!format->encode || format->largest > 0 || format == &kd_format_f32) return false;
    return model->net ? kd_number_format_in_gguf(format) : format->ggml_type != KD_NO_GGML_TYPE;
}

static void offer(kd_budget_matrix *m, const kd_number_format *format, const kd_param *param) {
    const kd_number_format *fit = kd_number_format_fit(format, kd_param_rows(param).length);
    for (int i = 0; i < m->count; i++)
        if (m->option[i].format == fit) return;
    KD_CONTRACT(m->count < KD_BUDGET_OPTIONS_MAX, "%d formats", m->count);
    m->option[m->count++] = (kd_budget_option){fit, bytes_in_file(fit, param), NAN};
}

static int by_bytes(const void *a, const void *b) {
    const kd_budget_option *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->format->name, y->format->name);
}

static void list_options(kd_budget_matrix *m, const kd_quantizable *model,
                         const kd_budget_spec *spec) {
    const kd_param *param = model->params->list[m->param];
    const kd_number_format *format;
    for (int i = 0; i < spec->format_count; i++)
        offer(m, kd_number_format_named(spec->format[i]), param);
    for (int i = 0; spec->format_count == 0 && (format = kd_number_format_at(i)); i++)
        if (is_offered(format, model)) offer(m, format, param);
    qsort(m->option, (size_t)m->count, sizeof *m->option, by_bytes);
}

static void list_matrices(kd_budget *b, const kd_quantizable *model, const kd_budget_spec *spec) {
    for (int i = 0; i < b->params; i++) {
        const kd_param *param = model->params->list[i];
        const kd_number_format *format = model->rule(param, &kd_format_q8_0);
        b->format[i] = format;
        if (!format) continue;
        b->values += param->tensor.size;
        if (format != &kd_format_q8_0) {
            b->rest += bytes_in_file(format, param);
            continue;
        }
        kd_budget_matrix *m = &b->matrix[b->count++];
        *m = (kd_budget_matrix){
            .param = i, .values = param->tensor.size, .gradient = NAN, .measured = NAN};
        memcpy(m->name, param->name, sizeof m->name);
        list_options(m, model, spec);
    }
}

int kd_budget_create(kd_budget **out, const kd_quantizable *model, const kd_budget_spec *spec) {
    const size_t n = (size_t)model->params->count;
    kd_budget *b = *out = calloc(1, sizeof *b);
    if (!b) return kd_fail_memory(sizeof *b, "a budget");
    b->params = model->params->count;
    b->together = NAN;
    b->matrix = calloc(n, sizeof *b->matrix);
    b->format = calloc(n, sizeof *b->format);
    if (!b->matrix || !b->format) return kd_fail_memory(n * sizeof *b->matrix, "a budget");
    list_matrices(b, model, spec);
    return KD_OK;
}

void kd_budget_free(kd_budget *budget) {
    if (!budget) return;
    free(budget->matrix);
    free(budget->format);
    free(budget);
}

int64_t kd_budget_limit(const kd_budget *budget, const kd_budget_spec *spec) {
    if (spec->bytes > 0) return spec->bytes;
    return (int64_t)(spec->bits_per_weight * (double)budget->values / 8);
}

/* --- choosing ----------------------------------------------------------------------------------
 */

/* Along the hull of a matrix, from one option to the next. */
typedef struct {
    int matrix, to;
    int64_t bytes;
    double won; /* of the cost */
} step;

static double slope(const kd_budget_option *a, const kd_budget_option *b) {
    return (a->cost - b->cost) / (double)(b->bytes - a->bytes);
}

/* The lower convex hull of a matrix' points, options by number; how many. */
static int hull_of(int *hull, const kd_budget_matrix *m) {
    int n = 0;
    for (int i = 0; i < m->count; i++) {
        const kd_budget_option *o = &m->option[i];
        if (n > 0 && !(o->cost < m->option[hull[n - 1]].cost)) continue;
        while (n > 0 && m->option[hull[n - 1]].bytes == o->bytes) n--;
        while (n > 1 && slope(&m->option[hull[n - 2]], &m->option[hull[n - 1]]) <=
                            slope(&m->option[hull[n - 1]], o))
            n--;
        hull[n++] = i;
    }
    return n;
}

static int by_slope(const void *a, const void *b) {
    const step *x = a, *y = b;
    const double p = x->won / (double)x->bytes, q = y->won / (double)y->bytes;
    if (p != q) return p > q ? -1 : 1;
    if (x->matrix != y->matrix) return x->matrix < y->matrix ? -1 : 1;
    return x->to < y->to ? -1 : 1;
}

/* Every matrix at its smallest, and the steps from there in their order. */
static int list_steps(kd_budget *b, step *out) {
    int count = 0, hull[KD_BUDGET_OPTIONS_MAX];
    b->bytes = b->rest;
    for (int t = 0; t < b->count; t++) {
        kd_budget_matrix *m = &b->matrix[t];
        const int n = hull_of(hull, m);
        m->chosen = hull[0];
        b->bytes += m->option[hull[0]].bytes;
        for (int i = 1; i < n; i++) {
            const kd_budget_option *from = &m->option[hull[i - 1]], *to = &m->option[hull[i]];
            out[count++] = (step){t, hull[i], to->bytes - from->bytes, from->cost - to->cost};
        }
    }
    qsort(out, (size_t)count, sizeof *out, by_slope);
    return count;
}

static int refuse(const kd_budget *b, int64_t limit) {
    return kd_fail(KD_ECONFIG,
                   "budget: %lld bytes (%.3f bits per weight), but the smallest file of this model "
                   "has %lld bytes of weights (%.3f bits per weight)",
                   (long long)limit, 8 * (double)limit / (double)b->values, (long long)b->bytes,
                   8 * (double)b->bytes / (double)b->values);
}

int kd_budget_check(const kd_quantizable *model, const kd_budget_spec *spec) {
    kd_budget *b;
    int status = kd_budget_create(&b, model, spec);
    if (status == KD_OK) {
        const int64_t limit = kd_budget_limit(b, spec);
        b->bytes = b->rest;
        for (int t = 0; t < b->count; t++) b->bytes += b->matrix[t].option[0].bytes;
        if (b->bytes > limit) status = refuse(b, limit);
    }
    kd_budget_free(b);
    return status;
}

int kd_budget_choose(kd_budget *b, int64_t limit) {
    const size_t most = (size_t)b->count * KD_BUDGET_OPTIONS_MAX + 1;
    step *list = malloc(most * sizeof *list);
    bool *stopped = calloc((size_t)b->count + 1, sizeof *stopped);
    int status = list && stopped ? KD_OK : kd_fail_memory(most * sizeof *list, "a budget");
    const int steps = status == KD_OK ? list_steps(b, list) : 0;
    b->limit = limit;
    if (status == KD_OK && b->bytes > limit) status = refuse(b, limit);
    for (int i = 0; i < steps && status == KD_OK; i++) {
        const step *s = &list[i];
        stopped[s->matrix] = stopped[s->matrix] || b->bytes + s->bytes > limit;
        if (stopped[s->matrix]) continue;
        b->matrix[s->matrix].chosen = s->to;
        b->bytes += s->bytes;
    }
    b->cost = 0;
    for (int t = 0; t < b->count; t++) {
        const kd_budget_matrix *m = &b->matrix[t];
        b->format[m->param] = m->option[m->chosen].format;
        b->cost += m->option[m->chosen].cost;
    }
    free(list);
    free(stopped);
    return status;
}

const kd_number_format *kd_budget_most(const kd_budget *b) {
    const kd_number_format *best = &kd_format_f16;
    int64_t most = 0;
    for (int t = 0; t < b->count; t++) {
        const kd_number_format *format = b->format[b->matrix[t].param];
        int64_t bytes = 0;
        for (int k = 0; k < b->count; k++)
            if (b->format[b->matrix[k].param] == format)
                bytes += b->matrix[k].option[b->matrix[k].chosen].bytes;
        if (bytes <= most) continue;
        most = bytes;
        best = format;
    }
    return best;
}

/* --- sizes -------------------------------------------------------------------------------------
 */

int64_t kd_budget_parse(const char *size) {
    static const struct {
        const char *name;
        double bytes;
    } UNITS[] = {{"", 1},     {"B", 1},      {"kB", 1e3},      {"KB", 1e3},        {"MB", 1e6},
                 {"GB", 1e9}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}};
    char *end;
    const double number = strtod(size, &end);
    if (end == size || !(number > 0)) return -1;
    while (*end == ' ') end++;
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++)
        if (strcmp(end, UNITS[i].name) == 0)
            return number * UNITS[i].bytes < 9e15 ? (int64_t)(number * UNITS[i].bytes) : -1;
    return -1;
}
