/* A task: a kind of student, as a table of functions. The commands know this table and the registry
 * (tasks/registry.h), and nothing of what stands behind a row; a new task is a folder in tasks/ and
 * one line of the registry.
 *
 * `config` and `run` are the task's own structs. Functions return KD_OK or a negative kd_status.
 */
#ifndef KD_DISTILL_TASK_H
#define KD_DISTILL_TASK_H

#include "base/text.h"
#include "config/reader.h"
#include "distill/origin.h"
#include "distill/plan.h"
#include "distill/train_spec.h"
#include "files/formats/number_format.h"
#include "report/metric.h"

/* What a command may ask of a run. Each does what is missing of the stages before it. */
typedef enum {
    KD_STAGE_LABEL,    /* what the teacher makes of every sample                          */
    KD_STAGE_TEACH,    /* its soft targets into the store                                 */
    KD_STAGE_QUANTIZE, /* the student in few bits by calibration alone; prints the files  */
    KD_STAGE_EXPORT,   /* the same by training; prints the files                          */
    KD_STAGE_ALL,      /* everything, then the table and the report                       */
    KD_STAGE_COUNT
} kd_stage_kind;

/* One model on a config's test set. */
typedef struct {
    const char *model; /* its file or folder                                  */
    const char *runs;  /* the folder of all runs                              */
    int bias_count;    /* "CLASSES=SHIFT" of --bias, for tasks with classes    */
    const char *const *bias;
} kd_measurement;

/* How a run of a sweep is opened. */
typedef struct {
    const char *runs; /* the sweep's folder: its runs, and beside them what several of them need */
    bool fresh;
    bool seeded_teachers; /* teachers that a config trains take the run's seed           */
    bool known_teacher;   /* another run has measured the same teacher: not again        */
    void *like; /* an open run whose inputs may be borrowed as long as it is open, or NULL */
} kd_part_options;

/* How far: its inputs are read; what lies in its folder is compared, too; the folder is made, and
 * the run may begin. Only the last changes anything on disk. */
typedef enum { KD_PART_INPUTS, KD_PART_LOOK, KD_PART_BEGIN } kd_part_depth;

/* Takes note of a folder beside the runs of a sweep, and what is made in it. */
typedef int (*kd_note_folder)(void *context, const char *name, const kd_origin *origin,
                              const char *config_path);

/* What a sweep asks of a task. Its configs have "name" and "seed"; the last stage writes
 * report.json as kd_measured_add_json does, with a model of the kind "student", by which runs are
 * compared. A run of a sweep prints no table. */
typedef struct {
    int (*load)(void **config, const char *path, int change_count, const kd_config_change *change);
    const char *(*resolved)(const void *config);
    /* The caller closes *run, unless it is NULL. What several runs need (stores, labels) is kept in
     * options->runs by a key of what decides it, and made by the first of them. */
    int (*open)(void **run, const void *config, const kd_part_options *options,
                kd_part_depth depth);
    /* `run` owns from now on what it borrowed of `like`, which is closed next. May be NULL. */
    void (*inherit)(void *run, void *like);
    /* What the whole run is made from; what its teacher is and is measured on, empty without. */
    void (*describe)(kd_origin *whole, kd_origin *teacher, const void *run);
    /* Notes the run's folder and those of the runs that train its teachers. */
    int (*folders)(const void *run, kd_note_folder note, void *context);
    /* The config of the i-th teacher that a run of its own trains; NULL: there are no more. The
     * caller frees. May be NULL. */
    int (*teacher)(void **out, const void *config, int i, bool seeded);
    /* What the run takes, and what is made once for all that need the same; nothing is printed. */
    int (*needs)(kd_plan_needs *own, kd_plan_needs *shared, const void *config);
    const char *const *timed; /* sections of a config that times depend on; NULL ends them */
} kd_sweep_task;

typedef struct kd_task {
    const char *name;            /* "classify"                                          */
    const char *kinds;           /* values of data.kind that are its own: "idx|cifar10" */
    const kd_config_table *keys; /* of its configs                                      */
    const kd_metric *validation; /* what chooses a stage's best weights                 */
    int test_count;              /* what is measured on the test set; the first is what */
    const kd_metric *test;       /* models are compared by                              */

    /* `source` names the file; its text is read here. The caller frees *config. */
    int (*load)(void **config, const char *path, int set_count, const char *const *sets);
    void (*free_config)(void *config);
    const char *(*run_name)(const void *config);
    const kd_train_spec *(*training)(const void *config); /* of the student */
    int (*inspect)(kd_text *out, const void *config);
    /* --dry-run: prints what a run takes; changes nothing. */
    int (*plan)(const void *config, const kd_plan_request *request);
    /* Prints the table of one model; changes nothing. */
    int (*measure)(const void *config, const kd_measurement *what);

    /* Whether the file or folder is a model of this task; NULL: whatever no other task knows is. */
    bool (*knows_model)(const char *path);
    /* Gathers an importance matrix of `model` over the samples that `data` lists, or is
     * (quant/imatrix.h); NULL: the task has none. */
    int (*imatrix)(const char *model, const char *data, const char *language, const char *out);

    /* Writes `model`, a checkpoint or an exported file, as ONNX; float weights in `format` where
     * that has a form there, NULL: as they are. NULL: the task has none. */
    int (*onnx)(const char *model, const char *out, const kd_number_format *format);

    /* KD_ECONFIG when the config gives the stage nothing to do; asked before a run is opened. */
    int (*check)(const void *config, kd_stage_kind stage);
    /* Looks at everything, then locks the folder (see the task's run.h). The caller closes *run,
     * unless it is NULL. `config` is borrowed until then. */
    int (*open)(void **run, const void *config, const char *runs, bool fresh);
    void (*close)(void *run);
    int (*stage[KD_STAGE_COUNT])(void *run); /* NULL: the task has no such stage */
    const kd_sweep_task *sweep;              /* NULL: it cannot be swept         */
} kd_task;

#endif
