#include "base/log.h"
#include "cli/stage.h"
#include "distill/sweep.h"
#include "tasks/registry.h"

static const kd_option OPTIONS[] = {
    {"dry-run", NULL, "list the runs with what each still needs; train nothing"},
    {"runs", "FOLDER", "where runs are kept (default: runs)"},
    {"fresh", NULL, "forget what earlier starts of this sweep's runs left"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "sweep",
    .positional = "SWEEP",
    .least = 1,
    .most = 1,
    .summary =
        "Runs one base config in several variants, each over several seeds, and prints one\n"
        "table with means, standard deviations and 95 % intervals. Configs are of any task.\n"
        "SWEEP is a JSON file:\n\n"
        "  {\"base\": \"config.json\", \"seeds\": [1, 2, 3],\n"
        "   \"variants\": [{\"name\": \"student alone\", \"set\": {\"teacher\": null, \"loss\": "
        "null}},\n"
        "                {\"name\": \"distilled\"}],\n"
        "   \"grid\": {\"loss.temperature\": [1, 4, 16], \"loss.kl\": [0.5, 0.9]}}\n\n"
        "Results lie in runs/<sweep>: sweep.html, sweep.json, plots (SVG), and every run with\n"
        "its own report. An interrupted sweep goes on by itself.",
    .options = OPTIONS,
    .example = "distill sweep my_sweep.json --dry-run\n"
               "distill sweep my_sweep.json"};

int kd_cmd_sweep(int argc, char **argv) {
    kd_arguments arguments;
    kd_sweep *sweep;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    status = kd_sweep_load(&sweep, arguments.positional[0], kd_task_of_config);
    if (status < 0) return status;
    const char *runs = kd_stage_runs(&arguments);
    kd_stage_catch_signals();
    if (kd_arguments_has(&arguments, "dry-run"))
        status = kd_sweep_plan(sweep, runs);
    else
        status = kd_sweep_carry_out(sweep, runs, kd_arguments_has(&arguments, "fresh"));
    kd_sweep_free(sweep);
    return status;
}
