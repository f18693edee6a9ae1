/* What a sweep asks of speech recognisers (distill/task.h). Its runs share labels, what encoders
 * heard, and stores; see speech_run.h. */
#include <stdlib.h>

#include "base/error.h"
#include "tasks/speech/speech.h"
#include "tasks/speech/speech_look.h"
#include "tasks/speech/speech_run.h"

static int load(void **config, const char *path, int count, const kd_config_change *change) {
    return kd_speech_config_load_changed((kd_speech_config **)config, path, count, change);
}

static const char *resolved(const void *config) {
    return ((const kd_speech_config *)config)->resolved;
}

static int open_part(void **out, const void *config, const kd_part_options *how,
                     kd_part_depth depth) {
    kd_speech_run *run = *out = malloc(sizeof *run);
    if (!run) return kd_fail_memory(sizeof *run, "a run");
    return kd_speech_run_open_part(run, config, how, depth);
}

/* The whole run's origin, which is known before and after its windows are. */
static int folders(const void *of, kd_note_folder note, void *context) {
    const kd_speech_run *run = of;
    kd_origin origin = {0};
    kd_speech_origin_whole(&origin, run);
    int status = note(context, run->config->name, &origin, run->config->path);
    kd_origin_clear(&origin);
    return status;
}

/* The teacher is measured in every run: the rates against its words need them. */
static void describe(kd_origin *whole, kd_origin *teacher, const void *run) {
    (void)teacher;
    kd_speech_origin_whole(whole, run);
}

static const char *const TIMED[] = {"data", "model", "teacher", "train", "quantize", NULL};

const kd_sweep_task kd_speech_sweep = {.load = load,
                                       .resolved = resolved,
                                       .open = open_part,
                                       .describe = describe,
                                       .folders = folders,
                                       .needs = kd_speech_needs,
                                       .timed = TIMED};
