/* The log of a run, <run>/log.jsonl: one JSON object per line, appended as things happen.
 *
 *   {"event":"step","time":…,"stage":"train","step":20,"epoch":0.5,"loss":…,"kl":…,"hard":…,"lr":…}
 *   {"event":"eval","time":…,"stage":"train","step":40,"epoch":1,"accuracy":0.84,"loss":…}
 *   {"event":"start","time":…,"stage":"train","step":0,"peak_rss":…,"text":"…"}      and others
 *
 * `time` is seconds since 1970. Numbers that are not finite are written as null. Each line is one
 * write(2), so a kill leaves at most one torn line, which the next opening closes and the reader
 * skips. What was logged behind the last checkpoint is taken out of the file before a stage goes on
 * from there, so that no step stands in it twice.
 */
#ifndef KD_REPORT_RUNLOG_H
#define KD_REPORT_RUNLOG_H

#include <stdint.h>

typedef struct kd_runlog kd_runlog;

/* Opens for appending, creating the file; KD_EIO. `fresh` empties it first. The caller closes. */
int kd_runlog_open(kd_runlog **out, const char *path, int fresh);
void kd_runlog_close(kd_runlog *log);

/* Before a stage goes on from `step`: takes its steps and evaluations behind it out of the file,
 * which is replaced whole, or left when there are none. */
int kd_runlog_take_back(const char *path, const char *stage, int64_t step);

/* Which network the line is about: "train" (student, float), "alone", "qat", "teacher" … */
enum { KD_RUNLOG_STAGE_MAX = 24, KD_RUNLOG_EVENT_MAX = 24 };

typedef struct {
    char stage[KD_RUNLOG_STAGE_MAX];
    int64_t step; /* updates done                       */
    double epoch; /* with fraction                      */
    double loss;  /* what was minimised                 */
    double kl;    /* τ²·KL per sample, before weighting */
    double hard;  /* CE per sample, before weighting    */
    double rate;  /* learning rate; "lr" in the file    */
} kd_runlog_step;

typedef struct {
    char stage[KD_RUNLOG_STAGE_MAX];
    int64_t step;
    double epoch;
    double accuracy; /* on the validation split, 0 … 1 */
    double loss;     /* cross-entropy                  */
} kd_runlog_eval;

/* Append one line; allocate nothing. KD_EIO when it could not be written (a full disk). */
int kd_runlog_write_step(kd_runlog *log, const kd_runlog_step *step);
int kd_runlog_write_eval(kd_runlog *log, const kd_runlog_eval *eval);
/* Any other event ("start", "stop", "done" …) with the peak memory so far and a text for people. */
int kd_runlog_write_note(kd_runlog *log, const char *event, const char *stage, int64_t step,
                         const char *text);

/* What a log holds, in file order. */
typedef struct {
    int64_t step_count, eval_count;
    kd_runlog_step *step;
    kd_runlog_eval *eval;
    int64_t skipped; /* lines that were not understood */
    /* The last line of any kind, to tell how the previous start ended. "" when the log is empty. */
    char last_event[KD_RUNLOG_EVENT_MAX], last_stage[KD_RUNLOG_STAGE_MAX];
    int64_t last_step;
    double last_time;
    int64_t peak_rss; /* the largest that was noted; 0 when never */
} kd_runlog_curves;

/* A log that is not there gives empty curves. The caller frees. */
int kd_runlog_read(kd_runlog_curves *out, const char *path);
void kd_runlog_free(kd_runlog_curves *curves);

#endif
