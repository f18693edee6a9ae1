/* The forms a sweep's results take. */
#ifndef KD_DISTILL_SWEEP_PARTS_H
#define KD_DISTILL_SWEEP_PARTS_H

#include "base/text.h"
#include "distill/sweep.h"
#include "report/plot.h"
#include "report/statistics.h"

/* One row of the table: one model of one variant over the seeds that have it. Shares in %. */
typedef struct {
    char label[KD_SWEEP_LABEL_MAX + 80]; /* "distilled", "distilled, int8 (QAT)"             */
    int variant;
    char kind[KD_MEASURED_KIND_MAX];
    int seeds; /* finished                                   */
    double value[KD_METRICS_MAX][KD_SWEEP_SEEDS_MAX]; /* by seed; NAN: not finished         */
    double validation[KD_SWEEP_SEEDS_MAX];
    double against_first[KD_SWEEP_SEEDS_MAX]; /* the first metric less that of the first
                                                 variant's student with the same seed       */
} kd_sweep_row;

/* Whether the table has a column for the task's test metric m: of the first, and as it says. */
bool kd_sweep_shows(const kd_task *task, int m);
/* "accuracy", what people call it. */
const char *kd_sweep_title(const kd_metric *metric);
/* Over the seeds, within what the metric can be. */
kd_statistics kd_sweep_statistics(const kd_metric *metric, int seeds, const double *value);

/* The rows in order. The caller frees *out. */
int kd_sweep_rows(kd_sweep_row **out, int *count, const kd_sweep_results *results);

void kd_sweep_add_text(kd_text *out, const kd_sweep_results *results);
void kd_sweep_add_json(kd_text *out, const kd_sweep_results *results);
void kd_sweep_add_html(kd_text *out, const kd_sweep_results *results);

/* The plots: variants side by side, and the grid on the validation and on the test split. Nothing
 * is added for a plot that has nothing to show. */
typedef enum { KD_SWEEP_PLOT_VARIANTS, KD_SWEEP_PLOT_VALIDATION, KD_SWEEP_PLOT_TEST } kd_sweep_plot;
void kd_sweep_add_plot(kd_text *out, const kd_sweep_results *results, kd_sweep_plot which,
                       kd_plot_form form);

/* A model from an object of report.json or sweep.json; false when it lacks the first metric. */
bool kd_sweep_model_read(kd_sweep_model *out, const kd_task *task, const cJSON *object);

/* The entry of sweep.json's list of runs that has this key, or NULL; and its results. */
const cJSON *kd_sweep_find_run(const cJSON *list, const kd_hash *key);
void kd_sweep_take_run(kd_sweep_run *run, const kd_task *task, const cJSON *entry);

#endif
