#include "cli/stage.h"

#include <signal.h>
#include <string.h>

#include "distill/trainer.h"

static void on_signal(int number) {
    (void)number;
    kd_train_request_stop();
}

void kd_stage_catch_signals(void) {
    static const int caught[] = {SIGINT, SIGTERM, SIGUSR1};
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = (int)(SA_RESTART | SA_RESETHAND)};
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++) sigaction(caught[i], &action, NULL);
}

int kd_stage_config(kd_config **out, kd_arguments *arguments) {
    const char *const *sets;
    int count = kd_arguments_all(arguments, "set", &sets);
    return kd_config_load(out, arguments->positional[0], count, sets);
}

int kd_stage_open(kd_stage *stage, kd_arguments *arguments, int (*check)(const kd_config *config)) {
    *stage = (kd_stage){0};
    int status = kd_stage_config(&stage->config, arguments);
    if (status == KD_OK && check) status = check(stage->config);
    if (status < 0) return status;
    const char *runs = kd_arguments_value(arguments, "runs");
    kd_stage_catch_signals();
    stage->open = true;
    return kd_run_open(&stage->run, stage->config, runs ? runs : "runs",
                       kd_arguments_has(arguments, "fresh"));
}

int kd_stage_speech_config(kd_speech_config **out, kd_arguments *arguments) {
    const char *const *sets;
    int count = kd_arguments_all(arguments, "set", &sets);
    return kd_speech_config_load(out, arguments->positional[0], count, sets);
}

int kd_stage_speech(kd_arguments *arguments, int (*stages)(kd_speech_run *run)) {
    const char *runs = kd_arguments_value(arguments, "runs");
    kd_speech_config *config;
    int status = kd_stage_speech_config(&config, arguments);
    if (status < 0) return status;
    kd_stage_catch_signals();
    kd_speech_run run;
    status = kd_speech_run_open(&run, config, runs ? runs : "runs",
                                kd_arguments_has(arguments, "fresh"));
    if (status == KD_OK) status = stages(&run);
    kd_speech_run_close(&run);
    kd_speech_config_free(config);
    return status;
}

void kd_stage_close(kd_stage *stage) {
    if (stage->open) kd_run_close(&stage->run);
    kd_config_free(stage->config);
}
