/* The forms a sweep's results take. */
#ifndef KD_TASKS_CLASSIFY_SWEEP_PARTS_H
#define KD_TASKS_CLASSIFY_SWEEP_PARTS_H

#include "base/text.h"
#include "report/plot.h"
#include "report/statistics.h"
#include "tasks/classify/sweep.h"

/* One row of the table: one model of one variant over the seeds that have it. */
typedef struct {
    char label[KD_SWEEP_LABEL_MAX + 80]; /* "distilled", "distilled, int8 (QAT)"              */
    int variant;
    char kind[16];
    int seeds;                                /* finished                                    */
    double accuracy[KD_SWEEP_SEEDS_MAX];      /* in %, by seed; NAN: not finished            */
    double errors[KD_SWEEP_SEEDS_MAX];        /* test samples                                */
    double validation[KD_SWEEP_SEEDS_MAX];    /* in %                                        */
    double against_first[KD_SWEEP_SEEDS_MAX]; /* accuracy less the first variant's student's
                                                 with the same seed, points                  */
} kd_sweep_row;

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

/* A model from an object of report.json or sweep.json. */
bool kd_sweep_model_read(kd_sweep_model *out, const cJSON *object);

/* The entry of sweep.json's list of runs that has this key, or NULL; and its results. */
const cJSON *kd_sweep_find_run(const cJSON *list, const kd_hash *key);
void kd_sweep_take_run(kd_sweep_run *run, const cJSON *entry);

#endif
