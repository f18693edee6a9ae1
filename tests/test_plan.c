/* --dry-run: what a run will take is counted before it begins, and what the machine cannot hold is
 * refused with its size. The machine's memory and disk are whatever a test wants. */
#include "test_data.h"

#include <dlfcn.h>
#include <math.h>
#include <sys/statvfs.h>

#include "autograd/tensor.h"
#include "base/log.h"
#include "run_cli.h"

#include "agreement_set.h"

static double memory, disk; /* bytes of the machine; 0: what it has */

long sysconf(int name) {
    long (*next)(int) = (long (*)(int))(uintptr_t)dlsym(RTLD_NEXT, "sysconf");
    return name == _SC_PHYS_PAGES && memory > 0 ? (long)(memory / (double)next(_SC_PAGESIZE))
                                                : next(name);
}

int statvfs(const char *path, struct statvfs *out) {
    int (*next)(const char *, struct statvfs *) =
        (int (*)(const char *, struct statvfs *))(uintptr_t)dlsym(RTLD_NEXT, "statvfs");
    const int result = next(path, out);
    if (result == 0 && disk > 0) out->f_bavail = (fsblkcnt_t)(disk / (double)out->f_frsize);
    return result;
}

/* The bytes that stand behind `before` in what was printed. */
static double bytes_behind(const char *text, const char *before) {
    static const char *const unit[] = {" B", " kB", " MB", " GB", " TB"};
    const char *at = strstr(text, before);
    if (!at) fail_msg("\"%s\"\nlacks \"%s\"", text, before);
    char *end;
    const double number = strtod(at + strlen(before), &end);
    for (int u = 0; u < 5; u++)
        if (strncmp(end, unit[u], strlen(unit[u])) == 0) return number * pow(1000, u);
    fail_msg("\"%s\": no size behind \"%s\"", text, before);
    return 0;
}

static int plan(test_folder *folder, const char *config, double machine_memory,
                double machine_disk) {
    memory = machine_memory, disk = machine_disk;
    const int code = train_dry(folder, config);
    memory = disk = 0;
    return code;
}

#define WIDE "\"model\": {\"type\": \"mlp\", \"hidden\": [1000]}"
enum { PARAMETERS = 64 * 1000 + 1000 + 1000 * 4 + 4, TRAINING = 400, TESTING = 120, BATCH = 32 };

/* Bytes of one copy of the parameters: each tensor begins on a 64-byte boundary. */
static double slab(void) {
    static const int size[] = {64 * 1000, 1000, 1000 * 4, 4};
    double bytes = 0;
    for (int i = 0; i < 4; i++) bytes += 64 * ceil(size[i] * (double)sizeof(kd_real) / 64);
    return bytes;
}

/* `text` with the two sizes in it is said. */
static void assert_says_sizes(const char *said, const char *format, double a, double b) {
    char one[32], other[32], part[256];
    kd_format_bytes(one, sizeof one, a);
    kd_format_bytes(other, sizeof other, b);
    snprintf(part, sizeof part, format, one, other);
    assert_says(said, part);
}

static void stages_are_counted(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "teacher", ABCD,
              MLP("16") ", \"train\": {\"epochs\": 1, \"batch\": 100, \"learning_rate\": 0.01}");
    write_run(folder, "pupil", ABCD ", \"validation\": 50",
              WIDE
              ", \"teacher\": {\"config\": \"teacher.json\", \"targets\": {\"kind\": \"topk\","
              " \"k\": 2}},\n \"quantize\": [{\"name\": \"a\"}, {\"name\": \"b\", \"qat\":"
              " {\"epochs\": 2}}],\n \"baseline\": true,\n \"train\": {\"epochs\": 3, \"batch\": 32,"
              " \"accumulate\": 3, \"learning_rate\": 0.01}");
    if (plan(folder, "pupil.json", 0, 0) != 0) fail_msg("%s", complained);
    assert_says(printed, "teacher: 400 training samples of 8x8x1, 4 classes\n"
                         "  train    1108 parameters, 0.00 M multiply-adds a sample; 4 updates of");
    assert_says(printed,
                "pupil: 350 training samples of 8x8x1, 4 classes\n"
                "  train    69004 parameters, 0.07 M multiply-adds a sample; 12 updates of");
    assert_says(printed,
                "\n  baseline 69004 parameters, 0.07 M multiply-adds a sample; 12 updates");
    assert_says(printed, "multiply-adds a sample; 8 updates of");
    /* Ids and values are 16 and 4 bytes, two kept logits in float16 and their classes 12, the
     * tail 4. */
    assert_says(printed, "  teach  350 rows of soft targets,");
    assert_int_equal(bytes_behind(printed, "soft targets, "), 350 * (16 + 2 * 6 + 4) / 100 * 100);
    assert_no_run(folder, "pupil");
    /* Two checkpoints of values and two moments each: the teacher's, three stages of the pupil's.
     */
    const double bytes = bytes_behind(printed, "   disk ");
    assert_true(bytes > 18 * slab() && bytes < 18.1 * slab() + 200e3);
}

static void machines_are_foreseen(void **state) {
    test_folder *folder = *state;
    char config[KD_PATH_MAX];
    write_sets(folder);
    write_run(folder, "wide", ABCD,
              WIDE ", \"train\": {\"epochs\": 1, \"batch\": 8, \"accumulate\": 4,"
                   " \"learning_rate\": 0.01}");
    test_copy(config, sizeof config, test_path(folder, "wide.json"));
    assert_int_equal(DISTILL("train", config, "--dry-run", "--network", "25"), 0);
    assert_says(printed, "\nmachines   micro-batches   compute");
    assert_says(printed, "\nIt bends at ");
    assert_int_equal(DISTILL("train", config, "--network", "25"), 64);
    assert_says(complained, "--network is for --dry-run");
}

static void samples_must_fit(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "wide", ABCD, WIDE ", " TRAIN_BRIEFLY);
    assert_int_equal(plan(folder, "wide.json", 32e3, 0), 78);
    assert_says(complained, "wide: needs at least 33.3 kB of memory, 33.3 kB of it for samples");
    assert_says(complained, "there are 28.7 kB; use fewer or smaller ones"); /* whole pages */
}

static void parameters_and_activations_must_fit(void **state) {
    test_folder *folder = *state;
    const double data = (TRAINING + TESTING) * 64.0, slabs = 4.0 * sizeof(kd_real) * PARAMETERS;
    write_sets(folder);
    write_run(folder, "wide", ABCD, WIDE ", " TRAIN_BRIEFLY);
    assert_int_equal(plan(folder, "wide.json", data + slabs - 5000, 0), 78);
    assert_says_sizes(complained, "train: needs at least %s of memory, %s of it for parameters",
                      data + slabs, slabs);
    assert_says(complained, "make the model smaller");
    /* Four batches ahead; of a batch the input, a hidden layer and what comes out are kept. */
    const double kept = BATCH * sizeof(kd_real) * (64.0 + 1000 + 4);
    const double ahead = 4 * BATCH * 64 * sizeof(float);
    assert_int_equal(plan(folder, "wide.json", data + slabs + kept + ahead - 5000, 0), 78);
    assert_says(complained, "lower train.batch and raise train.accumulate");
    assert_true(fabs(bytes_behind(complained, "of memory, ") - kept - ahead) < 1000);
}

/* What a step of the whole batch takes is foreseen from steps of small ones: the size
 * that is refused is the size that would have been needed. */
static void a_step_is_foreseen(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "wide", ABCD,
              "\"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 8192, \"kernel\": 3}]}, "
              "\"train\": {\"epochs\": 1, "
              "\"batch\": 12, \"learning_rate\": 0.01}");
    assert_int_equal(plan(folder, "wide.json", 0, 0), 0);
    const double all = bytes_behind(printed, "   memory ");
    assert_true(all > 40e6 && all < 400e6);
    assert_int_equal(plan(folder, "wide.json", 0.8 * all, 0), 78);
    assert_says(complained, "train: needs at least");
    assert_says(complained, "a batch's activations");
    assert_true(fabs(bytes_behind(complained, "needs at least ") - all) < 0.2 * all);
}

static void the_disk_must_hold_it(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "wide", ABCD, WIDE ", " TRAIN_BRIEFLY);
    const double needed = 6 * slab();
    assert_int_equal(plan(folder, "wide.json", 0, needed - 100e3), 78);
    assert_says_sizes(complained, "the run needs about %s on disk, %s are free", needed,
                      needed - 100e3);
    assert_int_equal(plan(folder, "wide.json", 0, needed + 100e3), 0);
    assert_says_sizes(printed, "   disk %s of %s free", needed, needed + 100e3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stages_are_counted, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(machines_are_foreseen, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(samples_must_fit, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(parameters_and_activations_must_fit, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(a_step_is_foreseen, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(the_disk_must_hold_it, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
