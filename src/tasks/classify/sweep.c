/* What a sweep asks of classifiers (distill/task.h). */
#include <stdlib.h>

#include "base/error.h"
#include "tasks/classify/classify.h"
#include "tasks/classify/run.h"
#include "tasks/classify/run_look.h"

static int load(void **config, const char *path, int count, const kd_config_change *change) {
    return kd_config_load_changed((kd_config **)config, path, count, change);
}

static const char *resolved(const void *config) {
    return ((const kd_config *)config)->resolved;
}

static int open_part(void **out, const void *config, const kd_part_options *how,
                     kd_part_depth depth) {
    const kd_run_options options = {.runs = how->runs,
                                    .fresh = how->fresh,
                                    .quiet = true,
                                    .seeded_teachers = how->seeded_teachers,
                                    .shared_store = true,
                                    .known_teacher = how->known_teacher,
                                    .like = how->like};
    kd_run *run = *out = malloc(sizeof *run);
    if (!run) return kd_fail_memory(sizeof *run, "a run");
    switch (depth) {
    case KD_PART_INPUTS:
        return kd_run_inputs(run, config, &options);
    case KD_PART_LOOK:
        return kd_run_look(run, config, &options);
    case KD_PART_BEGIN:
        break;
    }
    return kd_run_open_as(run, config, &options);
}

static void inherit(void *context, void *before) {
    kd_run *run = context, *like = before;
    if (run->borrowed) like->borrowed = true;
    if (run->borrowed_store) like->borrowed_store = true;
    run->borrowed = run->borrowed_store = false;
}

static void describe(kd_origin *whole, kd_origin *teacher, const void *context) {
    const kd_run *run = context;
    kd_run_origin_whole(whole, run);
    if (run->config->teacher.present) kd_run_origin_teacher(teacher, run);
}

static int note_teacher(const kd_run *run, int i, kd_note_folder note, void *context) {
    const char *path = run->config->teacher.source[i].config;
    char prefix[32];
    kd_config *config;
    kd_origin origin = {0};
    int status = kd_run_teacher_config(&config, path, run->seeded_teachers, run->config->seed);
    if (status < 0) return status;
    kd_run_teacher_prefix(prefix, run, i);
    kd_origin_add_part(&origin, &run->teachers, prefix);
    status = note(context, config->name, &origin, path);
    kd_origin_clear(&origin);
    kd_config_free(config);
    return status;
}

static int folders(const void *of, kd_note_folder note, void *context) {
    const kd_run *run = of;
    const kd_config *config = run->config;
    kd_origin origin;
    kd_run_origin_stage(&origin, run, "train", NULL);
    int status = note(context, config->name, &origin, config->path);
    kd_origin_clear(&origin);
    for (int i = 0; i < config->teacher.count && status == KD_OK; i++)
        if (config->teacher.source[i].config[0]) status = note_teacher(run, i, note, context);
    return status;
}

static int teacher(void **out, const void *config, int i, bool seeded) {
    const kd_teacher_config *teacher = &((const kd_config *)config)->teacher;
    *out = NULL;
    for (int k = 0; k < teacher->count; k++)
        if (teacher->source[k].config[0] && i-- == 0)
            return kd_run_teacher_config((kd_config **)out, teacher->source[k].config, seeded,
                                         ((const kd_config *)config)->seed);
    return KD_OK;
}

/* Teachers are planned as runs of their own. */
static int needs(kd_plan_needs *own, kd_plan_needs *shared, const void *config) {
    *shared = (kd_plan_needs){0};
    return kd_plan_measure(own, config);
}

static const char *const TIMED[] = {"data", "model", "train", "quantize", "baseline", NULL};

const kd_sweep_task kd_classify_sweep = {.load = load,
                                         .resolved = resolved,
                                         .open = open_part,
                                         .inherit = inherit,
                                         .describe = describe,
                                         .folders = folders,
                                         .teacher = teacher,
                                         .needs = needs,
                                         .timed = TIMED};
