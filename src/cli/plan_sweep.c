#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/plan_sweep.h"
#include "tasks/classify/classify.h"
#include "tasks/classify/run.h"

enum { MEASURED_MAX = KD_SWEEP_VARIANTS_MAX, TEACHERS_MAX = 256 };

/* Times that were measured, by what they depend on; and the teachers that were counted. */
typedef struct {
    const kd_sweep *sweep;
    const char *folder;
    int measured;
    kd_hash of[MEASURED_MAX];
    kd_plan_needs needs[MEASURED_MAX];
    int teachers;
    char teacher[TEACHERS_MAX][64];
    kd_plan_needs total;
    kd_text rows;
} plan;

/* The time of a run depends on these sections only, not on the seed or the loss. */
static int time_key(kd_hash *out, const kd_config *config) {
    static const char *const section[] = {"data", "model", "train", "quantize", "alone"};
    kd_hash part[5];
    for (int i = 0; i < 5; i++) {
        char *text;
        int status = kd_config_section(&text, config, section[i]);
        if (status < 0) return status;
        part[i] = kd_hash_bytes(text, strlen(text));
        free(text);
    }
    *out = kd_hash_join(part, 5);
    return KD_OK;
}

static int needs_of(plan *p, const kd_config *config, kd_plan_needs *out) {
    kd_hash key;
    int status = time_key(&key, config);
    for (int i = 0; i < p->measured && status == KD_OK; i++)
        if (strcmp(p->of[i].hex, key.hex) == 0) {
            *out = p->needs[i];
            return KD_OK;
        }
    if (status == KD_OK) status = kd_plan_measure(out, config);
    if (status < 0 || p->measured == MEASURED_MAX) return status;
    p->of[p->measured] = key;
    p->needs[p->measured++] = *out;
    return KD_OK;
}

/* One run after the other: time and disk add up, memory does not. */
static void add_needs(kd_plan_needs *total, const kd_plan_needs *run) {
    total->seconds += run->seconds;
    total->disk += run->disk;
    if (run->data + run->memory > total->data + total->memory) {
        total->data = run->data;
        total->memory = run->memory;
    }
}

static bool is_there(const plan *p, const char *run, const char *file) {
    char folder[KD_PATH_MAX], path[KD_PATH_MAX];
    return kd_path_join(folder, p->folder, run) == KD_OK &&
           kd_path_join(path, folder, file) == KD_OK && kd_file_exists(path);
}

static int add_row(plan *p, const kd_config *config, const char *what, const char *state) {
    kd_plan_needs needs = {0};
    bool finished = strcmp(state, "to do") != 0 && strcmp(state, "begun") != 0;
    int status = finished ? KD_OK : needs_of(p, config, &needs);
    char eta[32] = "";
    if (!finished) kd_format_duration(eta, sizeof eta, needs.seconds);
    add_needs(&p->total, &needs);
    kd_text_add(&p->rows, "%s\t", config->name);
    kd_text_add_plain(&p->rows, what, strlen(what));
    kd_text_add(&p->rows, "\t%s\t%s\n", state, eta);
    return status;
}

/* Teachers are trained once, however many runs name them. */
static int add_teachers(plan *p, const kd_config *config) {
    int status = KD_OK;
    for (int i = 0; i < config->teacher.count && status == KD_OK; i++) {
        const char *path = config->teacher.source[i].config;
        kd_config *teacher;
        if (!*path) continue;
        status = kd_run_teacher_config(&teacher, path, p->sweep->teacher_seeds, config->seed);
        if (status < 0) return status;
        bool counted = p->teachers == TEACHERS_MAX;
        for (int k = 0; k < p->teachers && !counted; k++)
            counted = strcmp(p->teacher[k], teacher->name) == 0;
        if (!counted) {
            snprintf(p->teacher[p->teachers++], sizeof *p->teacher, "%s", teacher->name);
            status = add_teachers(p, teacher);
            bool made = is_there(p, teacher->name, "train.best.h5");
            if (status == KD_OK) status = add_row(p, teacher, "teacher", made ? "made" : "to do");
        }
        kd_config_free(teacher);
    }
    return status;
}

static int add_run(plan *p, const kd_sweep_results *results, int variant, int seed) {
    kd_config *config;
    int status = kd_sweep_config(&config, p->sweep, variant, seed);
    if (status < 0) return status;
    bool finished = kd_sweep_run_at(results, variant, seed)->done;
    bool begun = is_there(p, config->name, "config.json");
    if (!finished) status = add_teachers(p, config);
    if (status == KD_OK)
        status = add_row(p, config, p->sweep->variant[variant].label,
                         finished ? "finished"
                         : begun  ? "begun"
                                  : "to do");
    kd_config_free(config);
    return status;
}

static int print_plan(plan *p, const char *runs) {
    kd_text text = {0};
    int status = kd_text_finish(&p->rows, "the plan");
    if (status < 0) return status;
    kd_text_add_table(&text, "lllr", p->rows.text);
    status = kd_text_finish(&text, "the plan");
    if (status == KD_OK) fputs(text.text, stdout);
    free(text.text);
    return status < 0 ? status : kd_plan_conclude(runs, &p->total);
}

int kd_plan_print_sweep(const kd_sweep *sweep, const char *runs) {
    char folder[KD_PATH_MAX];
    kd_sweep_results results = {0};
    plan *p = calloc(1, sizeof *p);
    int status = p ? KD_OK : kd_fail_memory(sizeof *p, "the plan");
    if (status == KD_OK) status = kd_path_join(folder, runs, sweep->name);
    if (status == KD_OK) status = kd_sweep_results_create(&results, sweep);
    if (status == KD_OK) status = kd_sweep_results_read(&results, folder);
    if (status == KD_OK) {
        p->sweep = sweep;
        p->folder = folder;
        kd_text_add(&p->rows, "run\tvariant\tstate\ttraining\n");
    }
    for (int s = 0; s < sweep->seed_count && status == KD_OK; s++)
        for (int v = 0; v < sweep->variant_count && status == KD_OK; v++)
            status = add_run(p, &results, v, s);
    if (status == KD_OK) status = print_plan(p, runs);
    if (p) free(p->rows.text);
    free(p);
    kd_sweep_results_free(&results);
    return status;
}
