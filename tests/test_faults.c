/* Every call that can fail, failed: saving and loading checkpoints and stores while the n-th
 * allocation, write, fsync, rename … does not succeed, for every n until all went well.
 *
 * Whatever happens, nothing crashes, the status and message say what it was, the old file or the
 * new one is there whole, no temporary stays, and libhdf5 has nothing open.
 *
 * KD_FAULTS=all also fails each allocation of the shared libraries (minutes; make check).
 */
#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "asserts.h"
#include "base/error.h"
#include "base/file.h"
#include "data/h5.h"
#include "data/store.h"
#include "distill/checkpoint.h"
#include "faults.c"
#include "store_answers.h"

static char folder[64], path[128];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/kd-test-faults-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/it", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0 ? 0 : -1;
}

static void assert_nothing_left(void) {
    char pattern[128];
    glob_t found;
    for (int depth = 0; depth < 2; depth++) {
        snprintf(pattern, sizeof pattern, "%s/%s*.part", folder, depth ? "*/" : "");
        if (glob(pattern, 0, NULL, &found) == 0) fail_msg("%s was left", found.gl_pathv[0]);
        globfree(&found);
    }
    assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}

/* --- what is tried -------------------------------------------------------------------------- */

/* One operation: made ready, tried (the only part in which calls fail), then looked at. */
typedef struct {
    const char *name;
    void (*prepare)(void);
    int (*attempt)(void);
    void (*check)(int status);
} operation;

static int crashes;

static int64_t units = 20; /* of the layer that is saved */

static kd_params *make_params(uint64_t seed) {
    kd_params *params;
    assert_ok(kd_params_create(&params));
    kd_params_add(params, "weight", 2, (int64_t[]){units, 30}, KD_INIT_ZERO, 30, 20,
                  KD_PARAM_TRAINED);
    kd_params_add(params, "mean", 1, (int64_t[]){20}, KD_INIT_ONE, 1, 1, KD_PARAM_STATE);
    assert_ok(kd_params_layout(params, seed));
    kd_tensor *weight = &params->list[0]->tensor;
    for (int64_t i = 0; i < weight->size; i++)
        weight->value[i] = (kd_real)(i % 1000 + (int64_t)seed);
    return params;
}

static kd_params *first, *second, *loaded; /* of seeds 1, 2 and 3 */
static kd_real *moment;

static kd_checkpoint checkpoint_of(kd_params *params) {
    return (kd_checkpoint){.params = params,
                           .moment_count = 1,
                           .moment = {moment},
                           .config_json = "{}",
                           .stage = "train"};
}

static bool same(const kd_params *a, const kd_params *b) {
    return memcmp(a->value, b->value, (size_t)a->slab_size * sizeof *a->value) == 0;
}

static void make_all_params(void) {
    first = make_params(1);
    second = make_params(2);
    moment = calloc((size_t)first->trained_size, sizeof *moment);
    assert_non_null(moment);
}

static void free_all_params(void) {
    kd_params_free(first);
    kd_params_free(second);
    free(moment);
}

static void prepare_checkpoint(void) {
    kd_checkpoint old = checkpoint_of(first);
    assert_ok(kd_checkpoint_save(path, &old));
    loaded = make_params(3);
}

static int save_checkpoint(void) {
    kd_checkpoint new = checkpoint_of(second);
    return kd_checkpoint_save(path, &new);
}

static void check_saved(int status) {
    kd_checkpoint any = checkpoint_of(loaded);
    assert_ok(kd_checkpoint_load(path, &any));
    /* Only the last step, the fsync of the folder, can fail after the new file is in place. */
    if (status == KD_OK)
        assert_true(same(loaded, second));
    else
        assert_true(same(loaded, first) || same(loaded, second));
    kd_params_free(loaded);
}

static int load_checkpoint(void) {
    kd_checkpoint any = checkpoint_of(loaded);
    return kd_checkpoint_load(path, &any);
}

static void check_loaded(int status) {
    kd_params *untouched = make_params(3);
    assert_true(same(loaded, status == KD_OK ? first : untouched));
    kd_params_free(untouched);
    kd_params_free(loaded);
}

enum { STORE_ROWS = 40 };

static int write_store(void) {
    kd_store_header h = {.kind = KD_STORE_TOPK,
                         .dtype = KD_STORE_F16,
                         .classes = 5,
                         .k = 2,
                         .temperature_count = 1,
                         .temperature = {4},
                         .views = 1};
    kd_store_writer *w;
    int64_t done;
    int status = kd_store_writer_open(&w, path, &h, STORE_ROWS, &done);
    if (status < 0) return status;
    for (uint64_t id = (uint64_t)done; id < STORE_ROWS && status == KD_OK; id++) {
        float logits[5] = {0, 1, (float)id, 3, 4};
        status = append_answers(w, &h, 1, 0, &id, &(int32_t){0}, logits);
    }
    if (status == KD_OK) return kd_store_writer_close(w);
    kd_store_writer_abort(w);
    return status;
}

static int read_store(void) {
    kd_store *s;
    int status = kd_store_open(&s, path);
    if (status == KD_OK && kd_store_rows(s) != STORE_ROWS) status = KD_EDATA;
    if (status == KD_OK) kd_store_free(s);
    return status;
}

static void prepare_empty(void) {
    char shard[160];
    snprintf(shard, sizeof shard, "%s/shard-00000.h5", path);
    unlink(shard);
    rmdir(path);
    unlink(path);
}

/* What a failed run leaves is no obstacle to the next. */
static void check_store(int status) {
    if (status == KD_OK) assert_ok(read_store());
    assert_ok(write_store());
    assert_ok(read_store());
}

static void prepare_store(void) {
    assert_ok(write_store());
}

static void check_nothing(int status) {
    (void)status;
}

static const operation SAVE = {"save a checkpoint", prepare_checkpoint, save_checkpoint,
                               check_saved};
static const operation LOAD = {"load a checkpoint", prepare_checkpoint, load_checkpoint,
                               check_loaded};
static const operation WRITE = {"write a store", prepare_empty, write_store, check_store};
static const operation READ = {"read a store", prepare_store, read_store, check_nothing};

/* --- failing it ----------------------------------------------------------------------------- */

static int status_of(kd_fault_kind kind) {
    return kind <= KD_FAULT_ANY_MEMORY ? KD_EINTERNAL : KD_EIO;
}

/* One try with the n-th call failing; false when there was no n-th call any more. */
static bool fail_nth(const operation *op, kd_fault_kind kind, long n, bool forever) {
    op->prepare();
    kd_fail(KD_OK, "%s", "");
    kd_faults_arm(kind, n, forever);
    int status = op->attempt();
    bool fired = kd_faults_disarm();
    if (!fired || kind == KD_FAULT_SHORT) {
        if (status != KD_OK) fail_msg("%s: %s", op->name, kd_error());
    } else if (status != KD_OK && (status != status_of(kind) || !kd_error()[0])) {
        fail_msg("%s, %s %ld: status %d, '%s'", op->name, kd_fault_names[kind], n, status,
                 kd_error());
    }
    op->check(status);
    if (kind != KD_FAULT_UNLINK) assert_nothing_left();
    return fired;
}

/* Every call of every kind; which of them must have struck depends on what the operation does. */
static void fail_everything(const operation *op, int least_kinds) {
    int kinds = 0;
    make_all_params();
    for (kd_fault_kind kind = 0; kind < KD_FAULT_KINDS; kind++) {
        if (kind == KD_FAULT_ANY_MEMORY || kind == KD_FAULT_ROOM) continue;
        bool any = false;
        for (int forever = 0; forever < 2; forever++)
            for (long n = 1; fail_nth(op, kind, n, forever); n++) any = true;
        kinds += any;
    }
#ifdef __SANITIZE_ADDRESS__
    least_kinds--; /* memory */
#endif
    if (kinds < least_kinds) fail_msg("%s: only %d kinds of calls were made", op->name, kinds);
    free_all_params();
}

static void test_save(void **state) {
    (void)state;
    fail_everything(&SAVE, 8); /* all but reading and making folders … */
}

/* Large enough to grow in memory while it is written. */
static void test_save_large(void **state) {
    (void)state;
    units = 30000;
    make_all_params();
    for (int forever = 0; forever < 2; forever++)
        for (long n = 1; fail_nth(&SAVE, KD_FAULT_MEMORY, n, forever); n++) continue;
    free_all_params();
    units = 20;
}

static void test_load(void **state) {
    (void)state;
    fail_everything(&LOAD, 4); /* memory, open, read, close */
}

static void test_write_store(void **state) {
    (void)state;
    fail_everything(&WRITE, 9);
}

static void test_read_store(void **state) {
    (void)state;
    fail_everything(&READ, 4);
}

/* A shard of an earlier store that will not go is an obstacle, not something to write around. */
static void test_stubborn_shard(void **state) {
    (void)state;
    char shard[160];
    snprintf(shard, sizeof shard, "%s/shard-00007.h5", path);
    assert_ok(kd_file_make_folders(shard)); /* a folder cannot be unlinked */
    assert_refused(write_store(), KD_EIO, "shard-00007.h5: cannot remove");
}

/* --- a full disk ---------------------------------------------------------------------------- */

/* The file may grow to `limit` bytes only: the same for the program as a disk that fills up, but
 * in the middle of a write. */
static int with_limit(const operation *op, rlim_t limit) {
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){limit, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int status = op->attempt();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    return status;
}

static void test_full_disk(void **state) {
    (void)state;
    static const operation *const writers[] = {&SAVE, &WRITE};
    signal(SIGXFSZ, SIG_IGN);
    make_all_params();
    for (int i = 0; i < 2; i++) {
        rlim_t limit = 0;
        int status;
        do {
            writers[i]->prepare();
            status = with_limit(writers[i], limit);
            writers[i]->check(status);
            assert_true(status == KD_OK || status == KD_EIO);
            assert_nothing_left();
            limit += 509;
        } while (status != KD_OK);
        assert_true(limit > 4000);
    }
    free_all_params();
    signal(SIGXFSZ, SIG_DFL);
}

/* --- the memory of the libraries ---------------------------------------------------------------
 */

/* One try in a process of its own: whatever becomes of it, the file that was there stays whole.
 * True when a call failed. */
static bool fail_in_child(const operation *op, kd_fault_kind kind, long n, bool forever) {
    op->prepare();
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        kd_faults_tell_crashes();
        alarm(60);
        kd_faults_arm(kind, n, forever);
        int status = op->attempt();
        _exit((status < 0 ? 1 : 0) + (kd_faults_disarm() ? 2 : 0));
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    if (!WIFEXITED(result) ||
        (WEXITSTATUS(result) > 3 && WEXITSTATUS(result) != KD_FAULT_LIBRARY_CRASH))
        fail_msg("%s, %s %ld: ended with %#x", op->name, kd_fault_names[kind], n, result);
    bool crashed = WEXITSTATUS(result) == KD_FAULT_LIBRARY_CRASH;
    bool failed = crashed || WEXITSTATUS(result) & 1, fired = crashed || WEXITSTATUS(result) & 2;
    if (crashed && kind == KD_FAULT_ROOM) fail_msg("%s: crashed with %ld bytes", op->name, n);
    crashes += crashed;
    assert_true(fired || !failed);
    if (op == &LOAD || op == &READ) {
        int status = op->attempt();
        if (status != KD_OK) fail_msg("%s after %ld: %s", op->name, n, kd_error());
        op->check(status);
    } else
        op->check(failed ? KD_EINTERNAL : KD_OK);
    return fired;
}

static const operation *const ALL[] = {&SAVE, &LOAD, &WRITE, &READ};

static void skip_with_sanitizers(void) {
#ifdef __SANITIZE_ADDRESS__
    skip();
#endif
}

/* Memory that ends, as it does in the world: from then on nobody gets any. */
static void test_memory_ends(void **state) {
    (void)state;
    skip_with_sanitizers();
    const long step = thoroughly() ? 4 << 10 : 64 << 10;
    int tries = 0;
    make_all_params();
    for (int i = 0; i < 4; i++)
        for (long room = 0; fail_in_child(ALL[i], KD_FAULT_ROOM, room, true); room += step) tries++;
    print_message("memory ended in %d tries, no crash\n", tries);
    assert_true(tries > 4);
    free_all_params();
}

/* One allocation that fails in the middle of libhdf5, which itself crashes then in some places. */
static void test_library_memory(void **state) {
    (void)state;
    skip_with_sanitizers();
    if (!thoroughly()) skip();
    int tries = 0;
    make_all_params();
    for (int i = 0; i < 4; i++)
        for (int forever = 0; forever < 2; forever++)
            for (long n = 1; fail_in_child(ALL[i], KD_FAULT_ANY_MEMORY, n, forever); n++) tries++;
    print_message("libhdf5 crashed in %d of %d tries\n", crashes, tries);
    free_all_params();
}

int main(void) {
    backtrace((void *[1]){0}, 1); /* loads what it needs */
    H5Tclose(kd_h5_half());       /* so that what the library does once is not among the calls */
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
        TEST(test_save),        TEST(test_save_large),     TEST(test_load),
        TEST(test_write_store), TEST(test_read_store),     TEST(test_full_disk),
        TEST(test_memory_ends), TEST(test_library_memory), TEST(test_stubborn_shard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
