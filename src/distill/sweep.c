#include "distill/sweep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/owner.h"
#include "base/log.h"
#include "distill/sweep_parts.h"
#include "distill/trainer.h"
#include "report/runlog.h"

enum { REPORT_LIMIT = 1 << 24 };

int kd_sweep_results_create(kd_sweep_results *out, const kd_sweep *sweep) {
    size_t n = (size_t)sweep->variant_count * (size_t)sweep->seed_count;
    *out = (kd_sweep_results){.sweep = sweep, .run = calloc(n, sizeof *out->run)};
    return out->run ? KD_OK : kd_fail_memory(n * sizeof *out->run, "a sweep's results");
}

void kd_sweep_results_free(kd_sweep_results *results) {
    const kd_sweep *sweep = results->sweep;
    for (int i = 0; results->run && i < sweep->variant_count * sweep->seed_count; i++)
        free(results->run[i].origin);
    free(results->run);
    results->run = NULL;
}

kd_sweep_run *kd_sweep_run_at(const kd_sweep_results *results, int variant, int seed) {
    return &results->run[variant * results->sweep->seed_count + seed];
}

/* --- keys ----------------------------------------------------------------------------------- */

int kd_sweep_key(kd_sweep_run *out, const kd_sweep *sweep, const void *run) {
    kd_origin whole = {0}, teacher = {0};
    char *measured = NULL;
    free(out->origin);
    out->origin = NULL;
    out->teacher = (kd_hash){""};
    sweep->task->sweep->describe(&whole, &teacher, run);
    int status = kd_origin_text(&out->origin, &whole);
    if (status == KD_OK) status = kd_origin_text(&measured, &teacher);
    if (status == KD_OK) out->key = kd_origin_key(out->origin);
    if (status == KD_OK && teacher.count > 0) out->teacher = kd_origin_key(measured);
    free(measured);
    kd_origin_clear(&whole);
    kd_origin_clear(&teacher);
    return status;
}

/* --- one run -------------------------------------------------------------------------------- */

static double number_of(const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static bool take_text(char *out, size_t capacity, const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    if (!cJSON_IsString(item)) return false;
    snprintf(out, capacity, "%s", item->valuestring);
    return true;
}

bool kd_sweep_model_read(kd_sweep_model *out, const kd_task *task, const cJSON *object) {
    *out = (kd_sweep_model){.validation = number_of(object, "validation")};
    if (!take_text(out->name, sizeof out->name, object, "name")) return false;
    if (!take_text(out->kind, sizeof out->kind, object, "kind")) return false;
    if (!take_text(out->stage, sizeof out->stage, object, "stage")) return false;
    for (int m = 0; m < task->test_count; m++)
        out->value[m] = number_of(object, task->test[m].name);
    return kd_json_get(object, task->test[0].name) != NULL;
}

/* What the run's report and log say. */
static int read_result(kd_sweep_run *out, const kd_task *task, const char *folder) {
    char path[KD_PATH_MAX];
    kd_json *json = NULL;
    kd_runlog_curves curves = {0};
    int status = kd_path_join(path, folder, "log.jsonl");
    if (status == KD_OK) status = kd_runlog_read(&curves, path);
    if (status == KD_OK) status = kd_path_join(path, folder, "report.json");
    if (status == KD_OK) status = kd_json_read(&json, path, REPORT_LIMIT);
    out->model_count = 0;
    const cJSON *list = status == KD_OK ? kd_json_get(kd_json_root(json), "models") : NULL;
    for (const cJSON *item = list ? list->child : NULL; item; item = item->next) {
        if (out->model_count == KD_SWEEP_MODELS_MAX) break;
        kd_sweep_model *model = &out->model[out->model_count];
        if (!kd_sweep_model_read(model, task, item)) continue;
        model->validation = kd_runlog_best(&curves, model->stage, task->validation);
        out->model_count++;
    }
    if (status == KD_OK && out->model_count == 0)
        status = kd_fail(KD_EDATA, "%s: holds no results", path);
    out->done = status == KD_OK;
    kd_runlog_free(&curves);
    kd_json_free(json);
    return status;
}

/* Whether a finished run has measured the teacher of this one. */
static bool is_teacher_known(const kd_sweep_results *results, const kd_sweep_run *run) {
    int total = results->sweep->variant_count * results->sweep->seed_count;
    for (int i = 0; i < total; i++) {
        const kd_sweep_run *other = &results->run[i];
        if (other == run || !other->done || strcmp(other->teacher.hex, run->teacher.hex) != 0)
            continue;
        for (int m = 0; m < other->model_count; m++)
            if (strcmp(other->model[m].kind, "teacher") == 0) return true;
    }
    return false;
}

static int carry_out_one(const kd_sweep_results *results, const void *config, const char *folder,
                         bool fresh, kd_sweep_run *out) {
    const kd_task *task = results->sweep->task;
    char own[KD_PATH_MAX];
    void *run = NULL;
    double began = kd_clock();
    const kd_part_options options = {.runs = folder,
                                     .fresh = fresh,
                                     .seeded_teachers = results->sweep->teacher_seeds,
                                     .known_teacher = is_teacher_known(results, out)};
    int status = task->sweep->open(&run, config, &options, KD_PART_BEGIN);
    if (status == KD_OK)
        status = kd_sweep_key(out, results->sweep, run); /* of what is there by now */
    if (status == KD_OK) status = task->stage[KD_STAGE_ALL](run);
    if (run) task->close(run);
    if (status == KD_OK) status = kd_path_join(own, folder, task->run_name(config));
    if (status == KD_OK) status = read_result(out, task, own);
    out->seconds = kd_clock() - began;
    return status;
}

/* --- all of them ---------------------------------------------------------------------------- */

typedef struct {
    int total, done; /* runs                         */
    int made;        /* by this start                */
    double seconds;  /* that it took for them        */
} tally;

static void announce(const tally *t, const char *run_name) {
    char eta[48] = "";
    if (t->made > 0) {
        char left[32];
        kd_format_duration(left, sizeof left, t->seconds / t->made * (t->total - t->done));
        snprintf(eta, sizeof eta, "; about %s left", left);
    }
    kd_log("sweep: run %d of %d: %s%s", t->done + 1, t->total, run_name, eta);
}

static int carry_out_missing(kd_sweep_results *results, const char *folder, bool fresh) {
    const kd_sweep *sweep = results->sweep;
    tally t = {.total = sweep->variant_count * sweep->seed_count};
    for (int i = 0; i < t.total; i++) t.done += results->run[i].done;
    if (t.done > 0) kd_log("sweep: %d of %d runs are finished", t.done, t.total);
    /* Seed by seed, so that variants can be compared early. */
    for (int i = 0; i < t.total; i++) {
        int variant = i % sweep->variant_count, seed = i / sweep->variant_count;
        kd_sweep_run *run = kd_sweep_run_at(results, variant, seed);
        void *config;
        if (run->done) continue;
        int status = kd_sweep_config(&config, sweep, variant, seed);
        if (status < 0) return status;
        announce(&t, sweep->task->run_name(config));
        status = carry_out_one(results, config, folder, fresh, run);
        sweep->task->free_config(config);
        if (status == KD_OK) status = kd_sweep_results_write(results, folder);
        if (status < 0) return status;
        t.done++;
        t.made++;
        t.seconds += run->seconds;
        if (t.done < t.total && kd_train_take_stop())
            return kd_fail(KD_EAGAIN,
                           "sweep: stopped on request after %d of %d runs; the same command goes "
                           "on from there",
                           t.done, t.total);
    }
    return KD_OK;
}

static int print_table(const kd_sweep_results *results) {
    kd_text text = {0};
    kd_sweep_add_text(&text, results);
    int status = kd_text_finish(&text, "the sweep's table");
    if (status == KD_OK) fputs(text.text, stdout);
    free(text.text);
    return status;
}

int kd_sweep_carry_out(const kd_sweep *sweep, const char *runs, bool fresh) {
    char folder[KD_PATH_MAX];
    kd_sweep_results results = {0};
    int lock = -1, status = kd_path_join(folder, runs, sweep->name);
    if (status == KD_OK) status = kd_folder_own_existing(&lock, folder);
    if (status == KD_OK) status = kd_sweep_results_create(&results, sweep);
    if (status == KD_OK) status = kd_sweep_results_look(&results, folder, fresh);
    if (status == KD_OK) status = kd_file_make_folders(folder);
    if (status == KD_OK) status = kd_folder_own(&lock, folder);
    if (status == KD_OK) status = carry_out_missing(&results, folder, fresh);
    if (status == KD_OK) status = kd_sweep_results_write(&results, folder);
    if (status == KD_OK) status = print_table(&results);
    if (status == KD_OK) kd_log("sweep: %s/sweep.html", folder);
    kd_sweep_results_free(&results);
    kd_folder_leave(&lock);
    return status;
}
