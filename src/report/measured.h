/* What models were measured to be: every figure of every model on one test set, of all samples and
 * of each group of them (class, speaker, domain …). One structure for the terminal, for machines
 * and for pages; which figures there are, and what the groups are, the task says. */
#ifndef KD_REPORT_MEASURED_H
#define KD_REPORT_MEASURED_H

#include "base/json.h"
#include "base/text.h"
#include "report/metric.h"

enum { KD_MEASURED_NAME_MAX = 64, KD_MEASURED_KIND_MAX = 16, KD_MEASURED_STAGE_MAX = 24 };

/* One model. Figures that were not measured are NAN. */
typedef struct {
    char name[KD_MEASURED_NAME_MAX];   /* "teacher", "student int8 (QAT)"                       */
    char kind[KD_MEASURED_KIND_MAX];   /* "teacher" | "student" | "baseline" | "ptq" | "blob" …    */
    char stage[KD_MEASURED_STAGE_MAX]; /* of the run, whose best weights it has; "" for none    */
    kd_estimate *value;                /* (metrics)                                             */
    kd_estimate *group;                /* (groups, metrics), NULL without groups                */
} kd_measured;

typedef struct {
    int metric_count; /* the first is what models are compared by */
    const kd_metric *metric;
    const char *unit;           /* what the n of the first metric counts: "samples", "words" */
    const char *speed;          /* the name of the metric that is a speed, or NULL          */
    const char *group, *groups; /* "class", "classes"; NULL without groups                   */
    int group_count;
    const char **group_name; /* (groups) borrowed texts, which the caller fills in */
    int count;
    kd_measured *model;
    kd_estimate *memory; /* of all models */
} kd_measured_table;

/* Room for `models` models; the metrics are borrowed. The caller clears, also after an error. */
int kd_measured_create(kd_measured_table *out, int models, int metric_count,
                       const kd_metric *metric, int group_count);
void kd_measured_clear(kd_measured_table *table);
/* The next model, all NAN. */
kd_measured *kd_measured_add(kd_measured_table *table, const char *name, const char *kind,
                             const char *stage);

/* The value of metric m on a group. */
static inline kd_estimate *kd_measured_group(const kd_measured_table *table,
                                             const kd_measured *model, int group, int m) {
    return &model->group[group * table->metric_count + m];
}

/* The teacher's row, or NULL; the last model of a kind, or NULL. */
const kd_measured *kd_measured_teacher(const kd_measured_table *table);
const kd_measured *kd_measured_of(const kd_measured_table *table, const char *kind);

/* The group on which a model lost most against `teacher` by the first metric or, without one (NULL,
 * or the teacher itself), on which it is worst; −1 when no group was measured. */
int kd_measured_worst(const kd_measured_table *table, const kd_measured *model,
                      const kd_measured *teacher);

/* The table of models, then, of not too many, that of groups. */
void kd_measured_add_text(kd_text *out, const kd_measured_table *table);

/* "metrics": […], "models": […]: two members of a JSON object, a fact by its metric's name:
 *
 *   "metrics": [{"name": "accuracy", "unit": "share", "higher_is_better": true}, …],
 *   "models": [{"name": "student float", "kind": "student", "stage": "train", "accuracy": 0.86,
 *               "accuracy_interval": [0.78, 0.91], …,
 *               "worst_class": {"name": "emu", "accuracy": 0.6, "teacher_accuracy": 0.85},
 *               "classes": [{"name": "cat", "accuracy": 0.94, …}, …]}, …]
 *
 * What was not measured is null, and left out where the metric has no title. */
void kd_measured_add_json(kd_text *out, const kd_measured_table *table);

#endif
