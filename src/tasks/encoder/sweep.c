/* What a sweep asks of encoders (distill/task.h). Its runs share tokens of the texts. */
#include <stdlib.h>

#include "base/error.h"
#include "tasks/encoder/encoder.h"
#include "tasks/encoder/encoder_run.h"

static int load(void **config, const char *path, int count, const kd_config_change *change) {
    return kd_encoder_config_load_changed((kd_encoder_config **)config, path, count, change);
}

static const char *resolved(const void *config) {
    return ((const kd_encoder_config *)config)->resolved;
}

static int open_part(void **out, const void *config, const kd_part_options *how,
                     kd_part_depth depth) {
    kd_encoder_run *run = *out = malloc(sizeof *run);
    if (!run) return kd_fail_memory(sizeof *run, "a run");
    return kd_encoder_run_open_part(run, config, how, depth);
}

static void inherit(void *context, void *before) {
    kd_encoder_run *run = context, *like = before;
    if (run->borrowed) like->borrowed = true;
    run->borrowed = false;
}

static int folders(const void *of, kd_note_folder note, void *context) {
    const kd_encoder_run *run = of;
    kd_origin origin;
    kd_encoder_origin_whole(&origin, run);
    int status = note(context, run->config->name, &origin, run->config->path);
    kd_origin_clear(&origin);
    return status;
}

/* The teacher is measured in every run, which takes a pass over the test samples. */
static void describe(kd_origin *whole, kd_origin *teacher, const void *run) {
    (void)teacher;
    kd_encoder_origin_whole(whole, run);
}

static const char *const TIMED[] = {"data", "model", "teacher", "train", NULL};

const kd_sweep_task kd_encoder_sweep = {.load = load,
                                        .resolved = resolved,
                                        .open = open_part,
                                        .inherit = inherit,
                                        .describe = describe,
                                        .folders = folders,
                                        .needs = kd_encoder_needs,
                                        .timed = TIMED};
