/* What the commands that carry out stages of a run have in common. */
#ifndef KD_CLI_STAGE_H
#define KD_CLI_STAGE_H

#include "cli/cli.h"
#include "distill/task.h"

/* The options of every such command, for its table. */
#define KD_STAGE_OPTIONS                                                                           \
    {"set", "KEY=VALUE", "change one key of the config (train.epochs=3); may be repeated"},        \
        {"runs", "FOLDER", "where runs are kept (default: runs)"}, {                               \
        "fresh", NULL, "forget what earlier starts of this run left"                               \
    }

/* A config and the task it is of. */
typedef struct {
    const kd_task *task;
    void *config;
} kd_stage_config;

/* The config that `arguments` name, with what they set. The caller clears, also after an error. */
int kd_stage_config_load(kd_stage_config *out, kd_arguments *arguments);
void kd_stage_config_clear(kd_stage_config *config);

/* The folder of all runs: --runs, or "runs". */
const char *kd_stage_runs(const kd_arguments *arguments);

/* Reads the config that `arguments` name, opens its run and carries out a stage; ^C, SIGTERM and
 * SIGUSR1 then save and stop. */
int kd_stage_carry_out(kd_arguments *arguments, kd_stage_kind stage);

/* The same of a config in which `set` ("key=value"; NULL: nothing) is changed last, which must have
 * something to do for the stage `needs`, too. */
int kd_stage_carry_out_of(kd_arguments *arguments, kd_stage_kind stage, kd_stage_kind needs,
                          const char *set);

/* What a start would do, how long it takes and whether it fits; on machines of a network of so many
 * Gbit/s, too, where that is not 0. `set` as above. Changes nothing on disk. */
int kd_stage_plan(kd_arguments *arguments, double gigabits, const char *set);

/* From now on ^C, SIGTERM and SIGUSR1 save and stop; a second one of them ends the process. */
void kd_stage_catch_signals(void);

#endif
