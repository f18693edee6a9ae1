/* --dry-run of `distill sweep`. */
#ifndef KD_CLI_PLAN_SWEEP_H
#define KD_CLI_PLAN_SWEEP_H

#include "tasks/classify/sweep.h"

/* The runs of a sweep in <runs>/<name>, whether each is finished, and what the others will take. */
int kd_plan_print_sweep(const kd_sweep *sweep, const char *runs);

#endif
