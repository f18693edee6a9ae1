#include "cli/stage.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/slurm.h"
#include "distill/trainer.h"
#include "tasks/registry.h"

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

/* The config of the task already found. */
static int load(kd_stage_config *c, kd_arguments *arguments, const char *last) {
    const char *const *sets;
    const int count = kd_arguments_all(arguments, "set", &sets);
    const char **all = malloc(((size_t)count + 1) * sizeof *all);
    if (!all) return kd_fail_memory((size_t)count * sizeof *all, "--set");
    for (int i = 0; i < count; i++) all[i] = sets[i];
    all[count] = last;
    const int status =
        c->task->load(&c->config, arguments->positional[0], count + (last != NULL), all);
    free(all);
    return status;
}

static int find_and_load(kd_stage_config *out, kd_arguments *arguments, const char *last) {
    *out = (kd_stage_config){0};
    int status = kd_task_of_config(&out->task, arguments->positional[0]);
    return status < 0 ? status : load(out, arguments, last);
}

int kd_stage_config_load(kd_stage_config *out, kd_arguments *arguments) {
    return find_and_load(out, arguments, NULL);
}

void kd_stage_config_clear(kd_stage_config *config) {
    if (config->config) config->task->free_config(config->config);
}

const char *kd_stage_runs(const kd_arguments *arguments) {
    const char *runs = kd_arguments_value(arguments, "runs");
    return runs ? runs : "runs";
}

static void tell_job(void) {
    char job[512];
    kd_slurm_describe(job, sizeof job);
    if (*job) kd_log("%s", job);
}

static int carry_out(const kd_stage_config *c, kd_arguments *arguments, kd_stage_kind stage,
                     kd_stage_kind needs) {
    void *run = NULL;
    const kd_task *task = c->task;
    int status = task->check(c->config, stage);
    if (status == KD_OK) status = task->check(c->config, needs);
    if (status < 0) return status;
    kd_stage_catch_signals();
    tell_job();
    status =
        task->open(&run, c->config, kd_stage_runs(arguments), kd_arguments_has(arguments, "fresh"));
    if (status == KD_OK) status = task->stage[stage](run);
    if (run) task->close(run);
    return status;
}

int kd_stage_carry_out(kd_arguments *arguments, kd_stage_kind stage) {
    return kd_stage_carry_out_of(arguments, stage, stage, NULL);
}

int kd_stage_carry_out_of(kd_arguments *arguments, kd_stage_kind stage, kd_stage_kind needs,
                          const char *set) {
    kd_stage_config config = {0};
    int status = kd_task_of_config(&config.task, arguments->positional[0]);
    if (status == KD_OK && !config.task->stage[stage])
        status =
            kd_fail(KD_EUSAGE, "%s: `distill %s` has nothing to do for a config of this kind (%s)",
                    arguments->positional[0], arguments->usage->command, config.task->kinds);
    if (status == KD_OK) status = load(&config, arguments, set);
    if (status == KD_OK) status = carry_out(&config, arguments, stage, needs);
    kd_stage_config_clear(&config);
    return status;
}

int kd_stage_plan(kd_arguments *arguments, double gigabits, const char *set) {
    kd_stage_config config;
    const kd_plan_request request = {kd_stage_runs(arguments), gigabits};
    kd_plan_count_ranks();
    int status = find_and_load(&config, arguments, set);
    if (status == KD_OK) status = config.task->plan(config.config, &request);
    kd_stage_config_clear(&config);
    return status;
}
