/* The log of a run, <run>/log.jsonl: one JSON object per line, appended as things happen.
 *
 *   {"event":"step","time":…,"stage":"train","step":20,"epoch":0.5,"loss":…,"kl":…,"hard":…,"lr":…}
 *   {"event":"eval","time":…,"stage":"train","step":40,"epoch":1,"accuracy":0.84,
 *    "accuracy_low":0.82,"accuracy_high":0.86,"loss":…}                              in one line
 *   {"event":"start","time":…,"stage":"train","step":0,"peak_rss":…,"text":"…"}      and others
 *
 * Behind "epoch" stand numbers by name: of a step the loss that was minimised, its terms per row
 * before weighting, as the objective calls them, and the learning rate "lr"; of an evaluation the
 * objective's metrics, with the ends of their intervals where they have one. Any name is read.
 * `time` is seconds since 1970. Numbers that are not finite are written as null. Each line is one
 * write(2), so a kill leaves at most one torn line, which the next opening closes and the reader
 * skips. What was logged behind the last checkpoint is taken out of the file before a stage goes on
 * from there, so that no step stands in it twice.
 */
#ifndef KD_REPORT_RUNLOG_H
#define KD_REPORT_RUNLOG_H

#include <stdint.h>

#include "report/metric.h"

typedef struct kd_runlog kd_runlog;

/* Opens for appending, creating the file; KD_EIO. `fresh` empties it first. The caller closes. */
int kd_runlog_open(kd_runlog **out, const char *path, int fresh);
void kd_runlog_close(kd_runlog *log);

/* Before a stage goes on from `step`: takes its steps and evaluations behind it out of the file,
 * which is replaced whole, or left when there are none. */
int kd_runlog_take_back(const char *path, const char *stage, int64_t step);

/* Which network the line is about: "train" (student, float), "baseline", "qat", "teacher" … */
enum {
    KD_RUNLOG_STAGE_MAX = 24,
    KD_RUNLOG_EVENT_MAX = 24,
    KD_RUNLOG_NAMES_MAX = 48, /* different numbers of a log, interval ends included */
    KD_RUNLOG_NAME_MAX = 48
};

/* Where a line stands: after `step` updates, that is `epoch`, with its fraction. */
typedef struct {
    const char *stage;
    int64_t step;
    double epoch;
} kd_runlog_place;

/* Append one line of `count` numbers; allocate nothing. KD_EIO when it could not be written (a full
 * disk). */
int kd_runlog_write_step(kd_runlog *log, const kd_runlog_place *at, int count,
                         const kd_scalar *number);
/* `value` (count) of `metric` (count). */
int kd_runlog_write_eval(kd_runlog *log, const kd_runlog_place *at, int count,
                         const kd_metric *metric, const kd_estimate *value);
/* Any other event ("start", "stop", "done" …) with the peak memory so far and a text for people. */
int kd_runlog_write_note(kd_runlog *log, const char *event, const char *stage, int64_t step,
                         const char *text);

/* A step or an evaluation. */
typedef struct {
    char stage[KD_RUNLOG_STAGE_MAX];
    int64_t step;
    double epoch;
    double *value; /* (of name 0 … name_count − 1 when it was read) */
    int values;
} kd_runlog_point;

/* What a log holds, in file order. */
typedef struct {
    int name_count;
    char name[KD_RUNLOG_NAMES_MAX][KD_RUNLOG_NAME_MAX];
    int64_t step_count, eval_count;
    kd_runlog_point *step, *eval;
    int64_t skipped; /* lines, and numbers of lines, that were not understood */
    /* The last line of any kind, to tell how the previous start ended. "" when the log is empty. */
    char last_event[KD_RUNLOG_EVENT_MAX], last_stage[KD_RUNLOG_STAGE_MAX];
    int64_t last_step;
    double last_time;
    int64_t peak_rss; /* the largest that was noted; 0 when never */
} kd_runlog_curves;

/* The number of this name at a point; NAN where its line has none. */
double kd_runlog_value(const kd_runlog_curves *curves, const kd_runlog_point *point,
                       const char *name);
/* The best value of a metric in the evaluations of a stage; NAN without. */
double kd_runlog_best(const kd_runlog_curves *curves, const char *stage, const kd_metric *metric);

/* A log that is not there gives empty curves. The caller frees. */
int kd_runlog_read(kd_runlog_curves *out, const char *path);
void kd_runlog_free(kd_runlog_curves *curves);

#endif
