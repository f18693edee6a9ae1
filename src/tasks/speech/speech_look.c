#include "tasks/speech/speech_look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "distill/results.h"

/* Bumped when the same inputs would give another result. */
static const char ALGORITHM[] = "distill-speech-1";

/* Lists, whose recordings are named by their content, what people read, and where numbers are kept.
 */
static const char *const DATA_WITHOUT[] = {"train",  "validation",    "test",
                                           "source", "encoder_cache", NULL};
static const char *const TEACHER_WITHOUT[] = {"weights", "source", NULL};
static const char *const DECIDES_NOTHING[] = {"checkpoint_seconds", "recompute", NULL};
static const size_t IMATRIX_MOST = (size_t)1 << 30;
static const char *const NOTHING[] = {NULL};

/* A file of a quantizer goes by its content. */
static const char *const QUANTIZE_WITHOUT[] = {"checkpoint_seconds", "imatrix", NULL};

static void begin(kd_origin *out, const char *stage) {
    *out = (kd_origin){0};
    kd_origin_begin(out, "speech", ALGORITHM, stage);
}

static void add_section(kd_origin *out, const kd_speech_run *run, const char *section, int index,
                        const char *const *without) {
    kd_origin_add_config(out, run->config->resolved, section, index, without);
}

static void add_windows(kd_origin *out, const char *key, const kd_speech_list *list) {
    const kd_hash unknown = {""};
    if (list->utterances.count > 0)
        kd_origin_add_hash(out, key, list->windows ? &list->windows->hash : &unknown);
}

static void add_teacher(kd_origin *out, const kd_speech_run *run) {
    kd_origin_add_products(out, run->precision);
    add_section(out, run, "teacher", 0, TEACHER_WITHOUT);
    kd_origin_add(out, "teacher.parameters", "%s", run->teacher_hash.hex);
    kd_origin_add(out, "teacher.tokens", "%s", run->tokens_hash.hex);
}

/* An entry of "quantize", or with NULL all of them. */
static void add_quantize(kd_origin *out, const kd_speech_run *run, const kd_speech_quantize *how) {
    const kd_speech_config *config = run->config;
    const int which = how ? (int)(how - config->quantize) : KD_ORIGIN_ALL;
    add_section(out, run, "quantize", which, QUANTIZE_WITHOUT);
    for (int i = 0; i < config->quantize_count; i++) {
        kd_hash hash = {""};
        char key[48], *bytes;
        size_t length;
        if (!config->quantize[i].imatrix[0] || (how && how != &config->quantize[i])) continue;
        if (kd_file_read(&bytes, &length, config->quantize[i].imatrix, IMATRIX_MOST) == KD_OK) {
            hash = kd_hash_bytes(bytes, length);
            free(bytes);
        }
        snprintf(key, sizeof key, "quantize[%d].imatrix.content", i);
        kd_origin_add(out, how ? "quantize.imatrix.content" : key, "%s", hash.hex);
    }
}

/* The windows are made by these keys; they stand here for the message. */
static void add_teaching(kd_origin *out, const kd_speech_run *run) {
    add_section(out, run, "seed", 0, NOTHING);
    kd_origin_add_products(out, run->precision);
    add_section(out, run, "data", 0, DATA_WITHOUT);
    add_section(out, run, "teacher", 0, TEACHER_WITHOUT);
    kd_origin_add(out, "teacher.parameters", "%s", run->teacher_hash.hex);
    kd_origin_add(out, "teacher.tokens", "%s", run->tokens_hash.hex);
    add_windows(out, "windows.train", &run->train);
}

void kd_speech_origin_stage(kd_origin *out, const kd_speech_run *run,
                            const kd_speech_quantize *how) {
    begin(out, how ? how->stage : "train");
    add_teaching(out, run);
    add_windows(out, "windows.validation", &run->validation);
    kd_origin_add_hash(out, "store.content", &run->stored);
    add_section(out, run, "model", 0, NOTHING);
    add_section(out, run, "train", 0, DECIDES_NOTHING);
    add_section(out, run, "loss", 0, NOTHING);
    if (how) add_quantize(out, run, how);
}

/* One that several runs share says nothing of what made the windows, but the windows. */
void kd_speech_origin_store(kd_origin *out, const kd_speech_run *run) {
    begin(out, "teach");
    if (run->shared[0]) {
        add_teacher(out, run);
        add_windows(out, "windows.train", &run->train);
    } else {
        add_teaching(out, run);
    }
    if (run->config->teacher.kind == KD_STORE_TOPK)
        kd_origin_add(out, "loss.temperature", "%.9g", run->config->loss.temperature);
}

void kd_speech_origin_whole(kd_origin *out, const kd_speech_run *run) {
    const kd_speech_list *list[] = {&run->train, &run->validation, &run->test};
    begin(out, "all");
    add_section(out, run, "seed", 0, NOTHING);
    add_section(out, run, "data", 0, DATA_WITHOUT);
    for (int i = 0; i < 3; i++) {
        char key[48];
        snprintf(key, sizeof key, "recordings.%s", list[i]->name);
        if (list[i]->utterances.count > 0) kd_origin_add(out, key, "%s", list[i]->content.hex);
    }
    add_teacher(out, run);
    add_section(out, run, "model", 0, NOTHING);
    add_section(out, run, "train", 0, DECIDES_NOTHING);
    add_section(out, run, "loss", 0, NOTHING);
    add_quantize(out, run, NULL);
}

int kd_speech_store_path(const kd_speech_run *run, char out[KD_PATH_MAX]) {
    kd_origin origin;
    if (!run->shared[0]) return kd_path_join(out, run->folder, "store");
    kd_speech_origin_store(&origin, run);
    int status = kd_results_shared_store(out, run->shared, &origin);
    kd_origin_clear(&origin);
    return status;
}

void kd_speech_origin_file(kd_origin *out, const kd_speech_run *run, const kd_speech_quantize *how,
                           bool ptq) {
    kd_origin made;
    begin(out, "export");
    if (how) add_quantize(out, run, how);
    kd_speech_origin_stage(&made, run, how && how->qat && !ptq ? how : NULL);
    kd_origin_add_key(out, "student", &made);
    kd_origin_clear(&made);
}

void kd_speech_origin_encoded(kd_origin *out, const kd_speech_list *list, const kd_hash *encoder,
                              kd_precision precision) {
    begin(out, "encode");
    kd_origin_add(out, "encoder", "%s", encoder->hex);
    kd_origin_add(out, "windows", "%s", list->windows->hash.hex);
    kd_origin_add(out, "kept", "bfloat16");
    if (precision != KD_PRECISION_FLOAT32) kd_origin_add_products(out, precision);
}

/* --- comparing ------------------------------------------------------------------------------ */

static int compare_stage(const kd_speech_run *run, const kd_speech_quantize *how) {
    kd_origin now;
    kd_speech_origin_stage(&now, run, how);
    int status = kd_results_check_stage(run->folder, how ? how->stage : "train", &now);
    kd_origin_clear(&now);
    return status;
}

static int compare_store(const kd_speech_run *run) {
    char path[KD_PATH_MAX];
    if (run->shared[0]) return KD_OK; /* its name is its origin's */
    int status = kd_speech_store_path(run, path);
    if (status < 0) return status;
    kd_origin now;
    kd_speech_origin_store(&now, run);
    status = kd_results_check_store(path, &now);
    kd_origin_clear(&now);
    return status;
}

static int compare_file(const kd_speech_run *run, const kd_speech_quantize *how, bool ptq) {
    char path[KD_PATH_MAX];
    int status = kd_speech_run_gguf(run, how, ptq, path);
    if (status < 0) return status;
    kd_origin now;
    kd_speech_origin_file(&now, run, how, ptq);
    status = kd_results_check_gguf(path, &now);
    kd_origin_clear(&now);
    return status;
}

int kd_speech_has_results(bool *out, const kd_speech_run *run) {
    static const char *const made[] = {"store/shard-00000.h5", "train.last.h5", "train.best.h5"};
    char path[KD_PATH_MAX];
    *out = false;
    int status = KD_OK;
    for (size_t i = 0; i < sizeof made / sizeof *made && status == KD_OK && !*out; i++) {
        status = kd_path_join(path, run->folder, made[i]);
        *out = status == KD_OK && kd_file_exists(path);
    }
    return status;
}

int kd_speech_compare(const kd_speech_run *run) {
    const kd_speech_config *config = run->config;
    int status = kd_origin_check_folder(run->folder, KD_SPEECH_KINDS);
    if (status == KD_OK) status = compare_store(run);
    if (status == KD_OK) status = compare_stage(run, NULL);
    if (status == KD_OK) status = compare_file(run, NULL, false);
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++) {
        const kd_speech_quantize *how = &config->quantize[i];
        if (how->qat) status = compare_stage(run, how);
        if (status == KD_OK) status = compare_file(run, how, false);
        if (status == KD_OK && how->qat) status = compare_file(run, how, true);
    }
    return status;
}
