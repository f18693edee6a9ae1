/* What the models make of each class: how far each is from the teacher, and which classes the last
 * of them takes for which. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "report/statistics.h"
#include "tasks/classify/report_parts.h"

enum { CLASSES_SHOWN_MAX = 15, PAIRS_SHOWN_MAX = 10, WORDS_MAX = 200 };

static const kd_result *last_model(const kd_report *report) {
    return &report->result[report->count - 1];
}

static void add_empty_on_failure(kd_text *out, const void *memory) {
    if (!memory) out->failed = true;
}

/* --- each class ----------------------------------------------------------------------------- */

/* How much the last model lost on a class against the teacher; without one, its errors. Rounded, so
 * that equal losses are equal. */
static double loss_on(const kd_report *report, int label) {
    const kd_result *last = last_model(report), *teacher = kd_report_teacher(report);
    double lost = -kd_result_class_accuracy(last, label);
    if (teacher && teacher != last) lost += kd_result_class_accuracy(teacher, label);
    return isnan(lost) ? -INFINITY : round(1e9 * lost);
}

typedef struct {
    int label;
    double lost;
} ranked_class;

static int by_loss(const void *a, const void *b) {
    const ranked_class *x = a, *y = b;
    if (x->lost != y->lost) return x->lost > y->lost ? -1 : 1;
    return x->label - y->label;
}

/* The accuracy on a class with Wilson's interval, or the difference to the teacher's with that of
 * paired samples, in points. */
static void measure_class(kd_plot_row *row, const kd_report *report, const kd_result *r,
                          const kd_result *teacher, int label) {
    row->mean = 100 * kd_result_class_accuracy(r, label);
    row->low = row->high = NAN;
    if (!teacher) {
        const kd_estimate share =
            kd_estimate_share(r->class_correct[label], r->class_samples[label]);
        row->low = 100 * share.low;
        row->high = 100 * share.high;
        return;
    }
    row->mean -= 100 * kd_result_class_accuracy(teacher, label);
    if (!r->answer || !teacher->answer || !report->label || r->class_samples[label] == 0) return;
    int64_t only_teacher = 0, only_model = 0;
    double low, high;
    for (int64_t i = 0; i < r->samples; i++) {
        if (report->label[i] != label) continue;
        const bool ours = r->answer[i] == label, theirs = teacher->answer[i] == label;
        only_model += ours && !theirs;
        only_teacher += theirs && !ours;
    }
    kd_paired_interval(r->class_samples[label], only_model, only_teacher, &low, &high);
    row->low = 100 * low;
    row->high = 100 * high;
}

/* "student float on shirt: 71.2 % (712 of 1000)" */
static void describe(char *out, const kd_report *report, const kd_result *r, int label) {
    snprintf(out, WORDS_MAX, "%s on %s: %.1f %% (%lld of %lld)", r->name, report->class_name[label],
             100 * kd_result_class_accuracy(r, label), (long long)r->class_correct[label],
             (long long)r->class_samples[label]);
}

typedef struct {
    kd_plot_row row[CLASSES_SHOWN_MAX * KD_RESULTS_MAX];
    char words[CLASSES_SHOWN_MAX * KD_RESULTS_MAX][WORDS_MAX];
    kd_plot_key key[KD_RESULTS_MAX];
} class_rows;

static void fill_rows(kd_plot_rows *plot, class_rows *m, const kd_report *report,
                      const ranked_class *rank, int shown) {
    const kd_result *teacher = report->count > 1 ? kd_report_teacher(report) : NULL;
    for (int i = 0; i < shown; i++) {
        const int label = rank[i].label;
        const char *name = report->class_name[label];
        for (int k = 0; k < report->count; k++) {
            const kd_result *r = &report->result[k];
            if (r == teacher) continue;
            if (i == 0)
                m->key[plot->key_count++] = (kd_plot_key){r->name, kd_plot_model_colour(r->kind)};
            kd_plot_row *row = &m->row[plot->count];
            describe(m->words[plot->count], report, r, label);
            *row = (kd_plot_row){.name = name,
                                 .colour = kd_plot_model_colour(r->kind),
                                 .words = m->words[plot->count++]};
            measure_class(row, report, r, teacher, label);
            name = NULL;
        }
    }
}

static void add_class_plot(kd_text *out, const kd_report *report, const ranked_class *rank,
                           int shown) {
    class_rows *m = calloc(1, sizeof *m);
    add_empty_on_failure(out, m);
    if (!m) return;
    const bool against = report->count > 1 && kd_report_teacher(report);
    kd_plot_rows plot = {.title = against ? "Difference to the teacher" : "Accuracy",
                         .x_name = against ? "points of accuracy, with 95 % interval"
                                           : "accuracy, %, with 95 % interval",
                         .x_format = against ? "%+.1f" : "%.1f %%",
                         .zero = against,
                         .bounds = {against ? -100 : 0, 100},
                         .key = m->key,
                         .row = m->row};
    fill_rows(&plot, m, report, rank, shown);
    kd_plot_add_rows(out, &plot, KD_PLOT_ON_PAGE);
    free(m);
}

/* --- confused pairs ------------------------------------------------------------------------- */

typedef struct {
    int label, answer;
    int64_t count;
} confused;

static int by_classes(const void *a, const void *b) {
    const confused *x = a, *y = b;
    return x->label != y->label ? x->label - y->label : x->answer - y->answer;
}

static int by_count(const void *a, const void *b) {
    const confused *x = a, *y = b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    return by_classes(a, b);
}

/* The wrong answers of a model as pairs, the most frequent first; the number of pairs. */
static int64_t count_pairs(confused *pair, const kd_result *r, const int32_t *label) {
    int64_t errors = 0, pairs = 0;
    for (int64_t i = 0; i < r->samples; i++)
        if (r->answer[i] != label[i]) pair[errors++] = (confused){label[i], r->answer[i], 1};
    if (errors == 0) return 0;
    qsort(pair, (size_t)errors, sizeof *pair, by_classes);
    for (int64_t i = 1; i < errors; i++)
        if (by_classes(&pair[pairs], &pair[i]) == 0)
            pair[pairs].count++;
        else
            pair[++pairs] = pair[i];
    pairs++;
    qsort(pair, (size_t)pairs, sizeof *pair, by_count);
    return pairs;
}

static double times_taken(const kd_result *r, const int32_t *label, const confused *pair) {
    int64_t n = 0;
    for (int64_t i = 0; i < r->samples; i++)
        n += label[i] == pair->label && r->answer[i] == pair->answer;
    return (double)n;
}

static void add_pair_plot(kd_text *out, const kd_report *report) {
    const kd_result *last = last_model(report), *teacher = kd_report_teacher(report);
    kd_plot_row row[2 * PAIRS_SHOWN_MAX];
    char name[PAIRS_SHOWN_MAX][2 * KD_CLASS_NAME_MAX + 16];
    if (!last->answer || !report->label || last->samples == 0) return;
    if (teacher && (teacher == last || !teacher->answer)) teacher = NULL;
    confused *pair = malloc(kd_array_bytes(last->samples, sizeof *pair));
    add_empty_on_failure(out, pair);
    if (!pair) return;
    const int64_t pairs = count_pairs(pair, last, report->label);
    kd_plot_key key[2] = {{last->name, kd_plot_model_colour(last->kind)}};
    kd_plot_rows plot = {.title = "Most confused",
                         .x_name = "test samples",
                         .x_format = "%.0f",
                         .bars = true,
                         .key_count = teacher ? 2 : 1,
                         .key = key,
                         .row = row};
    if (teacher) key[1] = (kd_plot_key){teacher->name, kd_plot_model_colour(teacher->kind)};
    for (int i = 0; i < pairs && i < PAIRS_SHOWN_MAX; i++) {
        snprintf(name[i], sizeof name[i], "%s taken for %s", report->class_name[pair[i].label],
                 report->class_name[pair[i].answer]);
        row[plot.count++] = (kd_plot_row){.name = name[i],
                                          .colour = key[0].colour,
                                          .mean = (double)pair[i].count,
                                          .low = NAN,
                                          .high = NAN};
        if (teacher)
            row[plot.count++] = (kd_plot_row){.colour = key[1].colour,
                                              .mean = times_taken(teacher, report->label, &pair[i]),
                                              .low = NAN,
                                              .high = NAN};
    }
    if (plot.count > 0) kd_plot_add_rows(out, &plot, KD_PLOT_ON_PAGE);
    free(pair);
}

void kd_report_add_classes(kd_text *out, const kd_report *report) {
    if (report->count == 0) return;
    const bool against = report->count > 1 && kd_report_teacher(report);
    const int shown = report->classes < CLASSES_SHOWN_MAX ? report->classes : CLASSES_SHOWN_MAX;
    ranked_class *rank = malloc((size_t)report->classes * sizeof *rank);
    add_empty_on_failure(out, rank);
    if (!rank) return;
    for (int i = 0; i < report->classes; i++) rank[i] = (ranked_class){i, loss_on(report, i)};
    qsort(rank, (size_t)report->classes, sizeof *rank, by_loss);
    kd_text_add(out, "<h2>Classes</h2>\n<p class=\"soft\">");
    if (shown < report->classes) kd_text_add(out, "%d of %d classes, ", shown, report->classes);
    kd_text_add(
        out, "%s on which the last model lost most%s first. %s</p>\n<div class=\"charts\">\n",
        shown < report->classes ? "those" : "The class", against ? " against the teacher" : "",
        against ? "The interval is that of paired samples (Agresti and Min)."
                : "The interval is Wilson's.");
    add_class_plot(out, report, rank, shown);
    add_pair_plot(out, report);
    kd_text_add(out, "</div>\n");
    free(rank);
}
