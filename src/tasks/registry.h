/* The tasks there are. */
#ifndef KD_TASKS_REGISTRY_H
#define KD_TASKS_REGISTRY_H

#include "distill/task.h"

/* Every task: its folder defines kd_task_<name>. */
#define KD_TASKS(X) X(classify) X(speech) X(language) X(encoder)

/* Task number `index` from 0, or NULL. */
const kd_task *kd_task_at(int index);

/* The task of a config file, told by data.kind. KD_ECONFIG names the kinds there are when the file
 * states another; a file that states none, or cannot be read as JSON, is the first task's, whose
 * reader says what is wrong with it. */
int kd_task_of_config(const kd_task **out, const char *path);

#endif
