/* What the task's row of the registry (task.c) is made of, besides runs: functions of
 * distill/task.h for configs of speech recognisers. */
#ifndef KD_TASKS_SPEECH_SPEECH_H
#define KD_TASKS_SPEECH_SPEECH_H

#include "base/text.h"
#include "distill/task.h"

/* Lists, teacher, layers and files of a config. */
int kd_speech_inspect(kd_text *out, const void *config);

/* Prints the stages, what they take, and whether it fits. KD_ENOINPUT after saying which files are
 * missing. */
int kd_speech_plan(const void *config, const kd_plan_request *request);

/* What training takes, and what labels, the encoder's outputs and the store take, which runs with
 * the same recordings and teacher share; nothing is printed. Errors as kd_speech_plan. */
int kd_speech_needs(kd_plan_needs *own, kd_plan_needs *shared, const void *config);

/* Sweeps of speech recognisers (sweep.c). */
extern const kd_sweep_task kd_speech_sweep;

#endif
