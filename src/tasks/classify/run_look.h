/* What a run looks at before it changes anything on disk. For run.c. */
#ifndef KD_TASKS_CLASSIFY_RUN_LOOK_H
#define KD_TASKS_CLASSIFY_RUN_LOOK_H

#include "tasks/classify/run.h"

/* The files that the config names besides the data: a store made elsewhere is opened and checked,
 * teachers' weights are read, their configs' runs looked at; run->teachers says what the teachers
 * are made from. A store that `like` (or NULL) has open already is not read again. */
int kd_run_check_inputs(kd_run *run, const kd_run *like);

/* Under which facts of run->teachers teacher i stands: "network", or "ensemble[1]". */
void kd_run_teacher_prefix(char out[32], const kd_run *run, int i);

/* Compares what lies in the folder with what this run would make. */
int kd_run_compare(const kd_run *run);

#endif
