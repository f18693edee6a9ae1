/* What the results of a classifier's run are made from (distill/origin.h). */
#include <string.h>

#include "base/error.h"
#include "tasks/classify/run.h"

/* Bumped when the same inputs would give another result. */
static const char ALGORITHM[] = "distill-1";

/* Paths, whose files are named by their content, and how often a state is saved. */
static const char *const NAMED_BY_CONTENT[] = {"folder", "train", "test", NULL};
static const char *const NO_PATHS[] = {"config", "weights", "store", NULL};
static const char *const DECIDES_NOTHING[] = {"checkpoint_seconds", NULL};
static const char *const NOTHING[] = {NULL};

static void begin(kd_origin *out, const kd_run *run, const char *stage) {
    *out = (kd_origin){.remedy = run->remedy[0] ? run->remedy : NULL};
    kd_origin_begin(out, "classifier", ALGORITHM, stage);
    kd_origin_add_products(out, run->precision);
}

static void add_section(kd_origin *out, const kd_run *run, const char *section, int index,
                        const char *const *without) {
    kd_origin_add_config(out, run->config->resolved, section, index, without);
}

static void add_samples(kd_origin *out, const kd_run *run) {
    kd_origin_add(out, "samples.train", "%s", run->train->hash.hex);
    if (run->validation) kd_origin_add(out, "samples.validation", "%s", run->validation->hash.hex);
    kd_origin_add(out, "samples.classes", "%s", run->classes.hex);
}

/* The teacher's networks, or the store made elsewhere that stands for them. */
static void add_teachers(kd_origin *out, const kd_run *run) {
    if (run->config->teacher.store[0]) kd_origin_add(out, "teacher.store", "%s", run->stored.hex);
    kd_origin_add_all(out, "teacher", &run->teachers);
}

/* The same with what they say and how it is kept. */
static void add_teaching(kd_origin *out, const kd_run *run) {
    if (!run->config->teacher.present) return;
    add_section(out, run, "teacher", 0, NO_PATHS);
    add_teachers(out, run);
}

void kd_run_origin_stage(kd_origin *out, const kd_run *run, const char *stage,
                         const kd_quantize_config *qat) {
    const kd_config *config = run->config;
    const bool taught = config->teacher.present && strcmp(stage, "baseline") != 0;
    begin(out, run, stage);
    add_section(out, run, "seed", 0, NOTHING);
    add_section(out, run, "data", 0, NAMED_BY_CONTENT);
    add_samples(out, run);
    add_section(out, run, "model", 0, NOTHING);
    add_section(out, run, "train", 0, DECIDES_NOTHING);
    add_section(out, run, "loss", 0, NOTHING);
    if (qat) add_section(out, run, "quantize", (int)(qat - config->quantize), DECIDES_NOTHING);
    if (!taught) return;
    add_teaching(out, run);
    if (config->teacher.store[0]) return;
    kd_origin_add_hash(out, "teacher.parameters", &run->teacher.hash); /* once it is there */
    kd_origin_add_hash(out, "store.content", &run->stored);
}

/* The seed and the augmentation decide it when the teacher answers for views. */
void kd_run_origin_store(kd_origin *out, const kd_run *run) {
    static const char *const presented[] = {"folder", "train", "test", "augment", NULL};
    const kd_config *config = run->config;
    const bool views = config->teacher.views > 0;
    begin(out, run, "teach");
    if (views) add_section(out, run, "seed", 0, NOTHING);
    add_section(out, run, "data", 0, views ? NAMED_BY_CONTENT : presented);
    kd_origin_add(out, "samples.train", "%s", run->train->hash.hex);
    kd_origin_add(out, "samples.classes", "%s", run->classes.hex);
    if (config->teacher.kind == KD_STORE_TOPK)
        kd_origin_add(out, "loss.temperature", "%.9g", config->loss.temperature);
    add_teaching(out, run);
    kd_origin_add_hash(out, "teacher.parameters", &run->teacher.hash);
}

static void add_student(kd_origin *out, const kd_run *run, const char *stage,
                        const kd_quantize_config *qat) {
    kd_origin made;
    kd_run_origin_stage(&made, run, stage, qat);
    kd_origin_add_key(out, "student", &made);
    kd_origin_clear(&made);
}

/* Short, since it is in every exported file: the student's own origin stands in its checkpoint. */
void kd_run_origin_blob(kd_origin *out, const kd_run *run, const kd_quantize_config *how,
                        bool qat) {
    static const char *const untrained[] = {"qat", NULL};
    begin(out, run, qat ? "qat" : "ptq");
    add_section(out, run, "seed", 0, NOTHING);
    add_samples(out, run);
    add_section(out, run, "quantize", (int)(how - run->config->quantize),
                qat ? DECIDES_NOTHING : untrained);
    add_section(out, run, "correct_bias", 0, NOTHING);
    if (qat)
        add_student(out, run, how->stage, how);
    else
        add_student(out, run, "train", NULL);
}

void kd_run_origin_whole(kd_origin *out, const kd_run *run) {
    begin(out, run, NULL);
    add_section(out, run, "seed", 0, NOTHING);
    add_section(out, run, "data", 0, NAMED_BY_CONTENT);
    add_samples(out, run);
    kd_origin_add(out, "samples.test", "%s", run->test->hash.hex);
    add_section(out, run, "model", 0, NOTHING);
    add_section(out, run, "train", 0, DECIDES_NOTHING);
    add_section(out, run, "loss", 0, NOTHING);
    add_section(out, run, "quantize", KD_ORIGIN_ALL, DECIDES_NOTHING);
    add_section(out, run, "correct_bias", 0, NOTHING);
    add_section(out, run, "baseline", 0, NOTHING);
    add_teaching(out, run);
}

void kd_run_origin_teacher(kd_origin *out, const kd_run *run) {
    static const char *const of_training[] = {"folder",  "train",      "test",        "augment",
                                              "exclude", "validation", "train_limit", NULL};
    static const char *const of_store[] = {"config", "weights", "store", "targets", "views", NULL};
    begin(out, run, NULL);
    add_section(out, run, "data", 0, of_training);
    kd_origin_add(out, "samples.test", "%s", run->test->hash.hex);
    kd_origin_add(out, "samples.classes", "%s", run->classes.hex);
    add_section(out, run, "teacher", 0, of_store);
    add_teachers(out, run);
}
