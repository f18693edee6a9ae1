#include "base/slurm.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/ranks.h"

static const char *variable(const char *name, const char *otherwise) {
    const char *text = getenv(name);
    return text && *text ? text : otherwise;
}

void kd_slurm_describe(char *out, size_t capacity) {
    const char *job = variable("SLURM_JOB_ID", NULL),
               *before = variable("DISTILL_PREVIOUS_END", "");
    const int restarts = atoi(variable("SLURM_RESTART_COUNT", "0")), ranks = kd_rank_count();
    *out = '\0';
    if (!job) return;
    snprintf(out, capacity, "Slurm job %s, start %d (SLURM_RESTART_COUNT %d), %d rank%s on %s%s%s",
             job, restarts + 1, restarts, ranks, ranks == 1 ? "" : "s",
             variable("SLURM_JOB_NODELIST", "an unknown node"),
             *before ? "; the start before: " : "", before);
}
