/* distill/loss_parts: sums of exponentials that must not overflow. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "distill/loss_parts.h"

enum { K = 3 };

static void sums_do_not_overflow(void **state) {
    (void)state;
    static const double far[] = {0, 2000, -2000};
    for (int place = 0; place <= K; place++) /* the largest at every place; K: in the tail */
        for (int i = 0; i < 3; i++) {
            const double rate = 0.5;
            kd_real kept[K], tail = (kd_real)(far[i] + (place == K ? 1 : -2));
            double expected = exp((double)tail - far[i]);
            for (int j = 0; j < K; j++) {
                kept[j] = (kd_real)((far[i] + (j == place ? 1 : -3)) / rate);
                expected += exp((double)kept[j] * rate - far[i]);
            }
            const double found = kd_topk_log_sum(kept, K, tail, rate);
            assert_true(fabs(found - far[i] - log(expected)) < 1e-9);
        }
    /* Everything is kept: nothing is in the tail. One far above the others is all there is. */
    const kd_real one[] = {3000, -3000};
    assert_true(kd_topk_log_sum(one, 2, -(kd_real)INFINITY, 1) == 3000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_do_not_overflow)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
