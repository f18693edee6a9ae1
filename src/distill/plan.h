/* What a plan of --dry-run adds up, and whether the machine holds it. */
#ifndef KD_DISTILL_PLAN_H
#define KD_DISTILL_PLAN_H

typedef struct {
    double seconds; /* of training                                     */
    double data;    /* bytes of memory that samples take               */
    double memory;  /* bytes of the stage that takes most besides      */
    double disk;    /* bytes                                           */
} kd_plan_needs;

/* The bytes of memory this process may use: the machine's, or the cgroup's when that is less. */
double kd_plan_memory_limit(void);

/* KD_ECONFIG when `bytes` are more than that; `share` of them are for `part`. */
int kd_plan_check_memory(const char *stage, double bytes, const char *part, double share,
                         const char *remedy);

/* The last line of a plan; KD_ECONFIG when memory, or the disk of the folder `runs`, do not hold so
 * many bytes. */
int kd_plan_conclude(const char *runs, const kd_plan_needs *needs);

#endif
