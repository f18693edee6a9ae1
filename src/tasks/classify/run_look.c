#include "tasks/classify/run_look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "distill/results.h"
#include "tasks/classify/teach.h"

/* A chain of teachers' teachers ends somewhere; run.h's names tell a circle of fewer. */
enum { TEACHERS_DEEP = 8 };

/* --- teachers ------------------------------------------------------------------------------- */

/* A teacher's run lies beside its pupil's, and theirs. */
static int check_name(const kd_run *run, const kd_config *teacher) {
    int deep = 0;
    for (const kd_run *r = run; r; r = r->pupil, deep++)
        if (strcmp(teacher->name, r->config->name) == 0)
            return kd_fail(KD_ECONFIG, "%s: a teacher's config needs a name other than \"%s\"",
                           teacher->path, teacher->name);
    if (deep < TEACHERS_DEEP) return KD_OK;
    return kd_fail(KD_ECONFIG, "%s: more than %d teachers' teachers", teacher->path, TEACHERS_DEEP);
}

/* Reads the config of a teacher and looks at the run that trains it. */
static int look_at_teacher(kd_config **config, kd_run *child, const kd_run *run, int i) {
    const char *path = run->config->teacher.source[i].config;
    int status = kd_run_teacher_config(config, path, run->seeded_teachers, run->config->seed);
    if (status == KD_OK) status = check_name(run, *config);
    if (status < 0) return status;
    const kd_run_options options = kd_teach_options(run);
    return run->looks ? kd_run_look(child, *config, &options)
                      : kd_run_inputs(child, *config, &options);
}

void kd_run_teacher_prefix(char out[32], const kd_run *run, int i) {
    snprintf(out, 32, run->config->teacher.count > 1 ? "ensemble[%d]" : "network", i);
}

static int describe_trained(kd_run *run, int i) {
    char prefix[32];
    kd_config *config = NULL;
    kd_run child = {.lock = -1};
    kd_origin origin = {0};
    int status = look_at_teacher(&config, &child, run, i);
    if (status == KD_OK) {
        kd_run_teacher_prefix(prefix, run, i);
        kd_run_origin_stage(&origin, &child, "train", NULL);
        kd_origin_add_all(&run->teachers, prefix, &origin);
    }
    kd_origin_clear(&origin);
    kd_run_close(&child);
    kd_config_free(config);
    return status;
}

static int describe_weights(kd_run *run, int i) {
    char key[48], prefix[32];
    kd_learner *member;
    kd_hash hash;
    int status = kd_teach_load_member(&member, run, &run->config->teacher.source[i]);
    if (status < 0) return status;
    status = kd_learner_hash(&hash, member);
    kd_run_teacher_prefix(prefix, run, i);
    snprintf(key, sizeof key, "%s.weights", prefix);
    if (status == KD_OK) kd_origin_add(&run->teachers, key, "%s", hash.hex);
    kd_learner_free(member);
    return status;
}

/* Two networks of an ensemble that are trained by configs of one name would share a folder. */
static int check_siblings(const kd_run *run) {
    const kd_teacher_config *teacher = &run->config->teacher;
    for (int i = 0; i < teacher->count; i++)
        for (int k = 0; k < i; k++) {
            const char *a = teacher->source[i].config, *b = teacher->source[k].config;
            kd_config *first = NULL, *second = NULL;
            if (!*a || !*b || strcmp(a, b) == 0) continue;
            int status = kd_config_load(&first, a, 0, NULL);
            if (status == KD_OK) status = kd_config_load(&second, b, 0, NULL);
            if (status == KD_OK && strcmp(first->name, second->name) == 0)
                status = kd_fail(KD_ECONFIG,
                                 "%s: has the name of %s, \"%s\"; give one of the two teachers "
                                 "another",
                                 a, b, first->name);
            kd_config_free(first);
            kd_config_free(second);
            if (status < 0) return status;
        }
    return KD_OK;
}

/* Whether `like` has described, and where this run looks, looked at the same teachers. */
static bool knows_teachers(const kd_run *like, const kd_run *run) {
    const kd_teacher_config *teacher = &run->config->teacher;
    if (!like || like->pupil || run->pupil || (run->looks && !like->looks)) return false;
    if (run->seeded_teachers && like->config->seed != run->config->seed) return false;
    return like->config->teacher.count == teacher->count &&
           memcmp(like->config->teacher.source, teacher->source, sizeof teacher->source) == 0;
}

static int describe_teachers(kd_run *run, const kd_run *like) {
    const kd_teacher_config *teacher = &run->config->teacher;
    if (teacher->count > 0 && knows_teachers(like, run)) {
        kd_origin_copy(&run->teachers, &like->teachers);
        return KD_OK;
    }
    int status = check_siblings(run);
    for (int i = 0; i < teacher->count && status == KD_OK; i++)
        status = teacher->source[i].config[0] ? describe_trained(run, i) : describe_weights(run, i);
    if (teacher->count > 1) kd_origin_add(&run->teachers, "answer", "mean of logits");
    return status;
}

/* --- inputs --------------------------------------------------------------------------------- */

/* That the samples can be augmented and cut into batches. */
static int check_batches(const kd_run *run) {
    kd_loader *loader;
    const kd_loader_spec order = {
        .batch = run->config->train.batch, .shuffle = true, .augment = run->config->augment};
    int status = kd_loader_create(&loader, run->train, &order);
    if (status == KD_OK) kd_loader_free(loader);
    return status;
}

int kd_run_check_inputs(kd_run *run, const kd_run *like) {
    int status = kd_teach_open_named(run, like);
    if (status == KD_OK) status = describe_teachers(run, like);
    return status < 0 ? status : check_batches(run);
}

/* --- results -------------------------------------------------------------------------------- */

static int compare_stage(const kd_run *run, const char *stage, const kd_quantize_config *qat) {
    kd_origin now;
    kd_run_origin_stage(&now, run, stage, qat);
    int status = kd_results_check_stage(run->folder, stage, &now);
    kd_origin_clear(&now);
    return status;
}

static int compare_blob(const kd_run *run, const kd_quantize_config *how, bool qat) {
    char path[KD_PATH_MAX];
    kd_origin now;
    int status = kd_run_blob_path(run, how, qat, path);
    if (status < 0) return status;
    kd_run_origin_blob(&now, run, how, qat);
    status = kd_results_check_gguf(path, &now);
    kd_origin_clear(&now);
    return status;
}

int kd_run_compare(const kd_run *run) {
    const kd_config *config = run->config;
    int status = kd_origin_check_folder(run->folder, KD_CLASSIFY_KINDS);
    if (status == KD_OK) status = kd_teach_compare(run);
    if (status == KD_OK) status = compare_stage(run, "train", NULL);
    if (status < 0 || run->as_teacher) return status;
    if (config->baseline) status = compare_stage(run, "baseline", NULL);
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++) {
        const kd_quantize_config *how = &config->quantize[i];
        status = compare_blob(run, how, false);
        if (status == KD_OK && how->qat) status = compare_stage(run, how->stage, how);
        if (status == KD_OK && how->qat) status = compare_blob(run, how, true);
    }
    return status;
}
