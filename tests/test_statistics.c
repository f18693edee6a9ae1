/* distill/statistics: what several seeds say, against tables and by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "distill/statistics.h"

/* The 97.5 % column of any table of Student's t. */
#define assert_near(x, y, tolerance) assert_true(fabs((x) - (y)) < (tolerance))

static void quantiles_are_the_tables(void **state) {
    (void)state;
    static const struct {
        int freedom;
        double t;
    } table[] = {{1, 12.7062},  {2, 4.30265},  {3, 3.18245},  {4, 2.77645},  {5, 2.57058},
                 {6, 2.44691},  {7, 2.36462},  {8, 2.30600},  {9, 2.26216},  {10, 2.22814},
                 {15, 2.13145}, {20, 2.08596}, {30, 2.04227}, {60, 2.00030}, {120, 1.97993}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_true(fabs(kd_student_quantile(table[i].freedom) - table[i].t) <
                    (i == 0 ? 1e-4 : 1e-5));
}

static void means_deviations_and_intervals(void **state) {
    (void)state;
    const double value[] = {4, NAN, 7, INFINITY, 13, -INFINITY};
    kd_statistics s = kd_statistics_of(6, value); /* of 4, 7, 13 */
    assert_int_equal(s.n, 3);
    assert_near(s.mean, 8, 1e-12);
    assert_near(s.deviation, sqrt(21), 1e-12); /* (16 + 1 + 25) / 2 */
    assert_near(s.reach, 4.30265 * sqrt(7), 1e-4);
    s = kd_statistics_of(2, value); /* of 4 alone */
    assert_true(s.n == 1 && s.mean == 4 && isnan(s.deviation) && isnan(s.reach));
    s = kd_statistics_of(1, value + 1);
    assert_true(s.n == 0 && isnan(s.mean) && isnan(s.deviation) && isnan(s.reach));
    s = kd_statistics_of(0, value);
    assert_true(s.n == 0 && isnan(s.mean));
    const double same[] = {0.1, 0.1, 0.1};
    s = kd_statistics_of(3, same);
    assert_true(s.n == 3 && fabs(s.mean - 0.1) < 1e-15 && s.deviation < 1e-15 && s.reach < 1e-15);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(quantiles_are_the_tables),
                                       cmocka_unit_test(means_deviations_and_intervals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
