/* The teacher's stage: networks trained or loaded, and their answers written to the store. */
#ifndef KD_TASKS_CLASSIFY_TEACH_H
#define KD_TASKS_CLASSIFY_TEACH_H

#include "tasks/classify/run.h"

/* How a run that trains one of this run's teachers is opened. */
kd_run_options kd_teach_options(const kd_run *run);
/* The network whose weights a source names. The caller frees. */
int kd_teach_load_member(kd_learner **out, const kd_run *run, const kd_teacher_source *source);

/* --- the store (teach_store.c) -------------------------------------------------------------- */

/* The hash of the class names in order, joined by newlines. */
int kd_teach_class_list(kd_hash *out, const kd_dataset *dataset);

/* Where the run's own store lies: in its folder or, shared, beside the runs, called by its origin.
 */
int kd_teach_path(const kd_run *run, char out[KD_PATH_MAX]);

/* Opens the store that the config names, if it names one, unless `like` (or NULL) has it open, and
 * checks that it fits the data, the loss and, in all that it states, this run: KD_EDATA,
 * KD_ECONFIG.
 */
int kd_teach_open_named(kd_run *run, const kd_run *like);
/* Says what such a store does not state, and what is taken on trust. */
void kd_teach_tell_unstated(const kd_run *run);

/* Compares the run's own store, where there is one, with what the run would make. */
int kd_teach_compare(const kd_run *run);

#endif
