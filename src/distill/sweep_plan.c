/* `distill sweep --dry-run`: the runs of a sweep, their state, what they take. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "distill/sweep_parts.h"

enum { MEASURED_MAX = KD_SWEEP_VARIANTS_MAX, TEACHERS_MAX = 256, TIMED_MAX = 16 };

/* Times that were measured, by what they depend on; and the teachers that were counted. */
typedef struct {
    const kd_sweep *sweep;
    const kd_task *task;
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
static int time_key(kd_hash *out, const plan *p, const void *config) {
    const kd_sweep_task *how = p->task->sweep;
    kd_hash part[TIMED_MAX];
    cJSON *resolved;
    int n = 0, status = kd_json_tree(&resolved, how->resolved(config), "the configuration");
    for (; status == KD_OK && how->timed[n]; n++) {
        const cJSON *item = kd_json_get(resolved, how->timed[n]);
        char *text = item ? kd_json_print(item, false) : NULL;
        KD_CONTRACT(n < TIMED_MAX, "more than %d sections", TIMED_MAX);
        if (item && !text) status = kd_fail_memory(64, how->timed[n]);
        part[n] = kd_hash_bytes(text ? text : "", text ? strlen(text) : 0);
        cJSON_free(text);
    }
    cJSON_Delete(resolved);
    if (status == KD_OK) *out = kd_hash_join(part, n);
    return status;
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

static void add_line(plan *p, const char *run, const char *what, const char *state,
                     const kd_plan_needs *needs) {
    char eta[32] = "";
    if (needs->seconds > 0) kd_format_duration(eta, sizeof eta, needs->seconds);
    add_needs(&p->total, needs);
    kd_text_add(&p->rows, "%s\t", run);
    kd_text_add_plain(&p->rows, what, strlen(what));
    kd_text_add(&p->rows, "\t%s\t%s\n", state, eta);
}

/* What a run takes; what it shares with others of the same times stands before the first of them.
 */
static int needs_of(plan *p, const void *config, kd_plan_needs *out) {
    kd_hash key;
    int status = time_key(&key, p, config);
    for (int i = 0; i < p->measured && status == KD_OK; i++)
        if (strcmp(p->of[i].hex, key.hex) == 0) {
            *out = p->needs[i];
            return KD_OK;
        }
    kd_plan_needs shared = {0};
    if (status == KD_OK) status = p->task->sweep->needs(out, &shared, config);
    if (status < 0 || p->measured == MEASURED_MAX) return status;
    p->of[p->measured] = key;
    p->needs[p->measured++] = *out;
    if (shared.seconds > 0)
        add_line(p, p->task->run_name(config), "what its like need, too", "once", &shared);
    return KD_OK;
}

static bool is_there(const plan *p, const char *run, const char *file) {
    char folder[KD_PATH_MAX], path[KD_PATH_MAX];
    return kd_path_join(folder, p->folder, run) == KD_OK &&
           kd_path_join(path, folder, file) == KD_OK && kd_file_exists(path);
}

static int add_row(plan *p, const void *config, const char *what, const char *state) {
    kd_plan_needs needs = {0};
    bool finished = strcmp(state, "to do") != 0 && strcmp(state, "begun") != 0;
    int status = finished ? KD_OK : needs_of(p, config, &needs);
    add_line(p, p->task->run_name(config), what, state, &needs);
    return status;
}

static int add_teachers(plan *p, const void *config);

/* Teachers are trained once, however many runs name them. */
static int add_teacher(plan *p, const void *teacher) {
    const char *name = p->task->run_name(teacher);
    bool counted = p->teachers == TEACHERS_MAX;
    for (int k = 0; k < p->teachers && !counted; k++) counted = strcmp(p->teacher[k], name) == 0;
    if (counted) return KD_OK;
    snprintf(p->teacher[p->teachers++], sizeof *p->teacher, "%s", name);
    int status = add_teachers(p, teacher);
    if (status < 0) return status;
    return add_row(p, teacher, "teacher", is_there(p, name, "train.best.h5") ? "made" : "to do");
}

static int add_teachers(plan *p, const void *config) {
    const kd_sweep_task *how = p->task->sweep;
    void *teacher = NULL;
    int status = KD_OK;
    for (int i = 0; how->teacher && status == KD_OK; i++) {
        status = how->teacher(&teacher, config, i, p->sweep->teacher_seeds);
        if (status < 0 || !teacher) break;
        status = add_teacher(p, teacher);
        p->task->free_config(teacher);
    }
    return status;
}

static int add_run(plan *p, const kd_sweep_results *results, int variant, int seed) {
    void *config;
    int status = kd_sweep_config(&config, p->sweep, variant, seed);
    if (status < 0) return status;
    bool finished = kd_sweep_run_at(results, variant, seed)->done;
    bool begun = is_there(p, p->task->run_name(config), "config.json");
    if (!finished) status = add_teachers(p, config);
    if (status == KD_OK)
        status = add_row(p, config, p->sweep->variant[variant].label,
                         finished ? "finished"
                         : begun  ? "begun"
                                  : "to do");
    p->task->free_config(config);
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
    const kd_plan_request request = {.runs = runs};
    return status < 0 ? status : kd_plan_conclude(&request, &p->total);
}

int kd_sweep_plan(const kd_sweep *sweep, const char *runs) {
    char folder[KD_PATH_MAX];
    kd_sweep_results results = {0};
    plan *p = calloc(1, sizeof *p);
    int status = p ? KD_OK : kd_fail_memory(sizeof *p, "the plan");
    if (status == KD_OK) status = kd_path_join(folder, runs, sweep->name);
    if (status == KD_OK) status = kd_sweep_results_create(&results, sweep);
    if (status == KD_OK) status = kd_sweep_results_read(&results, folder);
    if (status == KD_OK) {
        p->sweep = sweep;
        p->task = sweep->task;
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
