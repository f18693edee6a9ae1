/* A sweep: one base config in several variants, each over several seeds, in one table.
 *
 * Every run is an ordinary run in <runs>/<sweep>/<variant>-s<seed>, so that it goes on where it was
 * interrupted; a finished one is not trained again. Teachers trained by a config lie beside the
 * runs and are shared by all variants that name them; so are stores with the same soft targets.
 * docs/sweep.md describes the file.
 */
#ifndef KD_TASKS_CLASSIFY_SWEEP_H
#define KD_TASKS_CLASSIFY_SWEEP_H

#include "base/json.h"
#include "config/keys.h"
#include "tasks/classify/config.h"
#include "tasks/classify/report.h"
#include "tasks/classify/run.h"

enum {
    KD_SWEEP_SEEDS_MAX = 64,
    KD_SWEEP_VARIANTS_MAX = 128,
    KD_SWEEP_AXES_MAX = 2,
    KD_SWEEP_MODELS_MAX = KD_RESULTS_MAX,
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

extern const kd_config_table kd_sweep_root;

/* Reads the file and checks it with every config it leads to; reports all errors at once through
 * kd_log as kd_config_load does, then KD_ECONFIG. The caller frees. */
int kd_sweep_load(kd_sweep **out, const char *path);
int kd_sweep_parse(kd_sweep **out, const char *text, size_t length, const char *path);
void kd_sweep_free(kd_sweep *sweep);

/* The config of one run. The caller frees. */
int kd_sweep_config(kd_config **out, const kd_sweep *sweep, int variant, int seed);
/* The value of a grid's point on an axis. */
const cJSON *kd_sweep_value(const kd_sweep *sweep, const kd_sweep_variant *variant, int axis);
/* The same for people: "0.5"; of an object "kl 0.5, hard 0.5". */
void kd_sweep_value_text(char *out, size_t capacity, const cJSON *value);
/* "temperature" of "loss.temperature", for people. */
const char *kd_sweep_axis_name(const kd_sweep_axis *axis);

/* --- results -------------------------------------------------------------------------------- */

/* One model of a run on the test split. */
typedef struct {
    char name[KD_RESULT_NAME_MAX], kind[16]; /* as in kd_result */
    int64_t samples, correct;
    double loss;
    double validation; /* accuracy on the validation split, 0 … 1; NAN when not known */
    int64_t parameters, bytes;
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

/* Fills in what a run, whose inputs are open, is made from (its teachers included) and what its
 * teacher is. */
int kd_sweep_key(kd_sweep_run *out, const kd_run *run);

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

#endif
