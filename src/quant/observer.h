/* Observers: what range of values does an activation take?
 *
 * A range lives in three numbers of the parameter slab, {min, max, batches watched}, so that
 * checkpoints carry it. The two kinds that need more than a minimum and a maximum gather a
 * histogram beside it while they watch. Counts and extrema do not depend on the order of threads.
 */
#ifndef KD_QUANT_OBSERVER_H
#define KD_QUANT_OBSERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/real.h"

typedef enum {
    KD_OBSERVER_EMA,    /* average of the batches' minima and maxima, moving when they are many */
    KD_OBSERVER_MINMAX, /* smallest and largest ever seen                                 */
    KD_OBSERVER_PERCENTILE, /* all but (100 − p) % of the values, taken off each side that has any
                             */
    KD_OBSERVER_MSE         /* the part of min … max that rounds with the least squared error */
} kd_observer_kind;

/* The numbers of a range. */
enum { KD_RANGE_MIN, KD_RANGE_MAX, KD_RANGE_BATCHES, KD_RANGE_SIZE };

/* Takes in the extrema of the n-th batch, n from 1:
 *
 *   min ← (1 − w)·min + w·batch_min,   w = max(1/n, 1 − ema)
 *
 * the plain mean of the first 1/(1 − ema) batches, in which each counts alike, and a moving average
 * from there on. Extrema that are not finite are passed over. */
void kd_range_average(kd_real *range, double ema, double batch_min, double batch_max);

/* Minimum and maximum of x (size); NaN is passed over. Both 0 when nothing is left. */
void kd_extrema(const kd_real *x, int64_t size, double *min, double *max);

typedef struct kd_observer kd_observer;

/* `ema` is the weight of the old value; `percentile` in (50, 100]. The caller frees. */
int kd_observer_create(kd_observer **out, kd_observer_kind kind, double ema, double percentile);
void kd_observer_free(kd_observer *observer);

/* Watches one batch. Allocates nothing. */
void kd_observer_watch(kd_observer *observer, kd_real *range, const kd_real *x, int64_t size);

/* Turns what was watched into the range to use. `bits` and `symmetric` are those of the grid to
 * come, for KD_OBSERVER_MSE. The histogram starts anew. */
void kd_observer_finish(kd_observer *observer, kd_real *range, int bits, bool symmetric);

#endif
