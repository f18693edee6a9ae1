#include "distill/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

double kd_plan_memory_limit(void) {
    double limit = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    static const char *const files[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (int i = 0; i < 2; i++) {
        char text[64] = "";
        FILE *file = fopen(files[i], "r");
        if (!file) continue;
        if (fgets(text, sizeof text, file)) {
            double bytes = strtod(text, NULL);
            if (bytes > 0 && bytes < limit) limit = bytes;
        }
        fclose(file);
    }
    return limit;
}

int kd_plan_check_memory(const char *stage, double bytes, const char *part, double share,
                         const char *remedy) {
    const double limit = kd_plan_memory_limit();
    if (bytes <= limit) return KD_OK;
    char needed[32], most[32], of_it[32];
    kd_format_bytes(needed, sizeof needed, bytes);
    kd_format_bytes(most, sizeof most, limit);
    kd_format_bytes(of_it, sizeof of_it, share);
    return kd_fail(KD_ECONFIG, "%s: needs at least %s of memory, %s of it for %s; there are %s; %s",
                   stage, needed, of_it, part, most, remedy);
}

int kd_plan_conclude(const char *runs, const kd_plan_needs *needs) {
    const double limit = kd_plan_memory_limit(), left = kd_file_free_bytes(runs);
    const double memory = needs->memory + needs->data, disk = needs->disk;
    char eta[32], used[32], most[32], needed[32], available[32];
    kd_format_duration(eta, sizeof eta, needs->seconds);
    kd_format_bytes(used, sizeof used, memory);
    kd_format_bytes(most, sizeof most, limit);
    kd_format_bytes(needed, sizeof needed, disk);
    kd_format_bytes(available, sizeof available, left);
    printf("training %s   memory %s of %s   disk %s of %s free\n", eta, used, most, needed,
           available);
    if (memory > limit)
        return kd_fail(KD_ECONFIG,
                       "the run needs about %s of memory, there are %s; lower "
                       "train.batch and raise train.accumulate",
                       used, most);
    if (disk > left)
        return kd_fail(KD_ECONFIG, "the run needs about %s on disk, %s are free", needed,
                       available);
    return KD_OK;
}
