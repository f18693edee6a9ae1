/* What can be known of a run before its data are read, and before anything is made or changed. */
#ifndef KD_TASKS_CLASSIFY_PREFLIGHT_H
#define KD_TASKS_CLASSIFY_PREFLIGHT_H

#include "tasks/classify/config.h"

/* That every file a config names is there (those that are not are named together, KD_ENOINPUT);
 * that training and test samples, and the data of its teachers, agree; that its networks can be
 * built, trained in batches of train.batch, and quantized; that the hints' nodes are there; that
 * the teachers' weights are those of their models. The same of the configs of teachers. */
int kd_preflight(const kd_config *config);

#endif
