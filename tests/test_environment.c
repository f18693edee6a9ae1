/* What the environment asks for is refused before anything starts, or obeyed. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/isa.h"
#include "cli/environment.h"

/* The check's status with `name` set to `value` (NULL: unset), and nothing else of ours set. */
static int check(const char *name, const char *value) {
    static const char *const ours[] = {"DISTILL_ISA", "OMP_NUM_THREADS", "OMP_STACKSIZE",
                                       "GOMP_STACKSIZE"};
    for (int i = 0; i < 4; i++) unsetenv(ours[i]);
    if (value) setenv(name, value, 1);
    const int status = kd_environment_check();
    unsetenv(name);
    return status;
}

static void refused(const char *name, const char *value, const char *says) {
    if (check(name, value) != KD_EUSAGE) fail_msg("%s=%s was accepted", name, value);
    if (!strstr(kd_error(), says))
        fail_msg("%s=%s: \"%s\" lacks %s", name, value, kd_error(), says);
}

static void test_threads(void **state) {
    (void)state;
    static const char *const good[] = {"", " ", "1", " 3 ", "4,2", "1024", "1,1,1"};
    static const char *const bad[] = {"70000", "0",   "-3", "abc", "3x",
                                      "2,",    "2,0", ",2", "1.5", "99999999999999999999"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(check("OMP_NUM_THREADS", good[i]), KD_OK);
    assert_int_equal(check("OMP_NUM_THREADS", NULL), KD_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused("OMP_NUM_THREADS", bad[i], "a number of threads, 1 to");
}

static void test_stacks(void **state) {
    (void)state;
    static const char *const good[] = {"", "8M", "2m", "4096", " 1 g ", "2097152B"};
    static const char *const bad[] = {"100k", "0", "-1M", "x", "1M", "8MB", "1000000b"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(check("OMP_STACKSIZE", good[i]), KD_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refused("OMP_STACKSIZE", bad[i], "2M or more");
        refused("GOMP_STACKSIZE", bad[i], "2M or more");
    }
}

static void test_levels(void **state) {
    (void)state;
    refused("DISTILL_ISA", "foo", "no such level; this processor has portable");
    refused("DISTILL_ISA", "avx22", "did you mean avx2?");
    refused("DISTILL_ISA", "AVX-2", "no such level");
    for (kd_isa isa = 0; isa < KD_ISA_COUNT; isa++) {
        const char *name = kd_isa_name(isa);
        if (!kd_isa_has(isa))
            refused("DISTILL_ISA", name, "does not have it");
        else if (check("DISTILL_ISA", name) != KD_OK) /* made by `make ARCH=…` for one processor */
            assert_non_null(strstr(kd_error(), "nothing lower"));
        setenv("DISTILL_ISA", name, 1);
        assert_int_equal(kd_isa_allowed(), isa);
    }
    unsetenv("DISTILL_ISA");
    assert_int_equal(kd_isa_allowed(), KD_ISA_COUNT - 1);
    assert_true(kd_isa_may_use(KD_ISA_PORTABLE));
}

/* What OpenMP says it read from the environment, and what settling leaves there, in a process of
 * its own: this program, started with `before` in front. */
static void settle(const char *before, char *out, size_t capacity) {
    char path[256], command[512];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(length > 0);
    path[length] = 0;
    snprintf(command, sizeof command,
             "env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT OMP_DISPLAY_ENV=verbose %s %s settle 2>&1",
             before, path);
    FILE *child = popen(command, "r");
    assert_non_null(child);
    out[fread(out, 1, capacity - 1, child)] = 0;
    assert_int_equal(pclose(child), 0);
}

/* Threads that wait soon sleep, unless the user says how they wait; children inherit nothing. */
static void test_waiting(void **state) {
    (void)state;
    static const char read[] = "GOMP_SPINCOUNT = '3000'";
    char text[16384];
    settle("", text, sizeof text);
    assert_non_null(strstr(text, read));
    assert_non_null(strstr(text, "left (none)"));
    settle("OMP_WAIT_POLICY=active", text, sizeof text);
    assert_null(strstr(text, read));
    assert_non_null(strstr(text, "left (none)"));
    settle("GOMP_SPINCOUNT=77", text, sizeof text);
    assert_null(strstr(text, read));
    assert_non_null(strstr(text, "left 77"));
}

/* Of two OpenMP runtimes each would start threads of its own. clang's has the entrances of gcc's,
 * which OpenBLAS calls, and must be the first that the linker finds. */
static void test_one_openmp(void **state) {
    (void)state;
    static const char *const entrance[] = {"omp_get_max_threads", "GOMP_parallel"};
    Dl_info owner[2];
    for (int i = 0; i < 2; i++) {
        void *address = dlsym(RTLD_DEFAULT, entrance[i]);
        assert_non_null(address);
        assert_true(dladdr(address, &owner[i]) != 0);
    }
    assert_string_equal(owner[0].dli_fname, owner[1].dli_fname);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "settle") == 0) {
        kd_environment_settle(argv);
        const char *left = getenv("GOMP_SPINCOUNT");
        return printf("left %s\n", left ? left : "(none)") < 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),    cmocka_unit_test(test_stacks),
        cmocka_unit_test(test_levels),     cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_one_openmp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
