#include "distill/scaling.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/log.h"

static const double SEGMENT_BYTES = 256 * 1024, MESSAGE_SECONDS = 30e-6;
enum { MACHINES_MAX = 64 };
static const double BENT = 0.8; /* of the speed that so many machines could have */

/* Whole nodes of the tree in the leaves first … end − 1. */
static int blocks_of(int64_t first, int64_t end) {
    int count = 0;
    while (first < end) {
        int64_t size = 1;
        while (first % (2 * size) == 0 && first + 2 * size <= end) size *= 2;
        first += size;
        count++;
    }
    return count;
}

static int most_blocks(int64_t n, int64_t ranks) {
    int most = 0;
    for (int64_t r = 0; r < ranks; r++) {
        const int count = blocks_of(r * n / ranks, (r + 1) * n / ranks);
        if (count > most) most = count;
    }
    return most;
}

kd_update_forecast kd_scaling_forecast(const kd_update_costs *costs, int64_t ranks,
                                       double gigabits) {
    const int64_t n = costs->micro_batches, share = (n + ranks - 1) / ranks;
    const double others = (double)(ranks - 1), r = (double)ranks;
    kd_update_forecast f = {.idle = ranks > n ? ranks - n : 0};
    f.compute = (double)share * costs->micro_seconds + costs->update_seconds;
    f.sent = (double)(most_blocks(n, ranks) + 1) * costs->bytes * others / r;
    if (gigabits > 0 && ranks > 1)
        f.network = f.sent / (gigabits * 1e9 / 8) +
                    2 * others * ceil(costs->bytes / (r * SEGMENT_BYTES)) * MESSAGE_SECONDS;
    return f;
}

static void add_row(kd_text *rows, const kd_update_costs *costs, int64_t ranks, double gigabits,
                    double alone) {
    char eta[32], sent[32];
    const kd_update_forecast f = kd_scaling_forecast(costs, ranks, gigabits);
    const double seconds = f.compute + f.network;
    kd_format_duration(eta, sizeof eta, seconds * costs->updates);
    kd_format_bytes(sent, sizeof sent, f.sent);
    kd_text_add(rows, "%" PRId64 "\t%" PRId64 "\t%.3f s\t%s\t%.3f s\t%.3f s\t%.1f\t%.0f %%\t%s\n",
                ranks, (costs->micro_batches + ranks - 1) / ranks, f.compute, sent, f.network,
                seconds, alone / seconds, 100 * alone / seconds / (double)ranks, eta);
}

/* What holds back most at the first number of machines that falls behind. */
static void add_bend(kd_text *out, const kd_update_costs *costs, double gigabits, double alone) {
    for (int64_t ranks = 2; ranks <= MACHINES_MAX; ranks *= 2) {
        const kd_update_forecast f = kd_scaling_forecast(costs, ranks, gigabits);
        const double ideal = alone / (double)ranks;
        if (ideal / (f.compute + f.network) >= BENT) continue;
        const double uneven = f.compute - costs->update_seconds -
                              (double)costs->micro_batches * costs->micro_seconds / (double)ranks;
        if (f.idle > 0)
            kd_text_add(out,
                        "It bends at %" PRId64 " machines: %" PRId64
                        " of them have no micro-batch; train.accumulate %" PRId64
                        " and a smaller train.batch would give them one.\n",
                        ranks, f.idle, ranks);
        else if (uneven > f.network && uneven > costs->update_seconds)
            kd_text_add(out,
                        "It bends at %" PRId64 " machines: %" PRId64
                        " micro-batches are not shared out evenly.\n",
                        ranks, costs->micro_batches);
        else if (f.network > costs->update_seconds)
            kd_text_add(out,
                        "It bends at %" PRId64 " machines: what is sent stays as much while what "
                        "is computed shrinks.\n",
                        ranks);
        else
            kd_text_add(out,
                        "It bends at %" PRId64 " machines: each does the optimizer's whole step.\n",
                        ranks);
        return;
    }
    kd_text_add(out, "It does not bend up to %d machines.\n", MACHINES_MAX);
}

void kd_scaling_write(kd_text *out, const kd_update_costs *costs, double gigabits) {
    const kd_update_forecast one = kd_scaling_forecast(costs, 1, gigabits);
    kd_text rows = {0};
    kd_text_add(&rows,
                "machines\tmicro-batches\tcompute\tsent\tnetwork\tan update\ttimes as fast\tof "
                "the best\ttraining\n");
    for (int64_t ranks = 1; ranks <= MACHINES_MAX; ranks *= 2)
        add_row(&rows, costs, ranks, gigabits, one.compute);
    kd_text_add_rows(out, "rrrrrrrrr", &rows);
    add_bend(out, costs, gigabits, one.compute);
}
