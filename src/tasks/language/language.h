/* What the task's row of the registry (task.c) is made of, besides runs: functions of
 * distill/task.h for configs of language models. */
#ifndef KD_TASKS_LANGUAGE_LANGUAGE_H
#define KD_TASKS_LANGUAGE_LANGUAGE_H

#include "base/text.h"
#include "distill/task.h"

/* Texts, teacher, student and files of a config. */
int kd_language_inspect(kd_text *out, const void *config);

/* Prints the stages, what they take, and whether it fits. KD_ENOINPUT after saying which files are
 * missing. */
int kd_language_plan(const void *config, const kd_plan_request *request);
/* The same for a sweep (distill/task.h). */
int kd_language_needs(kd_plan_needs *own, kd_plan_needs *shared, const void *config);

extern const kd_sweep_task kd_language_sweep;

#endif
