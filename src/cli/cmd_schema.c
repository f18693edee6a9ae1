#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "config/schema.h"
#include "distill/sweep.h"
#include "tasks/speech/speech_config.h"

static const kd_option OPTIONS[] = {
    {"markdown", NULL, "tables for people, as in docs/configuration.md"},
    {"speech", NULL, "of configs whose model is \"whisper\" instead"},
    {"sweep", NULL, "of the files of distill sweep instead"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "schema",
    .positional = "",
    .summary = "Prints what a config may say: the JSON schema that editors complete and check by.",
    .options = OPTIONS,
    .example = "distill schema > configs/schema.json\n"
               "distill schema --speech > configs/speech.schema.json\n"
               "distill schema --sweep > configs/sweep.schema.json"};

int kd_cmd_schema(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    kd_text text = {0};
    const kd_config_table *table = kd_arguments_has(&arguments, "sweep")    ? &kd_sweep_root
                                   : kd_arguments_has(&arguments, "speech") ? &kd_speech_config_root
                                                                            : &kd_config_root;
    if (kd_arguments_has(&arguments, "markdown"))
        kd_config_add_markdown(&text, table);
    else
        kd_config_add_schema(&text, table);
    status = kd_text_finish(&text, "the schema");
    if (status == KD_OK) fputs(text.text, stdout);
    free(text.text);
    return status;
}
