#include "distill/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/ranks.h"

static int ranks_here = 1;

void kd_plan_count_ranks(void) {
    enum { NAME = 256 };
    const int ranks = kd_rank_count();
    const char *node = getenv("SLURMD_NODENAME");
    char own[NAME] = "", *all = malloc((size_t)ranks * NAME);
    size_t *length = malloc((size_t)ranks * sizeof *length);
    if (node)
        snprintf(own, sizeof own, "%s", node);
    else
        gethostname(own, sizeof own - 1);
    const bool complete = !kd_ranks_any(!all || !length);
    if (complete) {
        for (int r = 0; r < ranks; r++) length[r] = NAME;
        kd_ranks_gather(all, own, length);
        ranks_here = 0;
        for (int r = 0; r < ranks; r++) ranks_here += strcmp(all + r * NAME, own) == 0;
    }
    free(all);
    free(length);
}

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
    return limit / ranks_here;
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

/* What several ranks share, and what a network makes of it. */
static int print_ranks(const kd_plan_request *request, const kd_plan_needs *needs, double memory) {
    char sent[32], node[32];
    const kd_update_costs *update = &needs->update;
    const int ranks = kd_rank_count();
    if (ranks > 1) {
        const kd_update_forecast f = kd_scaling_forecast(update, ranks, 0);
        kd_format_bytes(sent, sizeof sent, f.sent);
        kd_format_bytes(node, sizeof node, memory * ranks_here);
        printf("%d ranks, %d of them on this machine, of whose memory they take %s; each computes "
               "%lld "
               "of an update's %lld micro-batches and sends %s\n",
               ranks, ranks_here, node, (long long)((update->micro_batches + ranks - 1) / ranks),
               (long long)update->micro_batches, sent);
        if (f.idle > 0)
            kd_warn(
                "%lld of %d ranks have no micro-batch to compute: raise train.accumulate, and make "
                "train.batch smaller",
                (long long)f.idle, ranks);
    }
    if (request->gigabits <= 0) return KD_OK;
    kd_text text = {0};
    kd_scaling_write(&text, update, request->gigabits);
    int status = kd_text_finish(&text, "the table of machines");
    if (status == KD_OK) fputs(text.text, stdout);
    free(text.text);
    return status;
}

int kd_plan_conclude(const kd_plan_request *request, const kd_plan_needs *needs) {
    const double limit = kd_plan_memory_limit(), left = kd_file_free_bytes(request->runs);
    const double memory = needs->memory + needs->data, disk = needs->disk;
    char eta[32], used[32], most[32], needed[32], available[32];
    kd_format_duration(eta, sizeof eta, needs->seconds);
    kd_format_bytes(used, sizeof used, memory);
    kd_format_bytes(most, sizeof most, limit);
    kd_format_bytes(needed, sizeof needed, disk);
    kd_format_bytes(available, sizeof available, left);
    printf("training %s   memory %s of %s   disk %s of %s free\n", eta, used, most, needed,
           available);
    int status = print_ranks(request, needs, memory);
    if (status < 0) return status;
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
