/* The whole program while its surroundings fail: every stage of a small run, with the n-th call to
 * the C library failing, with memory that ends, and on a disk that is full.
 *
 * Whatever happens, nothing crashes, the exit code and a message say what it was, no temporary
 * stays, and the same command, given again, goes on to the same bytes as a run that nothing befell.
 * KD_FAULTS=all tries every call (an hour; make check), otherwise some of each kind are tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <omp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "asserts.h"
#include "cli/cli.h"
#include "tasks/classify/config.h"
#include "faults.c"
#include "test_data.h"
#include "tiny.h"

enum { TRAINING = 96, TESTING = 40, SECONDS_MAX = 120 };

/* Exit codes of the child beside the program's own, which end at 78. */
enum { NO_CHILD = 101, UNDISTURBED = 120 /* added when nothing failed */ };

static char root[] = "/tmp/distill-faults-XXXXXX";
static const char *const RESULTS[] = {"student.int8.ptq.gguf", "student.int8.gguf"};

/* --- a run ---------------------------------------------------------------------------------- */

#define DATA                                                                                       \
    "\"data\": {\"kind\": \"idx\", \"folder\": \".\", \"validation\": 32,"                         \
    " \"classes\": [\"a\", \"b\", \"c\", \"d\"]},\n"
#define TRAIN                                                                                      \
    "\"train\": {\"epochs\": 1, \"batch\": 32, \"optimizer\": \"adamw\", \"learning_rate\": 0.01," \
    " \"checkpoint_seconds\": 0}"

static void write_config(const char *name, const char *rest) {
    char text[2048], path[64];
    int n = snprintf(text, sizeof text, "{\"name\": \"%s\", %s%s}\n", name, DATA, rest);
    snprintf(path, sizeof path, "%s.json", name);
    test_write(path, text, (size_t)n);
}

static int setup(void **state) {
    (void)state;
    if (!mkdtemp(root) || chdir(root) != 0) return -1;
    kd_dataset d;
    tiny_dataset(&d, TRAINING + TESTING);
    tiny_write_idx(".", &d, 0, TRAINING, "train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    tiny_write_idx(".", &d, TRAINING, TESTING, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte");
    tiny_dataset_clear(&d);
    write_config("large", "\"model\": {\"type\": \"mlp\", \"hidden\": [10]}, " TRAIN);
    write_config("small", "\"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 4, \"kernel\": "
                          "3}, {\"max_pool\": 2}]}, \"teacher\": {\"config\": \"large.json\"},"
                          " \"loss\": {\"kl\": 0.8, \"hard\": 0.2}, " TRAIN
                          ", \"quantize\": {\"calibration_samples\": 32, \"qat\": {\"epochs\": 1, "
                          "\"learning_rate\": 0.001, \"checkpoint_seconds\": 0}}");
    /* Some megabytes of checkpoints, for the full disk. */
    write_config("vast", "\"model\": {\"type\": \"mlp\", \"hidden\": [300]}, " TRAIN
                         ", \"quantize\": {\"calibration_samples\": 32, \"qat\": {\"epochs\": 1, "
                         "\"learning_rate\": 0.001, \"checkpoint_seconds\": 0}}");
    backtrace((void *[1]){0}, 1); /* loads what it needs */
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return chdir("/") == 0 && nftw(root, test_remove, 16, FTW_DEPTH | FTW_PHYS) == 0 ? 0 : -1;
}

static void start_over(const char *runs) {
    if (nftw(runs, test_remove, 16, FTW_DEPTH | FTW_PHYS) != 0) assert_int_equal(errno, ENOENT);
}

/* --- one start of it ------------------------------------------------------------------------ */

typedef struct {
    kd_fault_kind kind;
    long n; /* 0: nothing fails */
    bool forever;
} fault;

/* The child: distill train CONFIG --runs RUNS, its messages into the file "messages". */
_Noreturn static void run_program(const char *config, const char *runs, fault f) {
    kd_faults_tell_crashes();
    char words[4][64] = {"distill", "train", "", "--runs"}, folder[64];
    snprintf(words[2], sizeof words[2], "%s", config);
    snprintf(folder, sizeof folder, "%s", runs);
    char *argv[] = {words[0], words[1], words[2], words[3], folder, NULL};
    if (!freopen("messages", "w", stderr) || !freopen("/dev/null", "w", stdout)) _exit(NO_CHILD);
    /* A thread that cannot be had is the end inside libgomp, and so is memory for its first team.
     */
    volatile int members = 0;
    omp_set_num_threads(1);
#pragma omp parallel
    members++;
    alarm(SECONDS_MAX);
    if (f.n) kd_faults_arm(f.kind, f.n, f.forever);
    int code = kd_cli_main(5, argv);
    bool fired = kd_faults_disarm();
    fflush(stderr);
    _exit(fired ? code : code + UNDISTURBED);
}

/* Its exit code, and whether something was made to fail. */
static int start(const char *config, const char *runs, fault f, bool *fired) {
    int result;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) run_program(config, runs, f);
    assert_int_equal(waitpid(child, &result, 0), child);
    if (!WIFEXITED(result))
        fail_msg("%s %ld%s: signal %d", f.n ? kd_fault_names[f.kind] : "nothing", f.n,
                 f.forever ? " forever" : "", WTERMSIG(result));
    int code = WEXITSTATUS(result);
    *fired = code < UNDISTURBED;
    return *fired ? code : code - UNDISTURBED;
}

static void assert_no_temporaries(const char *runs) {
    char pattern[128];
    glob_t found;
    for (int depth = 1; depth < 3; depth++) {
        snprintf(pattern, sizeof pattern, "%s/%s/*.part", runs, depth == 1 ? "*" : "*/*");
        if (glob(pattern, 0, NULL, &found) == 0) fail_msg("%s was left", found.gl_pathv[0]);
        globfree(&found);
    }
}

/* The same bytes as in the run that nothing befell. */
static void assert_same_results(const char *name, const char *runs) {
    for (size_t i = 0; i < sizeof RESULTS / sizeof *RESULTS; i++) {
        char path[2][128], *bytes[2];
        size_t length[2];
        for (int j = 0; j < 2; j++) {
            snprintf(path[j], sizeof path[j], "%s/%s/%s", j ? runs : "whole", name, RESULTS[i]);
            if (kd_file_read(&bytes[j], &length[j], path[j], 1 << 24) < 0)
                fail_msg("%s", kd_error());
        }
        if (length[0] != length[1] || memcmp(bytes[0], bytes[1], length[0]) != 0)
            fail_msg("%s differs", path[1]);
        free(bytes[0]);
        free(bytes[1]);
    }
}

static void run_undisturbed(const char *name) {
    char config[64], folder[80];
    bool fired;
    snprintf(config, sizeof config, "%s.json", name);
    snprintf(folder, sizeof folder, "whole/%s", name);
    if (kd_file_exists(folder)) return;
    assert_int_equal(start(config, "whole", (fault){0}, &fired), 0);
}

static size_t message_length(void) {
    char *text;
    size_t length;
    assert_int_equal(kd_file_read(&text, &length, "messages", 1 << 20), KD_OK);
    free(text);
    return length;
}

/* --- the n-th call fails -------------------------------------------------------------------- */

static int library_crashes;

/* One start with a fault and one without; false when there was no n-th call any more. */
static bool survive(fault f) {
    bool fired, again;
    start_over("runs");
    int code = start("small.json", "runs", f, &fired);
    const char *kind = kd_fault_names[f.kind];
    if (code == KD_FAULT_LIBRARY_CRASH && f.kind == KD_FAULT_ANY_MEMORY)
        library_crashes++;
    else if (code == 0)
        assert_same_results("small", "runs");
    else if (code != (f.kind <= KD_FAULT_ROOM ? 70 : 74))
        fail_msg("%s %ld%s: exit code %d", kind, f.n, f.forever ? " forever" : "", code);
    else if (!fired || message_length() == 0)
        fail_msg("%s %ld: exit code %d without a message", kind, f.n, code);
    if (f.kind != KD_FAULT_UNLINK && code != KD_FAULT_LIBRARY_CRASH) assert_no_temporaries("runs");
    if (code == 0) return fired;
    code = start("small.json", "runs", (fault){0}, &again);
    if (code != 0) fail_msg("%s %ld: exit code %d of the next start", kind, f.n, code);
    assert_same_results("small", "runs");
    return fired;
}

/* Every call of one kind once and for good, or a few of them by turns. */
static void survive_all(kd_fault_kind kind) {
    int tries = 0;
    bool reached = true;
    run_undisturbed("small");
    for (long n = 1; reached; n = thoroughly() ? n + 1 : 5 * n + 1) {
        bool forever = tries % 2;
        reached = survive((fault){kind, n, forever});
        tries += reached;
        if (reached && thoroughly()) {
            survive((fault){kind, n, !forever});
            tries++;
        }
    }
    print_message("%s: %d tries\n", kd_fault_names[kind], tries);
    assert_true(tries > 0);
}

static void each_call_to_the_disk_fails(void **state) {
    (void)state;
    for (kd_fault_kind kind = KD_FAULT_OPEN; kind < KD_FAULT_KINDS; kind++) survive_all(kind);
}

static void each_allocation_fails(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip();
#endif
    survive_all(KD_FAULT_MEMORY);
}

/* Whatever allocation fails, cJSON's included: the config as it is, or none. */
static void a_config_is_whole_or_refused(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip();
#endif
    kd_config *whole, *config;
    long n = 0;
    assert_int_equal(kd_config_load(&whole, "small.json", 0, NULL), KD_OK);
    for (bool fired = true; fired;) {
        kd_faults_arm(KD_FAULT_ANY_MEMORY, ++n, false);
        int status = kd_config_load(&config, "small.json", 0, NULL);
        fired = kd_faults_disarm();
        if (status == KD_OK)
            assert_string_equal(config->resolved, whole->resolved);
        else if (status != KD_EINTERNAL)
            fail_msg("allocation %ld: status %d: %s", n, status, kd_error());
        kd_config_free(config);
    }
    print_message("%ld allocations\n", n - 1);
    assert_true(n > 100);
    kd_config_free(whole);
}

static void memory_ends(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip();
#endif
    int tries = 0;
    run_undisturbed("small");
    for (long room = 0; survive((fault){KD_FAULT_ROOM, room + 1, true}); tries++)
        room += thoroughly() ? 64 << 10 : 4 << 20;
    print_message("memory ended in %d tries\n", tries);
    assert_true(tries > 0);
}

/* Also those of the shared libraries: cJSON, libhdf5, … */
static void each_allocation_of_anyone_fails(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip();
#endif
    if (!thoroughly()) skip();
    int tries = 0;
    run_undisturbed("small");
    for (long n = 1; survive((fault){KD_FAULT_ANY_MEMORY, n, false}); n += 1 + n / 100) tries++;
    print_message("any memory: %d tries, libhdf5 crashed in %d\n", tries, library_crashes);
}

/* --- a full disk ---------------------------------------------------------------------------- */

static bool write_small(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    bool done = fd >= 0 && write(fd, text, strlen(text)) > 0;
    if (fd >= 0) close(fd);
    return done;
}

/* A world of mounts of our own, in which "disk" is a file system of `bytes`. */
static bool mount_disk(long bytes) {
    char options[64], map[64];
    snprintf(options, sizeof options, "size=%ld", bytes);
    snprintf(map, sizeof map, "0 %d 1", (int)getuid());
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
        if (!write_small("/proc/self/setgroups", "deny") || !write_small("/proc/self/uid_map", map))
            return false;
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("distill-test", "disk", "tmpfs", 0, options) == 0;
}

enum { NO_MOUNT = 90 };

/* In a child with its own mounts: a run on a disk of `bytes`, and again when the disk has grown.
 * Exit code 0: the disk was large enough; 1: it was not and all went as it should. */
_Noreturn static void run_on_disk(long bytes) {
    bool fired;
    if (!mount_disk(bytes)) _exit(NO_MOUNT);
    int code = start("vast.json", "disk/runs", (fault){0}, &fired);
    if (code == 0) _exit(0);
    if (code != 74 || message_length() == 0) fail_msg("%ld bytes: exit code %d", bytes, code);
    assert_no_temporaries("disk/runs");
    assert_int_equal(mount(NULL, "disk", NULL, MS_REMOUNT, "size=64m"), 0);
    assert_int_equal(start("vast.json", "disk/runs", (fault){0}, &fired), 0);
    assert_same_results("vast", "disk/runs");
    _exit(1);
}

static void the_disk_is_full(void **state) {
    (void)state;
    int tries = 0, result = -1;
    run_undisturbed("vast");
    assert_int_equal(mkdir("disk", 0755), 0);
    for (long bytes = 64 << 10; result != 0; bytes += thoroughly() ? 64 << 10 : 1 << 20) {
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) run_on_disk(bytes);
        assert_int_equal(waitpid(child, &result, 0), child);
        if (WIFEXITED(result) && WEXITSTATUS(result) == NO_MOUNT) {
            print_message("SKIP no file system can be mounted here\n");
            skip();
        }
        assert_true(WIFEXITED(result) && WEXITSTATUS(result) <= 1);
        tries += result != 0;
    }
    print_message("the disk was full in %d tries\n", tries);
    assert_true(tries > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_to_the_disk_fails),     cmocka_unit_test(each_allocation_fails),
        cmocka_unit_test(a_config_is_whole_or_refused),    cmocka_unit_test(memory_ends),
        cmocka_unit_test(each_allocation_of_anyone_fails), cmocka_unit_test(the_disk_is_full),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
