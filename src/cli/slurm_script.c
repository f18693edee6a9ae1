#include "cli/slurm_script.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"

/* Digits up to `end`, which is moved behind; −1 when there are none, or too many. */
static int64_t number_at(const char **at) {
    int64_t value = 0;
    const char *begin = *at;
    while (isdigit((unsigned char)**at) && *at - begin < 9) value = 10 * value + (*(*at)++ - '0');
    return *at == begin || isdigit((unsigned char)**at) ? -1 : value;
}

int kd_slurm_seconds(int64_t *out, const char *time) {
    enum { FIELDS = 3, MINUTE = 60, HOUR = 3600, DAY = 86400 };
    /* What the fields count: without days by how many there are, behind days from hours on. */
    static const int64_t unit[FIELDS][FIELDS] = {{MINUTE}, {MINUTE, 1}, {HOUR, MINUTE, 1}};
    static const int64_t of_day[FIELDS] = {HOUR, MINUTE, 1};
    int64_t field[FIELDS], days = 0;
    int count = 0;
    const char *at = time, *dash = strchr(time, '-');
    if (dash) days = number_at(&at);
    bool good = !dash || (days >= 0 && at == dash);
    if (dash) at = dash + 1;
    while (good && count < FIELDS) {
        field[count] = number_at(&at);
        good = field[count++] >= 0;
        if (*at != ':') break;
        at++;
    }
    if (!good || *at)
        return kd_fail(KD_EUSAGE,
                       "distill slurm: --time %s: expected minutes, H:MM:SS, D-H, D-H:MM or "
                       "D-H:MM:SS",
                       time);
    *out = days * DAY;
    for (int i = 0; i < count; i++) *out += field[i] * (dash ? of_day : unit[count - 1])[i];
    return KD_OK;
}

int kd_slurm_check_signal(int64_t *out, const char *signal) {
    static const char *const names[] = {"USR1@", "TERM@", "INT@"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t length = strlen(names[i]);
        if (strncmp(signal, names[i], length) != 0) continue;
        const char *at = signal + length;
        *out = number_at(&at);
        if (*out > 0 && *out <= UINT16_MAX && !*at) return KD_OK;
    }
    return kd_fail(
        KD_EUSAGE,
        "distill slurm: --signal %s: expected USR1@SECONDS, TERM@SECONDS or INT@SECONDS, "
        "at most 65535 seconds before the limit",
        signal);
}

/* A word of sh. */
static void add_quoted(kd_text *out, const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./=+,:@%";
    if (*word && strspn(word, plain) == strlen(word)) {
        kd_text_add(out, "%s", word);
        return;
    }
    kd_text_add(out, "'");
    for (; *word; word++) kd_text_add(out, *word == '\'' ? "'\\''" : "%c", *word);
    kd_text_add(out, "'");
}

static void add_head(kd_text *out, const kd_slurm_job *job) {
    kd_text_add(
        out,
        "#!/bin/sh\n"
        "# %s: distill train by %" PRId64 " ranks on %" PRId64 " node%s. Written by "
        "`distill slurm`; submit it with sbatch.\n"
        "# Stopped before its time limit, preempted, or with a rank or a node that died, it is "
        "queued again and goes\n"
        "# on from the last checkpoint. docs/cluster.md tells more.\n"
        "#SBATCH --job-name=%s\n"
        "#SBATCH --nodes=%" PRId64 "\n"
        "#SBATCH --ntasks-per-node=%" PRId64 "\n",
        job->name, job->nodes * job->ranks_per_node, job->nodes, job->nodes > 1 ? "s" : "",
        job->name, job->nodes, job->ranks_per_node);
    if (job->threads > 0)
        kd_text_add(out, "#SBATCH --cpus-per-task=%" PRId64 "\n", job->threads);
    else
        kd_text_add(out, "#SBATCH --exclusive\n#SBATCH --mem=0\n");
    if (job->partition) kd_text_add(out, "#SBATCH --partition=%s\n", job->partition);
    kd_text_add(out,
                "#SBATCH --time=%s\n"
                "#SBATCH --signal=%s\n"
                "#SBATCH --requeue\n"
                "#SBATCH --open-mode=append\n"
                "#SBATCH --output=%s-%%j.out\n\n",
                job->time, job->signal, job->name);
}

static void add_environment(kd_text *out, const kd_slurm_job *job) {
    kd_text_add(out, "cd ");
    add_quoted(out, job->folder);
    kd_text_add(out, " || exit 66\n");
    if (job->threads > 0)
        kd_text_add(out, "threads=%" PRId64 " # of each rank\n", job->threads);
    else
        kd_text_add(out,
                    "threads=$((SLURM_CPUS_ON_NODE / %" PRId64
                    ")) # of each rank; --threads when a core shows as two processors\n",
                    job->ranks_per_node);
    kd_text_add(out,
                "\n# A rank's threads on neighbouring cores; what is temporary on the node's own "
                "disk; no locks of HDF5,\n"
                "# which some shared file systems refuse: every file has one writer.\n"
                "export OMP_NUM_THREADS=$threads OMP_PLACES=cores OMP_PROC_BIND=close\n"
                "export TMPDIR=\"${SLURM_TMPDIR:-${TMPDIR:-/tmp}}\"\n"
                "export HDF5_USE_FILE_LOCKING=FALSE\n");
}

/* What the start before this one left, for the log of the run; and what stands there when this one
 * cannot write any more. */
static void add_beginning(kd_text *out, const kd_slurm_job *job) {
    kd_text_add(
        out,
        "\n# How the last start ended stands in this file, behind how many in a row died soon, and "
        "how "
        "many in all.\n"
        "end=\"%s-$SLURM_JOB_ID.end\"\n"
        "soon=0 deaths=0 before=\n"
        "[ -f \"$end\" ] && read -r soon deaths before <\"$end\"\n"
        "export DISTILL_PREVIOUS_END=\"$before\"\n"
        "echo \"$soon $((deaths + 1)) ended without a word, on $SLURM_JOB_NODELIST\" >\"$end\"\n"
        "began=$(date +%%s)\n"
        "trap : TERM # the ranks get it, too, and save\n\n"
        "# A node that died keeps the sockets of its steps, and begins none of the same number "
        "again.\n"
        "for step in $(seq \"$deaths\"); do\n"
        "    srun --mpi=none --nodes=1 --ntasks=1 true 2>/dev/null\n"
        "done\n\n",
        job->name);
}

static void add_srun(kd_text *out, const kd_slurm_job *job) {
    kd_text_add(
        out,
        "# As many ranks as there are nodes for, also when `scontrol update` changed them.\n"
        "srun --mpi=pmix --kill-on-bad-exit=1 --ntasks=$((SLURM_JOB_NUM_NODES * %" PRId64 ")) \\\n"
        "    --cpus-per-task=$threads --cpu-bind=cores \\\n    ",
        job->ranks_per_node);
    add_quoted(out, job->program);
    kd_text_add(out, " train ");
    add_quoted(out, job->config);
    if (job->runs) {
        kd_text_add(out, " --runs ");
        add_quoted(out, job->runs);
    }
    for (int i = 0; i < job->set_count; i++) {
        kd_text_add(out, " \\\n    --set ");
        add_quoted(out, job->set[i]);
    }
    kd_text_add(out, "\ncode=$?\n");
}

static const char ENDING[] =
    "\ncase $code in\n"
    "0 | 64 | 65 | 66 | 78) # done, or it would end the same way again: the message stands above\n"
    "    rm -f \"$end\"\n"
    "    exit $code ;;\n"
    "75)\n"
    "    soon=0 how='stopped, exit code 75' ;;\n"
    "*)\n"
    "    how=\"exit code $code\" deaths=$((deaths + 1))\n"
    "    [ $code -eq 71 ] && how='a rank hung, and was named, exit code 71'\n"
    "    [ $code -gt 128 ] && how=\"killed by signal $((code - 128))\"\n"
    "    if [ $(($(date +%s) - began)) -lt 300 ]; then soon=$((soon + 1)); else soon=0; fi ;;\n"
    "esac\n"
    "echo \"$soon $deaths $how, on $SLURM_JOB_NODELIST\" >\"$end\"\n"
    "echo \"start $((${SLURM_RESTART_COUNT:-0} + 1)): $how\"\n\n"
    "case $(squeue -h -j \"$SLURM_JOB_ID\" -o '%T %r') in\n"
    "*TimeLimit*) ;;            # it came before the ranks were done: the job goes on\n"
    "COMPLETING*) exit $code ;; # cancelled, or queued again already\n"
    "esac\n"
    "if [ \"$soon\" -ge 5 ]; then\n"
    "    echo 'five starts in a row died within five minutes: this is the last' >&2\n"
    "    exit $code\n"
    "fi\n"
    "scontrol requeue \"$SLURM_JOB_ID\" || exit $code\n";

void kd_slurm_write_script(kd_text *out, const kd_slurm_job *job) {
    add_head(out, job);
    add_environment(out, job);
    add_beginning(out, job);
    add_srun(out, job);
    kd_text_add(out, "%s", ENDING);
}
