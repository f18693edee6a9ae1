/* What a plan of --dry-run adds up, and whether the machine holds it. */
#ifndef KD_DISTILL_PLAN_H
#define KD_DISTILL_PLAN_H

#include "distill/scaling.h"

/* What --dry-run was asked for. */
typedef struct {
    const char *runs; /* the folder of all runs                                            */
    double gigabits;  /* a second out of a machine, for a table of machines; 0: no table    */
} kd_plan_request;

typedef struct {
    double seconds;         /* of training                                     */
    double data;            /* bytes of memory that samples take               */
    double memory;          /* bytes of the stage that takes most besides      */
    double disk;            /* bytes                                           */
    kd_update_costs update; /* of the student's training               */
} kd_plan_needs;

/* The bytes of memory this process may use: the machine's, or the cgroup's when that is less,
 * divided by the ranks on the machine. */
double kd_plan_memory_limit(void);

/* Ranks of this job on this machine, this one among them. All ranks ask once, before the limit. */
void kd_plan_count_ranks(void);

/* KD_ECONFIG when `bytes` are more than that; `share` of them are for `part`. */
int kd_plan_check_memory(const char *stage, double bytes, const char *part, double share,
                         const char *remedy);

/* The last lines of a plan; KD_ECONFIG when memory, or the disk of the folder of the runs, do not
 * hold so many bytes. */
int kd_plan_conclude(const kd_plan_request *request, const kd_plan_needs *needs);

#endif
