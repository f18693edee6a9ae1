#include "base/error.h"
#include "distill/results.h"
#include "tasks/language/language_run.h"

/* Bumped when the same inputs would give another result. */
static const char ALGORITHM[] = "distill-language-1";

/* Texts, which are named by their tokens, what people read, and where numbers are kept. */
static const char *const DATA_WITHOUT[] = {"train", "validation", "test", "source", NULL};
static const char *const TEACHER_WITHOUT[] = {"weights", "source", NULL};
static const char *const DECIDES_NOTHING[] = {"checkpoint_seconds", "recompute", NULL};
static const char *const NOTHING[] = {NULL};

static void begin(kd_origin *out, const char *stage) {
    *out = (kd_origin){0};
    kd_origin_begin(out, "language", ALGORITHM, stage);
}

static void add_section(kd_origin *out, const kd_language_run *run, const char *section, int index,
                        const char *const *without) {
    kd_origin_add_config(out, run->config->resolved, section, index, without);
}

static void add_contexts(kd_origin *out, const char *key, const kd_contexts *contexts) {
    if (contexts) kd_origin_add(out, key, "%s", kd_contexts_hash(contexts).hex);
}

/* The teacher counts only where it is asked, or lends its layers. */
static void add_teaching(kd_origin *out, const kd_language_run *run) {
    kd_origin_add_products(out, run->precision);
    add_section(out, run, "data", 0, DATA_WITHOUT);
    add_section(out, run, "teacher", 0, TEACHER_WITHOUT);
    kd_origin_add(out, "teacher.parameters", "%s", run->teacher_hash.hex);
    kd_origin_add(out, "teacher.tokens", "%s", kd_text_tokenizer_hash(run->teacher->tokenizer).hex);
    add_contexts(out, "contexts.train", run->train);
}

static void add_training(kd_origin *out, const kd_language_run *run) {
    add_section(out, run, "seed", 0, NOTHING);
    add_teaching(out, run);
    add_contexts(out, "contexts.validation", run->validation);
    add_section(out, run, "model", 0, NOTHING);
    add_section(out, run, "train", 0, DECIDES_NOTHING);
    add_section(out, run, "loss", 0, NOTHING);
}

void kd_language_origin_stage(kd_origin *out, const kd_language_run *run,
                              const kd_language_quantize *how) {
    begin(out, how ? how->stage : "train");
    add_training(out, run);
    if (kd_language_has_store(run->config)) kd_origin_add_hash(out, "store.content", &run->stored);
    if (how) add_section(out, run, "quantize", (int)(how - run->config->quantize), DECIDES_NOTHING);
}

void kd_language_origin_store(kd_origin *out, const kd_language_run *run) {
    begin(out, "teach");
    add_teaching(out, run);
    if (run->config->teacher.targets != KD_TEACHER_HIDDEN)
        kd_origin_add(out, "loss.temperature", "%.9g", run->config->loss.temperature);
    if (run->config->teacher.targets == KD_TEACHER_SAMPLED)
        add_section(out, run, "seed", 0, NOTHING);
}

void kd_language_origin_file(kd_origin *out, const kd_language_run *run,
                             const kd_language_quantize *how, bool ptq) {
    kd_origin made;
    begin(out, "export");
    if (how) add_section(out, run, "quantize", (int)(how - run->config->quantize), DECIDES_NOTHING);
    kd_language_origin_stage(&made, run, how && how->qat && !ptq ? how : NULL);
    kd_origin_add_key(out, "student", &made);
    kd_origin_clear(&made);
}

void kd_language_origin_whole(kd_origin *out, const kd_language_run *run) {
    begin(out, "all");
    add_training(out, run);
    add_contexts(out, "contexts.test", run->test);
    add_section(out, run, "quantize", KD_ORIGIN_ALL, DECIDES_NOTHING);
}

/* One that several runs share is named by its origin. */
int kd_language_store_path(const kd_language_run *run, char out[KD_PATH_MAX]) {
    kd_origin origin;
    if (!run->shared[0]) return kd_path_join(out, run->folder, "store");
    kd_language_origin_store(&origin, run);
    int status = kd_results_shared_store(out, run->shared, &origin);
    kd_origin_clear(&origin);
    return status;
}

/* --- comparing ---------------------------------------------------------------------------------
 */

static int compare_stage(const kd_language_run *run, const kd_language_quantize *how) {
    kd_origin now;
    kd_language_origin_stage(&now, run, how);
    int status = kd_results_check_stage(run->folder, how ? how->stage : "train", &now);
    kd_origin_clear(&now);
    return status;
}

static int compare_store(const kd_language_run *run) {
    char path[KD_PATH_MAX];
    kd_origin now;
    if (!kd_language_has_store(run->config)) return KD_OK;
    int status = kd_language_store_path(run, path);
    if (status < 0) return status;
    kd_language_origin_store(&now, run);
    status = kd_results_check_store(path, &now);
    kd_origin_clear(&now);
    return status;
}

static int compare_file(const kd_language_run *run, const kd_language_quantize *how, bool ptq) {
    char path[KD_PATH_MAX];
    kd_origin now;
    int status = kd_language_run_file(run, how, ptq, path);
    if (status < 0) return status;
    kd_language_origin_file(&now, run, how, ptq);
    status = how && how->layout[0] ? kd_results_check_folder(path, &now)
                                   : kd_results_check_gguf(path, &now);
    kd_origin_clear(&now);
    return status;
}

int kd_language_compare(const kd_language_run *run) {
    const kd_language_config *config = run->config;
    int status = kd_origin_check_folder(run->folder, KD_LANGUAGE_KINDS);
    if (status == KD_OK) status = compare_store(run);
    if (status == KD_OK) status = compare_stage(run, NULL);
    if (status == KD_OK) status = compare_file(run, NULL, false);
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++) {
        const kd_language_quantize *how = &config->quantize[i];
        if (how->qat) status = compare_stage(run, how);
        if (status == KD_OK) status = compare_file(run, how, false);
        if (status == KD_OK && how->qat) status = compare_file(run, how, true);
    }
    return status;
}
