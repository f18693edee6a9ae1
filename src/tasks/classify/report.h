/* What a run found out: one table, for the terminal, for a browser and for machines. */
#ifndef KD_TASKS_CLASSIFY_REPORT_H
#define KD_TASKS_CLASSIFY_REPORT_H

#include <stdint.h>

#include "distill/budget.h"
#include "distill/fidelity.h"
#include "report/measured.h"
#include "tasks/classify/config.h"

enum { KD_RESULT_NAME_MAX = KD_MEASURED_NAME_MAX };

/* One model measured on the test split. */
typedef struct {
    char name[KD_RESULT_NAME_MAX]; /* "teacher", "student float", "baseline", "student PTQ",
                                      "student int8" */
    char kind[16]; /* "teacher" | "student" | "baseline" | "ptq" | "blob" | "corrected"  */
    char stage[KD_MEASURED_STAGE_MAX]; /* whose best weights these are: "train", …; "" of none   */
    int64_t samples, correct;
    double loss; /* mean cross-entropy                                          */
    int classes;
    int64_t *class_samples, *class_correct; /* (classes), owned by the result                  */
    int32_t *answer; /* (samples) the class each was taken for; owned too; NULL: not known     */
    int64_t parameters;
    int64_t bytes;             /* of the weights as this model stores them; the file for a blob   */
    int64_t memory;            /* bytes to run one sample: weights and activations                */
    double ms_per_sample;      /* median over batches of one hundred, all threads                */
    double largest_difference; /* blob: largest |blob logit − fake-quant logit|; −1 when not
                                  measured */
    double bias_shift;         /* corrected: what was added to the biases the config names       */
    kd_fidelity_summary fidelity; /* to the float student; 0 rows: not compared              */
    int64_t disagreements; /* blob: predictions that differ from the fake-quant model's; −1  */
} kd_result;

void kd_result_free_counts(kd_result *result);

/* Parameters, size, memory and time of the same network, measured elsewhere. */
void kd_result_copy_costs(kd_result *out, const kd_result *from);

/* Teacher, student, the same with biases corrected, the baseline, and each way of quantizing with
 * and without training. */
enum { KD_RESULTS_MAX = 4 + 2 * KD_QUANTIZE_MAX };

typedef struct {
    const kd_config *config;
    const char *run_folder; /* holds log.jsonl, the curves                        */
    int count;
    kd_result result[KD_RESULTS_MAX];
    int classes;
    const char (*class_name)[KD_CLASS_NAME_MAX];
    const kd_budget *const *budget; /* (config->quantize_count) formats that were chosen; NULL where
                                       none are; or NULL                                */
    const int32_t *label;           /* (samples) of the test samples; NULL: not known      */
} kd_report;

/* Wilson's 95 % interval of correct/samples, as fractions. */
void kd_result_interval(const kd_result *result, double *low, double *high);
/* The class that lost most against `teacher` (or, without one, the worst class). */
int kd_result_worst_class(const kd_result *result, const kd_result *teacher);

/* All of it by name; the table is the caller's to clear, also after an error. */
int kd_report_measured(kd_measured_table *out, const kd_report *report);

/* The table as text on stdout. */
void kd_report_print(const kd_report *report);
/* <run>/report.json, report.html (self-contained, inline SVG) and accuracy.svg, each whole or
 * absent. */
int kd_report_write(const kd_report *report);

#endif
