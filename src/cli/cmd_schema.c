#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"
#include "config/schema.h"
#include "distill/sweep.h"
#include "tasks/registry.h"

static const kd_option OPTIONS[] = {
    {"markdown", NULL, "tables for people, as in docs/configuration.md"},
    {"task", "NAME", "of configs of another task: classify (default), speech, language, encoder"},
    {"sweep", NULL, "of the files of distill sweep instead"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "schema",
    .positional = "",
    .summary = "Prints what a config may say: the JSON schema that editors complete and check by.",
    .options = OPTIONS,
    .example = "distill schema > configs/schema.json\n"
               "distill schema --task speech > configs/speech.schema.json\n"
               "distill schema --sweep > configs/sweep.schema.json"};

/* The keys of the task called `name`, NULL: the first one's. */
static int find_table(const kd_config_table **out, const char *name) {
    *out = kd_task_at(0)->keys;
    if (!name) return KD_OK;
    kd_guess guess = kd_guess_begin(name);
    for (int i = 0; kd_task_at(i); i++) {
        *out = kd_task_at(i)->keys;
        if (strcmp(kd_task_at(i)->name, name) == 0) return KD_OK;
        kd_guess_offer(&guess, kd_task_at(i)->name);
    }
    if (guess.best) return kd_fail(KD_EUSAGE, "--task %s: did you mean %s?", name, guess.best);
    return kd_fail(KD_EUSAGE, "--task %s: there is no such task", name);
}

/* The keys of a sweep's file, whose variants change keys of configs of all tasks. */
static const kd_config_table *sweep_table(void) {
    enum { TASKS_MAX = 64 };
    static const kd_config_table *configs[TASKS_MAX];
    int n = 0;
    for (; n < TASKS_MAX && kd_task_at(n); n++) configs[n] = kd_task_at(n)->keys;
    return kd_sweep_keys(configs, n);
}

int kd_cmd_schema(int argc, char **argv) {
    kd_arguments arguments;
    const kd_config_table *table;
    kd_text text = {0};
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    status = find_table(&table, kd_arguments_value(&arguments, "task"));
    if (status < 0) return status;
    if (kd_arguments_has(&arguments, "sweep")) table = sweep_table();
    if (kd_arguments_has(&arguments, "markdown"))
        kd_config_add_markdown(&text, table);
    else
        kd_config_add_schema(&text, table);
    status = kd_text_finish(&text, "the schema");
    if (status == KD_OK) fputs(text.text, stdout);
    free(text.text);
    return status;
}
