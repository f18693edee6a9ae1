/* What a sweep asks of language models (distill/task.h). Its runs share tokens of the texts and
 * stores; see language_run.h. */
#include <stdlib.h>

#include "base/error.h"
#include "tasks/language/language.h"
#include "tasks/language/language_run.h"

static int load(void **config, const char *path, int count, const kd_config_change *change) {
    return kd_language_config_load_changed((kd_language_config **)config, path, count, change);
}

static const char *resolved(const void *config) {
    return ((const kd_language_config *)config)->resolved;
}

static int open_part(void **out, const void *config, const kd_part_options *how,
                     kd_part_depth depth) {
    kd_language_run *run = *out = malloc(sizeof *run);
    if (!run) return kd_fail_memory(sizeof *run, "a run");
    return kd_language_run_open_part(run, config, how, depth);
}

static void inherit(void *context, void *before) {
    kd_language_run *run = context, *like = before;
    if (run->borrowed) like->borrowed = true;
    run->borrowed = false;
}

static int folders(const void *of, kd_note_folder note, void *context) {
    const kd_language_run *run = of;
    kd_origin origin;
    kd_language_origin_whole(&origin, run);
    int status = note(context, run->config->name, &origin, run->config->path);
    kd_origin_clear(&origin);
    return status;
}

/* The teacher is measured in every run: the share of its lead that is won back needs it. */
static void describe(kd_origin *whole, kd_origin *teacher, const void *run) {
    (void)teacher;
    kd_language_origin_whole(whole, run);
}

static const char *const TIMED[] = {"data", "model", "teacher", "train", "quantize", NULL};

const kd_sweep_task kd_language_sweep = {.load = load,
                                         .resolved = resolved,
                                         .open = open_part,
                                         .inherit = inherit,
                                         .describe = describe,
                                         .folders = folders,
                                         .needs = kd_language_needs,
                                         .timed = TIMED};
