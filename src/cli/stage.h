/* What the commands that carry out stages of a run have in common. */
#ifndef KD_CLI_STAGE_H
#define KD_CLI_STAGE_H

#include "cli/cli.h"
#include "tasks/classify/run.h"
#include "tasks/speech/speech_run.h"

/* The options of every such command, for its table. */
#define KD_STAGE_OPTIONS                                                                           \
    {"set", "KEY=VALUE", "change one key of the config (train.epochs=3); may be repeated"},        \
        {"runs", "FOLDER", "where runs are kept (default: runs)"}, {                               \
        "fresh", NULL, "forget what earlier starts of this run left"                               \
    }

typedef struct {
    kd_config *config;
    kd_run run;
    bool open;
} kd_stage;

/* Reads the config, which `check` (or NULL) may refuse, and opens the run that `arguments` name;
 * ^C, SIGTERM and SIGUSR1 then save and stop. The caller closes with kd_stage_close, also after an
 * error. */
int kd_stage_open(kd_stage *stage, kd_arguments *arguments, int (*check)(const kd_config *config));
void kd_stage_close(kd_stage *stage);

/* The speech config alone. The caller frees. */
int kd_stage_speech_config(kd_speech_config **out, kd_arguments *arguments);

/* Opens the run of the speech config that `arguments` name and carries out stages of it; signals as
 * above. */
int kd_stage_speech(kd_arguments *arguments, int (*stages)(kd_speech_run *run));

/* From now on ^C, SIGTERM and SIGUSR1 save and stop; a second one of them ends the process. */
void kd_stage_catch_signals(void);

/* The config alone. The caller frees. */
int kd_stage_config(kd_config **out, kd_arguments *arguments);

#endif
