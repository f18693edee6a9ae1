/* `distill slurm`: what is refused, and what its script does when a start ends in each way; Slurm's
 * commands are stood in for by small scripts. tests/cluster/ does the same with a real Slurm. */
#include "test_data.h"

#include <sys/wait.h>

#include "asserts.h"
#include "base/slurm.h"
#include "cli/slurm_script.h"
#include "run_cli.h"

static const char CONFIG[] =
    "{\"data\": {\"kind\": \"idx\", \"folder\": \"d\", \"classes\": [\"a\", \"b\"]},\n"
    " \"model\": {\"type\": \"mlp\", \"hidden\": [4]},\n"
    " \"train\": {\"epochs\": 1, \"batch\": 8, \"accumulate\": 4}}";

static void times_are_read(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } good[] = {{"30", 1800},    {"1:30", 90},        {"8:00:00", 28800},
                {"2-0", 172800}, {"1-12:30", 131400}, {"0-1:2:3", 3723},
                {"0", 0}};
    static const char *const bad[] = {"",   "8h",    "1:2:3:4",    "-3", "1-",
                                      "1:", "1-2-3", "9999999999", "1 "};
    int64_t seconds;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_ok(kd_slurm_seconds(&seconds, good[i].text));
        assert_int_equal(seconds, good[i].seconds);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(kd_slurm_seconds(&seconds, bad[i]), KD_EUSAGE, "expected minutes");
}

#define NIGHT "--nodes", "2", "--time", "8:00:00"

static void bad_calls_are_refused(void **state) {
    test_folder *folder = *state;
    char config[KD_PATH_MAX];
    test_copy(config, sizeof config, test_path(folder, "c.json"));
    test_write(config, CONFIG, strlen(CONFIG));
    assert_int_equal(DISTILL("slurm", config, "--time", "8:00"), 64);
    assert_says(complained, "--nodes is missing");
    assert_int_equal(DISTILL("slurm", config, "--nodes", "2"), 64);
    assert_says(complained, "--time is missing");
    assert_int_equal(DISTILL("slurm", config, NIGHT, "--ranks-per-node", "0"), 64);
    assert_int_equal(DISTILL("slurm", config, NIGHT, "--partition", "a b"), 64);
    assert_int_equal(DISTILL("slurm", config, NIGHT, "--signal", "HUP@60"), 64);
    assert_int_equal(DISTILL("slurm", config, NIGHT, "--signal", "USR1@0"), 64);
    assert_int_equal(DISTILL("slurm", config, "--nodes", "2", "--time", "2"), 64);
    assert_says(complained, "nothing is left before --signal USR1@120");
    assert_int_equal(DISTILL("slurm", config, NIGHT, "--set", "train.epochs=0"), 78);
    assert_int_equal(DISTILL("slurm", config, NIGHT, "--runs", "a\nb"), 64);
    assert_int_equal(DISTILL("slurm", config, NIGHT, "--ranks-per-node", "3"), 0);
    assert_says(complained,
                "an update has 4 micro-batches of 8 (train.accumulate, train.batch) for "
                "6 ranks, so that some train nothing");
    assert_int_equal(DISTILL("slurm", config, NIGHT), 0);
    assert_string_equal(complained, "");
    assert_says(printed, "#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=1\n#SBATCH --exclusive\n");
    assert_says(printed, "#SBATCH --time=8:00:00\n#SBATCH --signal=USR1@120\n#SBATCH --requeue\n"
                         "#SBATCH --open-mode=append\n");
}

static void write_program(test_folder *folder, const char *name, const char *text) {
    char path[KD_PATH_MAX];
    test_copy(path, sizeof path, test_path(folder, name));
    test_write(path, text, strlen(text));
    assert_int_equal(chmod(path, 0755), 0);
}

/* Starts the script with srun ending with `code` while the job is in `job_state`; → its exit code.
 */
static int start(test_folder *folder, int code, const char *job_state) {
    char command[3 * KD_PATH_MAX];
    snprintf(command, sizeof command,
             "cd %s && PATH=%s:$PATH CODE=%d STATE='%s' SLURM_JOB_ID=7 SLURM_JOB_NODELIST=n1 "
             "SLURM_CPUS_ON_NODE=6 SLURM_JOB_NUM_NODES=3 sh ./night.sh >said 2>&1",
             folder->path, folder->path, code, job_state);
    const int status = system(command);
    return WEXITSTATUS(status);
}

static void assert_file_says(test_folder *folder, const char *name, const char *part) {
    char *text;
    size_t length;
    assert_ok(kd_file_read(&text, &length, test_path(folder, name), 1 << 16));
    assert_says(text, part);
    free(text);
}

/* The script in the test's folder, and what stands in for Slurm: srun notes its words and what it
 * was told of the start before, scontrol that the job was queued again. */
static void prepare(test_folder *folder) {
    char *here = getcwd(NULL, 0);
    write_program(folder, "srun",
                  "#!/bin/sh\nprintf '%s|' \"$@\" >words\n"
                  "echo \"$DISTILL_PREVIOUS_END\" >before\nexit $CODE\n");
    write_program(folder, "squeue", "#!/bin/sh\necho \"$STATE\"\n");
    write_program(folder, "scontrol", "#!/bin/sh\necho \"$@\" >>queued\n");
    assert_int_equal(chdir(folder->path), 0);
    test_write("c.json", CONFIG, strlen(CONFIG));
    assert_int_equal(DISTILL("slurm", "c.json", NIGHT, "--ranks-per-node", "2", "--runs",
                             "my run's", "--set", "name=the_run", "--output", "night.sh"),
                     0);
    assert_int_equal(chdir(here), 0);
    free(here);
}

static bool queued(test_folder *folder) {
    return remove(test_path(folder, "queued")) == 0;
}

static void a_script_goes_on_or_ends(void **state) {
    static const struct {
        int code;
        const char *job;
        int ends_with;
        bool queued;
        const char *end; /* NULL: no file */
    } cases[] = {
        {75, "RUNNING None", 0, true, "0 0 stopped, exit code 75, on n1"},
        {137, "RUNNING None", 0, true, "1 1 killed by signal 9, on n1"},
        {74, "RUNNING None", 0, true, "2 2 exit code 74, on n1"},
        {71, "RUNNING None", 0, true, "3 3 a rank hung, and was named, exit code 71, on n1"},
        {75, "COMPLETING None", 75, false, "0 3 stopped"}, /* scancel, scontrol requeue */
        {143, "COMPLETING TimeLimit", 0, true, "1 4 killed by signal 15"},
        {65, "RUNNING None", 65, false, NULL},
        {78, "RUNNING None", 78, false, NULL},
        {0, "RUNNING None", 0, false, NULL},
    };
    test_folder *folder = *state;
    prepare(folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int code = start(folder, cases[i].code, cases[i].job);
        if (code != cases[i].ends_with || queued(folder) != cases[i].queued)
            fail_msg("case %zu: exit code %d", i, code);
        if (cases[i].end)
            assert_file_says(folder, "the_run-7.end", cases[i].end);
        else
            assert_false(kd_file_exists(test_path(folder, "the_run-7.end")));
        if (i > 0 && cases[i - 1].end)
            assert_file_says(folder, "before", cases[i - 1].end + strlen("0 0 "));
    }
    assert_file_says(
        folder, "words",
        "--mpi=pmix|--kill-on-bad-exit=1|--ntasks=6|--cpus-per-task=3|--cpu-bind=cores|");
    assert_file_says(folder, "words", "|train|c.json|--runs|my run's|--set|name=the_run|");
}

static void five_deaths_soon_after_a_start_are_enough(void **state) {
    test_folder *folder = *state;
    prepare(folder);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(start(folder, 74, "RUNNING None"), 0);
        assert_true(queued(folder));
    }
    assert_int_equal(start(folder, 74, "RUNNING None"), 74);
    assert_false(queued(folder));
    assert_file_says(folder, "said", "five starts in a row died within five minutes");
}

static void a_job_is_described(void **state) {
    (void)state;
    char text[256];
    kd_slurm_describe(text, sizeof text);
    assert_string_equal(text, "");
    setenv("SLURM_JOB_ID", "12", 1);
    setenv("SLURM_JOB_NODELIST", "n[1-2]", 1);
    kd_slurm_describe(text, sizeof text);
    assert_string_equal(text, "Slurm job 12, start 1 (SLURM_RESTART_COUNT 0), 1 rank on n[1-2]");
    setenv("SLURM_RESTART_COUNT", "3", 1);
    setenv("DISTILL_PREVIOUS_END", "killed by signal 9, on n[1-2]", 1);
    kd_slurm_describe(text, sizeof text);
    assert_string_equal(
        text, "Slurm job 12, start 4 (SLURM_RESTART_COUNT 3), 1 rank on n[1-2]; the start "
              "before: killed by signal 9, on n[1-2]");
}

int main(void) {
    static const char *const slurm[] = {"SLURM_JOB_ID", "SLURM_JOB_NODELIST", "SLURM_RESTART_COUNT",
                                        "DISTILL_PREVIOUS_END"};
    for (size_t i = 0; i < sizeof slurm / sizeof *slurm; i++) unsetenv(slurm[i]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read),
        cmocka_unit_test_setup_teardown(bad_calls_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(a_script_goes_on_or_ends, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(five_deaths_soon_after_a_start_are_enough, test_setup,
                                        test_teardown),
        cmocka_unit_test(a_job_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
