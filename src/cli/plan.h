/* --dry-run of `distill train` and `distill sweep`: what a run will need, before the night. */
#ifndef KD_CLI_PLAN_H
#define KD_CLI_PLAN_H

#include "cli/cli.h"
#include "distill/sweep.h"

/* Prints parameters, memory against the machine's (or cgroup's) limit, disk, and an ETA from a few
 * measured updates. Refuses like kd_preflight (distill/preflight.h), and with KD_ECONFIG what
 * cannot fit, before it takes the memory. Writes nothing into the runs folder. */
int kd_plan_print(kd_arguments *arguments);

/* The same for a speech config. KD_ENOINPUT after saying which files are missing. */
int kd_plan_print_speech(kd_arguments *arguments);

/* What a plan adds up. */
typedef struct {
    double seconds; /* of training                                     */
    double data;    /* bytes of memory that samples take               */
    double memory;  /* bytes of the stage that takes most besides      */
    double disk;    /* bytes                                           */
} kd_plan_needs;

/* Bytes of memory this process may use: the machine's, or the cgroup's when those are fewer. */
double kd_plan_memory_limit(void);

/* KD_ECONFIG when `bytes` are more than that; `share` of them are for `part`. */
int kd_plan_check_memory(const char *stage, double bytes, const char *part, double share,
                         const char *remedy);

/* The last line of a plan; KD_ECONFIG when memory or disk do not hold so many bytes. */
int kd_plan_conclude(const char *runs, const kd_plan_needs *needs);

/* What the training stages of a config will take, its teachers' not counted, from a few measured
 * updates. Refuses like kd_preflight, and what cannot fit into memory before it takes it. */
int kd_plan_measure(kd_plan_needs *out, const kd_config *config);

/* The runs of a sweep in <runs>/<name>, whether each is finished, and what the others will take. */
int kd_plan_print_sweep(const kd_sweep *sweep, const char *runs);

#endif
