/* What is foreseen of an update on several machines follows the formula of scaling.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "distill/scaling.h"

static const kd_update_costs COSTS = {.micro_batches = 16,
                                      .micro_seconds = 2,
                                      .update_seconds = 0.125,
                                      .bytes = 64 << 20,
                                      .updates = 10};

static void assert_near(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-9 * fabs(expected)))
        fail_msg("%.12g, not %.12g", found, expected);
}

static void one_machine_sends_nothing(void **state) {
    (void)state;
    const kd_update_forecast f = kd_scaling_forecast(&COSTS, 1, 25);
    assert_near(f.compute, 32.125);
    assert_near(f.network, 0);
    assert_near(f.sent, 0);
    assert_int_equal(f.idle, 0);
}

static void shares_of_a_power_of_two_are_one_block(void **state) {
    (void)state;
    const double bytes = 64 << 20;
    const kd_update_forecast f = kd_scaling_forecast(&COSTS, 8, 25);
    assert_near(f.compute, 2 * 2 + 0.125);
    assert_near(f.sent, 2 * bytes * 7 / 8);
    /* 64 MiB are 32 chunks of 8 times 256 KiB; 25 Gbit are 3.125 GB */
    assert_near(f.network, 2 * bytes * 7 / 8 / 3.125e9 + 2 * 7 * 32 * 30e-6);
    assert_near(kd_scaling_forecast(&COSTS, 8, 0).network, 0);
}

/* Of 3 ranks the second has the leaves 5 … 9: 5, 6 to 7, 8 to 9. */
static void uneven_shares_are_more_blocks(void **state) {
    (void)state;
    const kd_update_forecast f = kd_scaling_forecast(&COSTS, 3, 25);
    assert_near(f.compute, 6 * 2 + 0.125);
    assert_near(f.sent, 4 * (double)(64 << 20) * 2 / 3);
}

static void more_ranks_than_micro_batches_wait(void **state) {
    (void)state;
    const kd_update_forecast f = kd_scaling_forecast(&COSTS, 20, 25);
    assert_int_equal(f.idle, 4);
    assert_near(f.compute, 2.125);
}

static void assert_bends(const kd_update_costs *costs, double gigabits, const char *why) {
    kd_text text = {0};
    kd_scaling_write(&text, costs, gigabits);
    assert_false(text.failed);
    if (!strstr(text.text, why)) fail_msg("\"%s\"\nlacks \"%s\"", text.text, why);
    free(text.text);
}

static void the_bend_is_explained(void **state) {
    (void)state;
    kd_update_costs c = COSTS;
    assert_bends(&c, 25, "It bends at 32 machines: 16 of them have no micro-batch");
    c.micro_batches = 64;
    c.micro_seconds = 200;
    assert_bends(&c, 25, "It does not bend up to 64 machines");
    c.micro_seconds = 0.05;
    c.update_seconds = 0;
    assert_bends(&c, 1, "It bends at 2 machines: what is sent stays as much");
    c.micro_seconds = 2;
    c.update_seconds = 5;
    assert_bends(&c, 100, "It bends at 8 machines: each does the optimizer's whole step");
    c.micro_batches = 3;
    c.update_seconds = 0;
    assert_bends(&c, 100, "It bends at 2 machines: 3 micro-batches are not shared out evenly");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_machine_sends_nothing),
        cmocka_unit_test(shares_of_a_power_of_two_are_one_block),
        cmocka_unit_test(uneven_shares_are_more_blocks),
        cmocka_unit_test(more_ranks_than_micro_batches_wait),
        cmocka_unit_test(the_bend_is_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
