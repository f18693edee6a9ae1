#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/slurm_script.h"
#include "cli/stage.h"

static const kd_option OPTIONS[] = {
    {"nodes", "N", "machines"},
    {"time", "T", "limit of one start, as sbatch takes it (8:00:00); the job goes on after it"},
    {"ranks-per-node", "R", "processes of each machine; one for each NUMA domain (default: 1)"},
    {"threads", "T", "cores of each rank (default: whole machines, shared out)"},
    {"partition", "P", "of the cluster"},
    {"signal", "SIG@SECONDS", "when to save and stop before the limit (default: USR1@120)"},
    {"output", "FILE", "write the script there (default: print it)"},
    {"set", "KEY=VALUE", "change one key of the config; may be repeated"},
    {"runs", "FOLDER", "where runs are kept, seen by all machines (default: runs)"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "slurm",
    .positional = "CONFIG",
    .least = 1,
    .most = 1,
    .summary =
        "Writes a batch script for Slurm that trains a config on several machines. Before the "
        "time\n"
        "limit, when it is preempted and after a death the job saves what it can, is queued again\n"
        "and goes on; it ends with the table and the files of one process. The script has the\n"
        "folder of this call and this program; both must be seen by all machines.",
    .options = OPTIONS,
    .example =
        "distill slurm configs/whisper_small.json --nodes 8 --time 8:00:00 --output night.sh\n"
        "sbatch night.sh"};

static int need(const kd_arguments *arguments, const char *name) {
    if (kd_arguments_value(arguments, name)) return KD_OK;
    return kd_fail(KD_EUSAGE, "distill slurm: --%s is missing; see distill slurm --help", name);
}

/* A word that stands in an #SBATCH line. */
static int check_word(const char *option, const char *word) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,+";
    if (!word || strspn(word, plain) == strlen(word)) return KD_OK;
    return kd_fail(KD_EUSAGE,
                   "distill slurm: --%s %s: expected letters, digits, '.', '_', '-', ','", option,
                   word);
}

static int read_numbers(kd_slurm_job *job, const kd_arguments *arguments) {
    enum { NODES_MAX = 100000, CORES_MAX = 4096 };
    int64_t limit, before;
    int status = need(arguments, "nodes");
    if (status == KD_OK) status = need(arguments, "time");
    if (status == KD_OK)
        status = kd_arguments_integer(&job->nodes, arguments, "nodes", 1, NODES_MAX, 1);
    if (status == KD_OK)
        status = kd_arguments_integer(&job->ranks_per_node, arguments, "ranks-per-node", 1,
                                      CORES_MAX, 1);
    if (status == KD_OK)
        status = kd_arguments_integer(&job->threads, arguments, "threads", 1, CORES_MAX, 0);
    if (status < 0) return status;
    job->time = kd_arguments_value(arguments, "time");
    job->partition = kd_arguments_value(arguments, "partition");
    job->signal = kd_arguments_value(arguments, "signal");
    if (!job->signal) job->signal = "USR1@120";
    status = check_word("partition", job->partition);
    if (status == KD_OK) status = kd_slurm_seconds(&limit, job->time);
    if (status == KD_OK) status = kd_slurm_check_signal(&before, job->signal);
    if (status < 0 || before < limit) return status;
    return kd_fail(KD_EUSAGE,
                   "distill slurm: with --time %s nothing is left before --signal %s stops it",
                   job->time, job->signal);
}

/* Refused are line ends: what is pasted here stands in a script. */
static int check_lines(const char *word) {
    if (!word || !strpbrk(word, "\n\r")) return KD_OK;
    return kd_fail(KD_EUSAGE, "distill slurm: a line break in '%s'", word);
}

/* Says so when ranks would have nothing to do. */
static void compare_with_training(const kd_slurm_job *job, const kd_train_spec *spec) {
    const int64_t ranks = job->nodes * job->ranks_per_node;
    if (spec->accumulate % ranks == 0) return;
    kd_warn("an update has %lld micro-batches of %lld (train.accumulate, train.batch) for %lld "
            "ranks%s: let train.accumulate be a multiple of the ranks, and train.batch smaller",
            (long long)spec->accumulate, (long long)spec->batch, (long long)ranks,
            spec->accumulate < ranks ? ", so that some train nothing" : "");
}

static int write_script(const kd_slurm_job *job, const char *path) {
    kd_text text = {0};
    kd_slurm_write_script(&text, job);
    int status = kd_text_finish(&text, "the script");
    if (status == KD_OK && !path) fputs(text.text, stdout);
    if (status == KD_OK && path) status = kd_file_replace(path, text.text, text.length);
    if (status == KD_OK && path && chmod(path, 0755) != 0)
        status = kd_fail(KD_EIO, "%s: cannot be made executable", path);
    if (status == KD_OK && path) kd_log("%s is written; submit it: sbatch %s", path, path);
    free(text.text);
    return status;
}

static int make(kd_slurm_job *job, kd_arguments *arguments, const kd_stage_config *config) {
    static char program[PATH_MAX], folder[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0 || !getcwd(folder, sizeof folder))
        return kd_fail(KD_EIO,
                       "distill slurm: cannot tell where this program is, or where it was called");
    program[length] = '\0';
    job->program = program;
    job->folder = folder;
    job->name = config->task->run_name(config->config);
    job->config = arguments->positional[0];
    job->runs = kd_arguments_value(arguments, "runs");
    job->set_count = kd_arguments_all(arguments, "set", &job->set);
    int status = config->task->check(config->config, KD_STAGE_ALL);
    const char *const words[] = {program, folder, job->config, job->runs};
    for (int i = 0; i < 4 && status == KD_OK; i++) status = check_lines(words[i]);
    for (int i = 0; i < job->set_count && status == KD_OK; i++) status = check_lines(job->set[i]);
    if (status < 0) return status;
    compare_with_training(job, config->task->training(config->config));
    return write_script(job, kd_arguments_value(arguments, "output"));
}

int kd_cmd_slurm(int argc, char **argv) {
    kd_arguments arguments;
    kd_slurm_job job = {0};
    kd_stage_config config = {0};
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    status = read_numbers(&job, &arguments);
    if (status == KD_OK) status = kd_stage_config_load(&config, &arguments);
    if (status == KD_OK) status = make(&job, &arguments, &config);
    kd_stage_config_clear(&config);
    return status;
}
