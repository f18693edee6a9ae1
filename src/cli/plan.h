/* `distill train --dry-run`: what a run will need, before the night. */
#ifndef KD_CLI_PLAN_H
#define KD_CLI_PLAN_H

#include "cli/cli.h"

/* Prints parameters, memory against the machine's (or cgroup's) limit, disk, and an ETA from a few
 * measured updates. Refuses (KD_ECONFIG) what cannot fit. Writes nothing into the runs folder. */
int kd_plan_print(kd_arguments *arguments);

#endif
