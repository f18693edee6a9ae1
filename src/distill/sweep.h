/* A sweep: one base config in several variants, each over several seeds, in one table.
 *
 * Every run is an ordinary run in <runs>/<sweep>/<variant>-s<seed>, so that it goes on where it was
 * interrupted; a finished one is not trained again. What several runs need (teachers trained by a
 * config, stores, labels) lies beside them and is made once. The configs are of any task that can
 * be swept (distill/task.h), and the table's columns are its metrics. docs/sweep.md describes the
 * file.
 */
#ifndef KD_DISTILL_SWEEP_H
#define KD_DISTILL_SWEEP_H

#include "base/json.h"
#include "config/keys.h"
#include "distill/task.h"
#include "report/measured.h"

enum {
    KD_SWEEP_SEEDS_MAX = 64,
    KD_SWEEP_VARIANTS_MAX = 128,
    KD_SWEEP_AXES_MAX = 2,
    KD_SWEEP_MODELS_MAX = 24,
    KD_SWEEP_LABEL_MAX = 96
};

typedef struct {
    char label[KD_SWEEP_LABEL_MAX]; /* for people: "student alone", "temperature 4, kl 0.5" */
    char folder[48];                /* the front of its runs' names                         */
    char base[KD_PATH_MAX];         /* "" or a base of its own                              */
    const cJSON *item, *set;        /* in the file; `set` may be NULL; a grid's point: both */
    int point[KD_SWEEP_AXES_MAX];   /* of a grid's point: the places of its values; else −1 */
} kd_sweep_variant;

typedef struct {
    const char *key; /* "loss.temperature" */
    int count;
    const cJSON *values; /* list */
} kd_sweep_axis;

typedef struct {
    const kd_task *task; /* of all its configs */
    kd_json *json;
    char path[KD_PATH_MAX];
    char name[64];
    char base[KD_PATH_MAX];
    int seed_count;
    uint64_t seed[KD_SWEEP_SEEDS_MAX];
    bool teacher_seeds; /* a teacher for each seed, instead of one for all */
    int variant_count;  /* those of the file, then the grid's points       */
    kd_sweep_variant variant[KD_SWEEP_VARIANTS_MAX];
    int axis_count;
    kd_sweep_axis axis[KD_SWEEP_AXES_MAX];
} kd_sweep;

/* The keys of a sweep's file, for which `configs` (count) are the roots of the configs. */
const kd_config_table *kd_sweep_keys(const kd_config_table *const *configs, int count);

/* The task of a config file, as kd_task_of_config of tasks/registry.h. */
typedef int (*kd_find_task)(const kd_task **out, const char *config_path);

/* Reads the file and checks it with every config it leads to; reports all errors at once through
 * kd_log as config readers do, then KD_ECONFIG. The caller frees. */
int kd_sweep_load(kd_sweep **out, const char *path, kd_find_task find);
int kd_sweep_parse(kd_sweep **out, const char *text, size_t length, const char *path,
                   kd_find_task find);
void kd_sweep_free(kd_sweep *sweep);

/* The config of one run, its task's. The caller frees. */
int kd_sweep_config(void **out, const kd_sweep *sweep, int variant, int seed);
/* The value of a grid's point on an axis. */
const cJSON *kd_sweep_value(const kd_sweep *sweep, const kd_sweep_variant *variant, int axis);
/* The same for people: "0.5"; of an object "kl 0.5, hard 0.5". */
void kd_sweep_value_text(char *out, size_t capacity, const cJSON *value);
/* "temperature" of "loss.temperature", for people. */
const char *kd_sweep_axis_name(const kd_sweep_axis *axis);

/* --- results -------------------------------------------------------------------------------- */

/* One model of a run. */
typedef struct {
    char name[KD_MEASURED_NAME_MAX], kind[KD_MEASURED_KIND_MAX], stage[KD_MEASURED_STAGE_MAX];
    double value[KD_METRICS_MAX]; /* of the task's test metrics; NAN: not measured          */
    double validation;            /* of the metric that chose its weights; NAN when unknown */
} kd_sweep_model;

typedef struct {
    bool done;
    char *origin;    /* all that it is made from (origin.h); NULL until known       */
    kd_hash key;     /* of the origin                                               */
    kd_hash teacher; /* of what its teacher is and what it is measured on; "": none */
    double seconds;  /* of the starts that finished it                      */
    int model_count;
    kd_sweep_model model[KD_SWEEP_MODELS_MAX];
} kd_sweep_run;

typedef struct {
    const kd_sweep *sweep;
    kd_sweep_run *run; /* [variant * seed_count + seed] */
} kd_sweep_results;

int kd_sweep_results_create(kd_sweep_results *out, const kd_sweep *sweep);
void kd_sweep_results_free(kd_sweep_results *results);
kd_sweep_run *kd_sweep_run_at(const kd_sweep_results *results, int variant, int seed);

/* Fills in what an open run is made from (its teachers included) and what its teacher is. */
int kd_sweep_key(kd_sweep_run *out, const kd_sweep *sweep, const void *run);

/* Takes from <folder>/sweep.json the results of runs whose key has not changed: the config, the
 * content of the data and of the teacher's files, its teachers' configs. A file that is not there
 * or not understood gives none. Fills in every run's key, which reads the data; errors of the
 * inputs.
 */
int kd_sweep_results_read(kd_sweep_results *results, const char *folder);
/* The same, and looks at the run of each that is not finished (with `fresh` of all): KD_EDATA when
 * what lies there is another's. Changes nothing on disk. */
int kd_sweep_results_look(kd_sweep_results *results, const char *folder, bool fresh);
/* Writes <folder>/sweep.json, sweep.html and the plots, sweep-*.svg; each whole or absent. */
int kd_sweep_results_write(const kd_sweep_results *results, const char *folder);

/* Carries out what is missing, in <runs>/<name>; `fresh` forgets earlier results. Prints the table.
 * KD_EAGAIN after a request to stop. */
int kd_sweep_carry_out(const kd_sweep *sweep, const char *runs, bool fresh);

/* --dry-run: prints the runs in <runs>/<name>, whether each is finished, and what the others will
 * take; changes nothing. */
int kd_sweep_plan(const kd_sweep *sweep, const char *runs);

#endif
