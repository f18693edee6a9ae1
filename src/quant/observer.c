#include "quant/observer.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/op_common.h"
#include "base/error.h"
#include "quant/grid.h"

/* Bins of equal width over [−reach, reach), reach a power of two. When a value falls outside, reach
 * doubles and neighbours merge: the counts are what they would have been from the start. */
enum { BINS = 8192, REACH_LEAST = -60 };

/* Fractions of the range that KD_OBSERVER_MSE tries: 1, 99/100, … */
enum { MSE_STEPS = 80, MSE_PARTS = 100 };

struct kd_observer {
    kd_observer_kind kind;
    double ema, percentile;
    double reach; /* 0: nothing watched */
    int64_t count[BINS];
};

int kd_observer_create(kd_observer **out, kd_observer_kind kind, double ema, double percentile) {
    kd_observer *observer = calloc(1, sizeof *observer);
    if (!observer) return kd_fail_memory(sizeof *observer, "an observer");
    observer->kind = kind;
    observer->ema = ema;
    observer->percentile = percentile;
    *out = observer;
    return KD_OK;
}

void kd_observer_free(kd_observer *observer) {
    free(observer);
}

void kd_extrema(const kd_real *x, int64_t size, double *min, double *max) {
    kd_real low = (kd_real)INFINITY, high = -(kd_real)INFINITY;
#pragma omp parallel for simd reduction(min                                                        \
                                        : low) reduction(max                                       \
                                                         : high) if (size >= KD_PARALLEL_SIZE)
    for (int64_t i = 0; i < size; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *min = low <= high ? (double)low : 0;
    *max = low <= high ? (double)high : 0;
}

void kd_range_average(kd_real *range, double ema, double batch_min, double batch_max) {
    if (!isfinite(batch_min) || !isfinite(batch_max)) return;
    const double mean = 1 / ((double)range[KD_RANGE_BATCHES] + 1);
    const double take = mean > 1 - ema ? mean : 1 - ema, keep = 1 - take;
    range[KD_RANGE_MIN] = (kd_real)(keep * (double)range[KD_RANGE_MIN] + take * batch_min);
    range[KD_RANGE_MAX] = (kd_real)(keep * (double)range[KD_RANGE_MAX] + take * batch_max);
    range[KD_RANGE_BATCHES] += 1;
}

/* --- the histogram ---------------------------------------------------------------------------- */

static void double_reach(kd_observer *observer) {
    int64_t merged[BINS] = {0};
    for (int i = 0; i < BINS; i++) merged[BINS / 4 + i / 2] += observer->count[i];
    memcpy(observer->count, merged, sizeof merged);
    observer->reach *= 2;
}

static void count_values(kd_observer *observer, const kd_real *x, int64_t size, double largest) {
    if (observer->reach == 0) {
        int exponent;
        frexp(largest, &exponent);
        observer->reach = ldexp(1, exponent > REACH_LEAST ? exponent : REACH_LEAST);
    }
    while (largest >= observer->reach) double_reach(observer);
    const kd_real per_bin = (kd_real)(BINS / 2 / observer->reach);
    int64_t *count = observer->count;
#pragma omp parallel for reduction(+ : count[:BINS]) if (size >= KD_PARALLEL_SIZE)
    for (int64_t i = 0; i < size; i++) {
        kd_real place = x[i] * per_bin + BINS / 2;
        if (place >= 0 && place < BINS) count[(int)place]++;
    }
}

static double bin_low(const kd_observer *observer, int bin) {
    return (bin - BINS / 2) * observer->reach / (BINS / 2);
}

void kd_observer_watch(kd_observer *observer, kd_real *range, const kd_real *x, int64_t size) {
    double min, max;
    kd_extrema(x, size, &min, &max);
    if (observer->kind == KD_OBSERVER_EMA) {
        kd_range_average(range, observer->ema, min, max);
        return;
    }
    if (!isfinite(min) || !isfinite(max)) return;
    bool first = range[KD_RANGE_BATCHES] == 0;
    if (first || min < (double)range[KD_RANGE_MIN]) range[KD_RANGE_MIN] = (kd_real)min;
    if (first || max > (double)range[KD_RANGE_MAX]) range[KD_RANGE_MAX] = (kd_real)max;
    range[KD_RANGE_BATCHES] += 1;
    if (observer->kind != KD_OBSERVER_MINMAX)
        count_values(observer, x, size, -min > max ? -min : max);
}

/* Cuts the tails: below and above there may lie at most (100 − p) % of the values each. */
static void cut_tails(const kd_observer *observer, kd_real *range) {
    int64_t total = 0;
    for (int i = 0; i < BINS; i++) total += observer->count[i];
    const double allowed = (double)total * (100 - observer->percentile) / 100;
    int low = 0, high = BINS - 1;
    for (double below = 0; low < high; low++) {
        below += (double)observer->count[low];
        if (below > allowed) break;
    }
    for (double above = 0; high > low; high--) {
        above += (double)observer->count[high];
        if (above > allowed) break;
    }
    double min = bin_low(observer, low), max = bin_low(observer, high + 1);
    if (min > (double)range[KD_RANGE_MIN]) range[KD_RANGE_MIN] = (kd_real)min;
    if (max < (double)range[KD_RANGE_MAX]) range[KD_RANGE_MAX] = (kd_real)max;
}

/* Σ (x − rounded x)² with every value taken at the middle of its bin. */
static double squared_error(const kd_observer *observer, const kd_grid *grid) {
    const double half_bin = observer->reach / BINS;
    double sum = 0;
    for (int i = 0; i < BINS; i++) {
        if (observer->count[i] == 0) continue;
        double x = bin_low(observer, i) + half_bin;
        double error = x - (double)grid->scale * kd_grid_steps(grid, (float)x);
        sum += (double)observer->count[i] * error * error;
    }
    return sum;
}

static void shrink_range(const kd_observer *observer, kd_real *range, int bits, bool symmetric) {
    const double min = (double)range[KD_RANGE_MIN], max = (double)range[KD_RANGE_MAX];
    double best = INFINITY, best_part = 1;
    for (int step = 0; step < MSE_STEPS; step++) {
        double part = (double)(MSE_PARTS - step) / MSE_PARTS;
        kd_grid grid = kd_grid_from_range(part * min, part * max, bits, symmetric);
        double error = squared_error(observer, &grid);
        if (error < best) {
            best = error;
            best_part = part;
        }
    }
    range[KD_RANGE_MIN] = (kd_real)(best_part * min);
    range[KD_RANGE_MAX] = (kd_real)(best_part * max);
}

void kd_observer_finish(kd_observer *observer, kd_real *range, int bits, bool symmetric) {
    if (observer->reach > 0 && observer->kind == KD_OBSERVER_PERCENTILE) cut_tails(observer, range);
    if (observer->reach > 0 && observer->kind == KD_OBSERVER_MSE)
        shrink_range(observer, range, bits, symmetric);
    observer->reach = 0;
    memset(observer->count, 0, sizeof observer->count);
}
