/* The command line: the table of subcommands and how each reads its arguments.
 *
 * To add a command: write `int kd_cmd_NAME(int argc, char **argv)` in src/cli/cmd_NAME.c, declare
 * it below, add a row to the table in cli.c. The function returns KD_OK, a negative kd_status with
 * kd_error() set, or KD_HELP_SHOWN; main prints the message and turns the status into the exit
 * code. The shape of every command:
 *
 *     static const kd_option OPTIONS[] = {
 *         {"set", "KEY=VALUE", "change one key of the config; may be repeated"},
 *         {"dry-run", NULL, "say what would be done, and whether it fits"},
 *         {NULL, NULL, NULL}};
 *     static const kd_usage USAGE = {
 *         .command = "train", .positional = "CONFIG", .least = 1, .most = 1,
 *         .summary = "Runs the missing stages of a config in order.",
 *         .options = OPTIONS,
 *         .example = "distill train configs/fashion_mnist.json --set train.epochs=3"};
 *
 *     int kd_cmd_train(int argc, char **argv) {
 *         kd_arguments arguments;
 *         int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
 *         if (status != KD_OK) return status;
 *         const char *const *sets;
 *         int set_count = kd_arguments_all(&arguments, "set", &sets);
 *         bool dry = kd_arguments_has(&arguments, "dry-run");
 *         … arguments.positional[0] …
 */
#ifndef KD_CLI_CLI_H
#define KD_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { KD_HELP_SHOWN = 1, KD_OPTION_VALUES_MAX = 64 };

typedef struct {
    const char *name;     /* long name without the dashes; NULL ends a table            */
    const char *argument; /* what --help calls its value; NULL: a switch without one     */
    const char *help;     /* one line                                                    */
} kd_option;

typedef struct {
    const char *command;      /* "train"                                                 */
    const char *positional;   /* how --help shows the positional arguments: "CONFIG"     */
    int least, most;          /* how many of them; most −1: any number                   */
    const char *summary;      /* one or more sentences; lines are kept as written        */
    const kd_option *options; /* ends with a NULL name; --help is understood anyway      */
    const char *example;      /* one command line, or several separated by newlines      */
} kd_usage;

/* What was on the command line. Everything points into argv and the option table. */
typedef struct {
    const kd_usage *usage;
    int positional_count;
    char **positional;
    int option_count;
    const kd_option *option[KD_OPTION_VALUES_MAX];
    const char *value[KD_OPTION_VALUES_MAX];    /* of option[i]; NULL for a switch */
    const char *gathered[KD_OPTION_VALUES_MAX]; /* the last answer of kd_arguments_all */
} kd_arguments;

/* argv[0] is the command's own name. Understands "--name value", "--name=value", "--" and options
 * between positional arguments, which it moves to the front of argv. Returns KD_OK; KD_HELP_SHOWN
 * when --help was asked for and printed; KD_EUSAGE, with a suggestion when a name is nearly right.
 */
int kd_arguments_parse(kd_arguments *out, const kd_usage *usage, int argc, char **argv);

/* Calls `one` for each positional argument from `first` on. Of several files, one that fails is
 * named on the standard error and the next is taken; the error at the end has the code that all of
 * them have, or KD_EDATA. Without memory nothing goes on. */
int kd_arguments_each(const kd_arguments *arguments, int first,
                      int (*one)(void *context, char *path), void *context);

bool kd_arguments_has(const kd_arguments *arguments, const char *name);
/* The value given last, or NULL. */
const char *kd_arguments_value(const kd_arguments *arguments, const char *name);
/* How often `name` was given; *out are its values in order, valid until the next call. */
int kd_arguments_all(kd_arguments *arguments, const char *name, const char *const **out);
/* The value of `name` as a whole number in low … high, or `otherwise` when it was not given. */
int kd_arguments_integer(int64_t *out, const kd_arguments *arguments, const char *name, int64_t low,
                         int64_t high, int64_t otherwise);

/* All of `distill`: finds the subcommand, runs it, prints its error; returns the exit code. */
int kd_cli_main(int argc, char **argv);

int kd_cmd_bench(int argc, char **argv);
int kd_cmd_compress(int argc, char **argv);
int kd_cmd_convert(int argc, char **argv);
int kd_cmd_imatrix(int argc, char **argv);
int kd_cmd_eval(int argc, char **argv);
int kd_cmd_export(int argc, char **argv);
int kd_cmd_generate(int argc, char **argv);
int kd_cmd_label(int argc, char **argv);
int kd_cmd_perplexity(int argc, char **argv);
int kd_cmd_plan(int argc, char **argv);
int kd_cmd_quantize(int argc, char **argv);
int kd_cmd_teach(int argc, char **argv);
int kd_cmd_transcribe(int argc, char **argv);
int kd_cmd_train(int argc, char **argv);
int kd_cmd_inspect(int argc, char **argv);
int kd_cmd_run(int argc, char **argv);
int kd_cmd_schema(int argc, char **argv);
int kd_cmd_selftest(int argc, char **argv);
int kd_cmd_slurm(int argc, char **argv);
int kd_cmd_sweep(int argc, char **argv);
int kd_cmd_verify(int argc, char **argv);

#endif
