/* The batch script of `distill slurm`: sh, which reads as what it does and can be submitted as it
 * is. A start that was stopped in time (exit code 75), or that died, is queued again; one that
 * would end the same way again (bad command line, config or data) is not, nor one that has died
 * within five minutes five times in a row. */
#ifndef KD_CLI_SLURM_SCRIPT_H
#define KD_CLI_SLURM_SCRIPT_H

#include <stdint.h>

#include "base/text.h"

typedef struct {
    const char *program, *folder; /* absolute: distill, and where it is started             */
    const char *name;             /* of the run: letters, digits, '.', '_' and '-'           */
    const char *config, *runs;    /* runs: NULL for its default                              */
    int set_count;
    const char *const *set; /* KEY=VALUE                                               */
    int64_t nodes, ranks_per_node;
    int64_t threads;       /* of a rank; 0: whole nodes, their processors shared out  */
    const char *time;      /* of a start, as sbatch takes it                          */
    const char *partition; /* or NULL                                                 */
    const char *signal;    /* "USR1@120"                                              */
} kd_slurm_job;

/* The seconds of a time limit as sbatch takes it: minutes, minutes:seconds, hours:minutes:seconds,
 * days-hours, days-hours:minutes, days-hours:minutes:seconds. KD_EUSAGE for anything else. */
int kd_slurm_seconds(int64_t *out, const char *time);

/* KD_EUSAGE unless `signal` is NAME@SECONDS, NAME one of those that a run saves on: USR1, TERM,
 * INT; the seconds go to *out. */
int kd_slurm_check_signal(int64_t *out, const char *signal);

void kd_slurm_write_script(kd_text *out, const kd_slurm_job *job);

#endif
