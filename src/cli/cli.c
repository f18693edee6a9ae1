#include "cli/cli.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/ranks.h"
#include "base/text.h"
#include "cli/environment.h"
#include "distill.h"

typedef struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} command;

/* In the order of use. */
static const command COMMANDS[] = {
    {"train", kd_cmd_train, "run the stages of a config that are missing, measure every model"},
    {"compress", kd_cmd_compress, "distil, then every number format: size, speed, quality"},
    {"sweep", kd_cmd_sweep, "run a config in variants over several seeds, one table of them all"},
    {"slurm", kd_cmd_slurm, "write a batch script that trains a config on several machines"},
    {"label", kd_cmd_label, "write down what the teacher hears in recordings"},
    {"teach", kd_cmd_teach, "write the teacher's soft targets to the store"},
    {"quantize", kd_cmd_quantize, "up to rounding and calibration alone (PTQ)"},
    {"export", kd_cmd_export, "up to training with rounded numbers (QAT), and its files"},
    {"eval", kd_cmd_eval, "measure one model on the test set, class by class"},
    {"run", kd_cmd_run, "say what an exported model sees in pictures or hears in sounds"},
    {"transcribe", kd_cmd_transcribe, "print what is said in sound files, with a Whisper model"},
    {"generate", kd_cmd_generate, "go on with a text, with a language model"},
    {"perplexity", kd_cmd_perplexity, "how well a language model foretells a text"},
    {"plan", kd_cmd_plan, "in how many bits a model fits on which device, how fast"},
    {"convert", kd_cmd_convert, "write a model in another format"},
    {"imatrix", kd_cmd_imatrix, "gather an importance matrix for convert"},
    {"inspect", kd_cmd_inspect, "print what is in a file"},
    {"verify", kd_cmd_verify, "check that files are whole"},
    {"bench", kd_cmd_bench, "matrix-product peak of this machine, and training's share of it"},
    {"selftest", kd_cmd_selftest, "check the distillation loss on this machine, in a moment"},
    {"schema", kd_cmd_schema, "print the JSON schema of configs, or the table of their keys"},
};
enum { COMMAND_COUNT = (int)(sizeof COMMANDS / sizeof *COMMANDS) };

static void print_overview(FILE *to) {
    fputs("usage: distill COMMAND [OPTION…] [ARGUMENT…]\n\n"
          "Trains a small network against a large teacher's soft targets, teaches it to live with\n"
          "low-precision numbers, and writes a quantized file.\n\n",
          to);
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-11s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    fputs("\nEach command explains itself: distill COMMAND --help\n"
          "example:\n  distill train configs/fashion_mnist.json\n",
          to);
}

static int unknown_command(const char *name) {
    kd_guess guess = kd_guess_begin(name);
    for (int i = 0; i < COMMAND_COUNT; i++) kd_guess_offer(&guess, COMMANDS[i].name);
    if (guess.best)
        return kd_fail(KD_EUSAGE, "there is no command '%s'; did you mean '%s'?", name, guess.best);
    return kd_fail(KD_EUSAGE, "there is no command '%s'; see distill --help", name);
}

/* What all ranks of a job work on together. */
static const char *const JOINT[] = {"train", "label", "teach", "quantize", "export", "bench"};

static int run_one(const command *c, int argc, char **argv) {
    bool joint = kd_rank_count() == 1;
    for (size_t i = 0; i < sizeof JOINT / sizeof *JOINT; i++)
        joint = joint || strcmp(c->name, JOINT[i]) == 0;
    if (joint) {
        const int status = kd_environment_agree();
        return status < 0 ? status : c->run(argc, argv);
    }
    return kd_ranks_worst(kd_fail(KD_EUSAGE, "distill %s is one process's work; this job has %d",
                                  c->name, kd_rank_count()));
}

static int dispatch(int argc, char **argv) {
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_overview(stdout);
        return KD_OK;
    }
    if (strcmp(name, "--version") == 0) {
        puts("distill " DISTILL_VERSION);
        return KD_OK;
    }
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(COMMANDS[i].name, name) == 0) return run_one(&COMMANDS[i], argc - 1, argv + 1);
    return unknown_command(name);
}

static int join_and_run(int argc, char **argv) {
    int status = kd_ranks_join();
    if (status == KD_OK) status = dispatch(argc, argv);
    if (status >= 0 && (fflush(stdout) != 0 || ferror(stdout)))
        status = kd_fail(KD_EIO, "writing to the standard output failed");
    return status;
}

/* Model files are mapped: their bytes are read when they are touched, outside any call that could
 * fail. */
static void on_bus_error(int number) {
    static const char text[] =
        "distill: a file that is read became shorter meanwhile, or its disk cannot be read\n";
    (void)number;
    const ssize_t told = write(STDERR_FILENO, text, sizeof text - 1);
    (void)told;
    _exit(-KD_EIO);
}

int kd_cli_main(int argc, char **argv) {
    signal(SIGBUS, on_bus_error);
    if (argc < 2) {
        print_overview(stderr);
        return -KD_EUSAGE;
    }
    const int status = join_and_run(argc, argv);
    if (status < 0 && kd_ranks_tells(status)) fprintf(stderr, "distill: %s\n", kd_error());
    kd_ranks_leave(status);
    return status < 0 ? -status : 0;
}
