/* The teacher's stage: networks trained or loaded, and their answers written to the store. */
#ifndef KD_DISTILL_TEACH_H
#define KD_DISTILL_TEACH_H

#include "distill/run.h"

/* Removes the run's own store, for --fresh. */
int kd_teach_remove(const kd_run *run);

#endif
