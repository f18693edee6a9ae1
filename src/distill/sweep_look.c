/* What the runs of a sweep are made from, and whether what is there was made so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "distill/sweep_parts.h"

enum { RESULTS_LIMIT = 1 << 26, NAME_MAX_BYTES = 128 };

/* A folder of the sweep, and what is made in it. */
typedef struct {
    char name[NAME_MAX_BYTES];
    kd_hash made;
} name;

/* The inputs of one run after the other. Each is kept until the next is open, which mostly has the
 * same data and teachers and takes them over. */
typedef struct {
    const kd_task *task;
    void *before_config, *before;
    int name_count;
    name *names; /* of runs and teachers */
} inputs;

static void close_before(inputs *in) {
    if (in->before) in->task->close(in->before);
    if (in->before_config) in->task->free_config(in->before_config);
    in->before = in->before_config = NULL;
}

/* The run is the one before, from now on; what it borrowed is its own. */
static void keep_run(inputs *in, void *run, void *config) {
    if (in->before && in->task->sweep->inherit) in->task->sweep->inherit(run, in->before);
    close_before(in);
    in->before = run;
    in->before_config = config;
}

/* Two that are called the same must be made the same. */
static int note_name(void *context, const char *called, const kd_origin *origin, const char *path) {
    inputs *in = context;
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

/* Opens run i so far and gives it its key. */
static int open_run(inputs *in, kd_sweep_results *results, int i, const char *folder, bool fresh,
                    kd_part_depth depth) {
    const kd_sweep *sweep = results->sweep;
    const kd_part_options options = {.runs = folder,
                                     .fresh = fresh,
                                     .seeded_teachers = sweep->teacher_seeds,
                                     .like = in->before};
    void *config, *run = NULL;
    int status = kd_sweep_config(&config, sweep, i / sweep->seed_count, i % sweep->seed_count);
    if (status < 0) return status;
    status = in->task->sweep->open(&run, config, &options, depth);
    if (status == KD_OK) status = kd_sweep_key(&results->run[i], sweep, run);
    if (status == KD_OK) status = in->task->sweep->folders(run, note_name, in);
    if (status == KD_OK) {
        keep_run(in, run, config);
        return KD_OK;
    }
    if (run) in->task->close(run);
    in->task->free_config(config);
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
    if (in) in->task = results->sweep->task;
    for (int i = 0; i < total && status == KD_OK; i++) {
        status = open_run(in, results, i, folder, fresh, KD_PART_INPUTS);
        const cJSON *entry = status == KD_OK ? kd_sweep_find_run(list, &results->run[i].key) : NULL;
        if (entry && !fresh) kd_sweep_take_run(&results->run[i], in->task, entry);
    }
    for (int i = 0; i < total && looks && status == KD_OK; i++)
        if (!results->run[i].done) status = open_run(in, results, i, folder, fresh, KD_PART_LOOK);
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
