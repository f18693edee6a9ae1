/* Files that another machine wrote and that show up here later. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "asserts.h"
#include "base/late_file.h"
#include "base/log.h"
#include "faults.c"
#include "test_data.h"

/* The file has another name until it has been looked for so often. */
static char hidden[KD_PATH_MAX], seen[KD_PATH_MAX];
static int looks, shows_up_at;

static void watch(const kd_fault_call *call) {
    if (call->kind != KD_FAULT_OPEN || !call->path || strcmp(call->path, seen) != 0) return;
    if (++looks == shows_up_at) assert_int_equal(rename(hidden, seen), 0);
}

static void prepare(test_folder *folder, int at) {
    test_copy(hidden, sizeof hidden, test_path(folder, "hidden"));
    test_copy(seen, sizeof seen, test_path(folder, "shard"));
    test_write(hidden, "x", 1);
    looks = 0;
    shows_up_at = at;
    kd_faults_watcher = watch;
}

static void a_late_file_is_waited_for(void **state) {
    for (int at = 1; at <= 4; at++) {
        prepare(*state, at);
        const double began = kd_clock();
        assert_ok(kd_file_await(seen, 60));
        assert_int_equal(looks, at);
        assert_true(kd_clock() - began >= 0.1 * (at - 1));
        kd_faults_watcher = NULL;
        assert_int_equal(remove(seen), 0);
    }
}

static void not_for_ever(void **state) {
    prepare(*state, 1000);
    assert_refused(kd_file_await(seen, 0.3), KD_EIO,
                   "shard: was written by another rank, but rank 0");
    assert_true(looks >= 2);
    kd_faults_watcher = NULL;
}

static void another_fault_is_told_at_once(void **state) {
    prepare(*state, 1000);
    kd_faults_arm(KD_FAULT_OPEN, 1, true);
    const int status = kd_file_await(seen, 60);
    assert_true(kd_faults_disarm());
    assert_refused(status, KD_EIO, "cannot open: Too many open files");
    assert_int_equal(looks, 1);
    kd_faults_watcher = NULL;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_late_file_is_waited_for, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(not_for_ever, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(another_fault_is_told_at_once, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
