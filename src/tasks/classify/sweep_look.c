/* What the runs of a sweep are made from, and whether what is there was made so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "tasks/classify/run_look.h"
#include "tasks/classify/sweep_parts.h"

enum { RESULTS_LIMIT = 1 << 26 };

/* A folder of the sweep, and what is trained in it. */
typedef struct {
    char name[sizeof((kd_config *)0)->name];
    kd_hash made;
} name;

/* The inputs of one run after the other. Each is kept until the next is open, which mostly has the
 * same data and teachers and takes them over. */
typedef struct {
    kd_config *config, *before_config;
    kd_run run, before;
    bool lends; /* `before` is open */
    int name_count;
    name *names; /* of runs and teachers */
} inputs;

static void close_before(inputs *in) {
    if (in->lends) kd_run_close(&in->before);
    kd_config_free(in->before_config);
    in->before_config = NULL;
    in->lends = false;
}

/* The run is the one before, from now on; what it borrowed is its own. */
static void keep_run(inputs *in) {
    if (in->run.borrowed) in->before.borrowed = true;
    if (in->run.borrowed_store) in->before.borrowed_store = true;
    close_before(in);
    in->run.borrowed = in->run.borrowed_store = false;
    in->before = in->run;
    in->before_config = in->config;
    in->lends = true;
    in->config = NULL;
}

/* Two that are called the same must be trained the same. */
static int note_name(inputs *in, const char *called, const kd_origin *origin, const char *path) {
    char *text;
    int status = kd_origin_known_text(&text, origin);
    if (status < 0) return status;
    const kd_hash made = kd_origin_key(text);
    free(text);
    for (int i = 0; i < in->name_count; i++) {
        if (strcmp(in->names[i].name, called) != 0) continue;
        if (strcmp(in->names[i].made.hex, made.hex) == 0) return KD_OK;
        return kd_fail(KD_ECONFIG,
                       "%s: two different networks of the sweep would be trained in the folder "
                       "\"%s\"; give one another name",
                       path, called);
    }
    name *grown = realloc(in->names, (size_t)(in->name_count + 1) * sizeof *grown);
    if (!grown) return kd_fail_memory(sizeof *grown, "the sweep's names");
    in->names = grown;
    in->names[in->name_count] = (name){.made = made};
    snprintf(grown[in->name_count++].name, sizeof grown->name, "%s", called);
    return KD_OK;
}

static int note_teacher(inputs *in, const kd_run *run, int i) {
    const char *path = run->config->teacher.source[i].config;
    char prefix[32];
    kd_config *config;
    kd_origin origin = {0};
    int status = kd_run_teacher_config(&config, path, run->seeded_teachers, run->config->seed);
    if (status < 0) return status;
    kd_run_teacher_prefix(prefix, run, i);
    kd_origin_add_part(&origin, &run->teachers, prefix);
    status = note_name(in, config->name, &origin, path);
    kd_origin_clear(&origin);
    kd_config_free(config);
    return status;
}

static int note_names(inputs *in, const kd_run *run) {
    kd_origin origin;
    kd_run_origin_stage(&origin, run, "train", NULL);
    int status = note_name(in, run->config->name, &origin, run->config->path);
    kd_origin_clear(&origin);
    for (int i = 0; i < run->config->teacher.count && status == KD_OK; i++)
        if (run->config->teacher.source[i].config[0]) status = note_teacher(in, run, i);
    return status;
}

/* Opens run i as far as `open` does and gives it its key. */
static int open_run(inputs *in, kd_sweep_results *results, int i, const char *folder, bool fresh,
                    int (*open)(kd_run *, const kd_config *, const kd_run_options *)) {
    const kd_sweep *sweep = results->sweep;
    const kd_run_options options = {.runs = folder,
                                    .fresh = fresh,
                                    .seeded_teachers = sweep->teacher_seeds,
                                    .shared_store = true,
                                    .like = in->lends ? &in->before : NULL};
    int status = kd_sweep_config(&in->config, sweep, i / sweep->seed_count, i % sweep->seed_count);
    if (status < 0) return status;
    status = open(&in->run, in->config, &options);
    if (status == KD_OK) status = kd_sweep_key(&results->run[i], &in->run);
    if (status == KD_OK) status = note_names(in, &in->run);
    if (status == KD_OK) {
        keep_run(in);
        return KD_OK;
    }
    kd_run_close(&in->run);
    kd_config_free(in->config);
    return status;
}

static int read_results(kd_sweep_results *results, const char *folder, bool looks, bool fresh) {
    const int total = results->sweep->variant_count * results->sweep->seed_count;
    char path[KD_PATH_MAX];
    kd_json *json = NULL;
    inputs *in = calloc(1, sizeof *in);
    int status = in ? kd_path_join(path, folder, "sweep.json") : kd_fail_memory(sizeof *in, folder);
    if (status == KD_OK && kd_file_exists(path) && kd_json_read(&json, path, RESULTS_LIMIT) < 0)
        kd_warn("%s; made anew from the runs", kd_error());
    const cJSON *list = json ? kd_json_get(kd_json_root(json), "runs") : NULL;
    for (int i = 0; i < total && status == KD_OK; i++) {
        status = open_run(in, results, i, folder, fresh, kd_run_inputs);
        const cJSON *entry = status == KD_OK ? kd_sweep_find_run(list, &results->run[i].key) : NULL;
        if (entry && !fresh) kd_sweep_take_run(&results->run[i], entry);
    }
    for (int i = 0; i < total && looks && status == KD_OK; i++)
        if (!results->run[i].done) status = open_run(in, results, i, folder, fresh, kd_run_look);
    if (in) close_before(in);
    if (in) free(in->names);
    free(in);
    kd_json_free(json);
    return status;
}

int kd_sweep_results_read(kd_sweep_results *results, const char *folder) {
    return read_results(results, folder, false, false);
}

int kd_sweep_results_look(kd_sweep_results *results, const char *folder, bool fresh) {
    return read_results(results, folder, true, fresh);
}
