/* The tape's pool of scratch: what is given back is taken again, the smallest that fits, and of a
 * block that is much too large the rest stays free. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "asserts.h"
#include "autograd/tape.h"

enum { HEAD = 64 }; /* in front of every block */

static kd_tape *tape;

static int begin(void **state) {
    (void)state;
    return kd_tape_create(&tape, 1);
}

static int end(void **state) {
    (void)state;
    kd_tape_free(tape);
    return 0;
}

static void the_smallest_that_fits_is_taken(void **state) {
    (void)state;
    void *small = kd_tape_take(tape, 512), *large = kd_tape_take(tape, 2048),
         *middle = kd_tape_take(tape, 1024);
    assert_true((uintptr_t)small % 64 == 0 && (uintptr_t)large % 64 == 0);
    kd_tape_give(tape, large);
    kd_tape_give(tape, small);
    kd_tape_give(tape, middle);
    assert_ptr_equal(kd_tape_take(tape, 1024), middle);
    kd_tape_give(tape, middle);
    assert_ptr_equal(kd_tape_take(tape, 513), middle);
    assert_ptr_equal(kd_tape_take(tape, 1025), large);
    assert_ptr_equal(kd_tape_take(tape, 512), small);
    void *more = kd_tape_take(tape, 512); /* nothing is free any more */
    assert_true(more != small && more != middle && more != large);
}

static void the_rest_of_a_block_stays_free(void **state) {
    (void)state;
    char *block = kd_tape_take(tape, 4096);
    kd_tape_give(tape, block);
    /* 100 bytes take 128; behind them stands the rest with its head. */
    assert_ptr_equal(kd_tape_take(tape, 100), block);
    assert_ptr_equal(kd_tape_take(tape, 4096 - 128 - HEAD), block + 128 + HEAD);
    /* Both can be had again. */
    kd_tape_give(tape, block);
    kd_tape_give(tape, block + 128 + HEAD);
    assert_ptr_equal(kd_tape_take(tape, 128), block);
    assert_ptr_equal(kd_tape_take(tape, 129), block + 128 + HEAD);
}

/* Cut where more than half would be wasted, heads counted. */
static void only_large_blocks_are_cut(void **state) {
    (void)state;
    char *block = kd_tape_take(tape, 4096);
    kd_tape_give(tape, block);
    assert_ptr_equal(kd_tape_take(tape, 2048 - 2 * HEAD), block);
    assert_true((char *)kd_tape_take(tape, 64) != block + 2048 - HEAD);
    kd_tape_give(tape, block);
    assert_ptr_equal(kd_tape_take(tape, 4096), block); /* it is still whole */
    kd_tape_give(tape, block);
    assert_ptr_equal(kd_tape_take(tape, 2048 - 2 * HEAD - 1), block);
    assert_ptr_equal(kd_tape_take(tape, 64), block + 2048 - 2 * HEAD + HEAD);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_smallest_that_fits_is_taken, begin, end),
        cmocka_unit_test_setup_teardown(the_rest_of_a_block_stays_free, begin, end),
        cmocka_unit_test_setup_teardown(only_large_blocks_are_cut, begin, end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
