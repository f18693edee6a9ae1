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
    int bias_count;    /* "CLASSES=SHIFT" of --bias, for tasks with classes    */
    const char *const *bias;
} kd_measurement;

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
    int (*inspect)(kd_text *out, const void *config);
    /* --dry-run: prints what a run in the folder `runs` takes; changes nothing. */
    int (*plan)(const void *config, const char *runs);
    /* Prints the table of one model; changes nothing. */
    int (*measure)(const void *config, const kd_measurement *what);

    /* KD_ECONFIG when the config gives the stage nothing to do; asked before a run is opened. */
    int (*check)(const void *config, kd_stage_kind stage);
    /* Looks at everything, then locks the folder (see the task's run.h). The caller closes *run,
     * unless it is NULL. `config` is borrowed until then. */
    int (*open)(void **run, const void *config, const char *runs, bool fresh);
    void (*close)(void *run);
    int (*stage[KD_STAGE_COUNT])(void *run); /* NULL: the task has no such stage */
} kd_task;

#endif
