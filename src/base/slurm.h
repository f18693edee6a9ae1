/* What Slurm says of the job this process is part of. */
#ifndef KD_BASE_SLURM_H
#define KD_BASE_SLURM_H

#include <stddef.h>

/* "Slurm job 12, start 4 (SLURM_RESTART_COUNT 3), 4 ranks on n[1-2]; the start before: killed by
 * signal 9, on n[1-2]", the end as the script of `distill slurm` put it into DISTILL_PREVIOUS_END;
 * "" outside of Slurm. */
void kd_slurm_describe(char *out, size_t capacity);

#endif
