/* quant/observer: ranges that can be counted by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "asserts.h"
#include "quant/observer.h"

enum { N = 1000 };

static kd_real range[KD_RANGE_SIZE];

static kd_observer *begin(kd_observer_kind kind, double percentile) {
    kd_observer *o;
    for (int i = 0; i < KD_RANGE_SIZE; i++) range[i] = 0;
    assert_ok(kd_observer_create(&o, kind, 0.9, percentile));
    return o;
}

static void finish(kd_observer *o, double min, double max) {
    kd_observer_finish(o, range, 8, false);
    if ((double)range[KD_RANGE_MIN] != min || (double)range[KD_RANGE_MAX] != max)
        fail_msg("%g … %g, not %g … %g", (double)range[KD_RANGE_MIN], (double)range[KD_RANGE_MAX],
                 min, max);
    kd_observer_free(o);
}

/* 1 … 1000 in an order of its own; bins are 2048/8192 wide. */
static void count_up(kd_real *x) {
    for (int i = 0; i < N; i++) x[i] = (kd_real)(1 + i * 7 % N);
}

static void percentiles_cut_off_what_they_say(void **state) {
    (void)state;
    kd_real x[N];
    count_up(x);
    kd_observer *o = begin(KD_OBSERVER_PERCENTILE, 99);
    kd_observer_watch(o, range, x, N);
    finish(o, 11, 990.25); /* ten values below 11, ten above 990 */
    o = begin(KD_OBSERVER_PERCENTILE, 99.95);
    kd_observer_watch(o, range, x, N);
    finish(o, 1, 1000); /* half a value may go: none does, and a bin's edge adds nothing */
    o = begin(KD_OBSERVER_PERCENTILE, 60);
    kd_observer_watch(o, range, x, N);
    finish(o, 401, 600.25);
    for (int i = 0; i < N; i++) x[i] = -x[i];
    o = begin(KD_OBSERVER_PERCENTILE, 99);
    kd_observer_watch(o, range, x, N);
    finish(o, -990, -10.75);
}

/* The histogram grows with what it sees: whatever comes first, the counts are the same. */
static void the_order_of_batches_does_not_matter(void **state) {
    (void)state;
    kd_real x[N];
    count_up(x);
    static const int cuts[] = {1, 3, 700};
    for (int c = 0; c < 3; c++) {
        kd_real small[N], large[N];
        int n = 0, m = 0;
        for (int i = 0; i < N; i++)
            if (x[i] <= (kd_real)cuts[c])
                small[n++] = x[i];
            else
                large[m++] = x[i];
        for (int order = 0; order < 2; order++) {
            kd_observer *o = begin(KD_OBSERVER_PERCENTILE, 99);
            kd_observer_watch(o, range, order ? large : small, order ? m : n);
            kd_observer_watch(o, range, order ? small : large, order ? n : m);
            assert_true(range[KD_RANGE_BATCHES] == 2);
            assert_true(range[KD_RANGE_MIN] == 1 && range[KD_RANGE_MAX] == N);
            finish(o, 11, 990.25);
        }
    }
}

static void extremes_are_kept(void **state) {
    (void)state;
    kd_observer *o = begin(KD_OBSERVER_MINMAX, 100);
    kd_observer_watch(o, range, (const kd_real[]){3, 5, 4}, 3);
    assert_true(range[KD_RANGE_MIN] == 3 && range[KD_RANGE_MAX] == 5); /* not 0 … 5 */
    kd_observer_watch(o, range, (const kd_real[]){4, (kd_real)NAN, 8}, 3);
    kd_observer_watch(o, range, (const kd_real[]){1, (kd_real)INFINITY}, 2); /* passed over */
    kd_observer_watch(o, range, (const kd_real[]){-2, 2}, 2);
    assert_true(range[KD_RANGE_BATCHES] == 3);
    finish(o, -2, 8);
    double min, max;
    kd_extrema((const kd_real[]){(kd_real)NAN, (kd_real)NAN}, 2, &min, &max);
    assert_true(min == 0 && max == 0);
}

/* An observer that has finished begins anew. */
static void nothing_is_left_over(void **state) {
    (void)state;
    kd_real x[N];
    kd_observer *o = begin(KD_OBSERVER_PERCENTILE, 99);
    kd_observer_watch(o, range, (const kd_real[]){-5000, 5000}, 2);
    kd_observer_finish(o, range, 8, false);
    for (int i = 0; i < KD_RANGE_SIZE; i++) range[i] = 0;
    count_up(x);
    kd_observer_watch(o, range, x, N);
    finish(o, 11, 990.25);
    o = begin(KD_OBSERVER_PERCENTILE, 99); /* nothing was watched: nothing changes */
    range[KD_RANGE_MIN] = -1;
    finish(o, -1, 0);
}

/* Many values on a coarse grid and few far out: the range whose rounding costs least, of the
 * hundredths of the whole, tried one by one on the values themselves. */
static void the_cheapest_range_is_found(void **state) {
    (void)state;
    enum { BITS = 3, STEPS = (1 << BITS) - 1 };
    kd_real x[N];
    for (int i = 0; i < N; i++) x[i] = (kd_real)(i * 13 % 701) / 700;
    x[17] = 2;
    x[23] = (kd_real)1.9;
    double best = INFINITY, best_max = 0;
    for (int part = 21; part <= 100; part++) {
        const double max = 2 * part / 100.0, step = max / STEPS;
        double cost = 0;
        for (int i = 0; i < N; i++) {
            const double code = fmin(STEPS, rint((double)x[i] / step));
            cost += ((double)x[i] - step * code) * ((double)x[i] - step * code);
        }
        if (cost < best) {
            best = cost;
            best_max = max;
        }
    }
    kd_observer *o = begin(KD_OBSERVER_MSE, 100);
    kd_observer_watch(o, range, x, N);
    kd_observer_finish(o, range, BITS, false);
    assert_true(best_max < 1.5);
    assert_true(range[KD_RANGE_MIN] == 0);
    assert_true(fabs((double)range[KD_RANGE_MAX] - best_max) < 0.021); /* bins blur a step */
    kd_observer_free(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_cut_off_what_they_say),
        cmocka_unit_test(the_order_of_batches_does_not_matter), cmocka_unit_test(extremes_are_kept),
        cmocka_unit_test(nothing_is_left_over), cmocka_unit_test(the_cheapest_range_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
