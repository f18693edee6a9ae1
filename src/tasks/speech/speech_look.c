#include "tasks/speech/speech_look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "distill/checkpoint.h"

/* Bumped when the same inputs would give another result. */
static const char ALGORITHM[] = "distill-speech-1";

/* Lists, whose recordings are named by their content, what people read, and where numbers are kept.
 */
static const char *const DATA_WITHOUT[] = {"train",  "validation",    "test",
                                           "source", "encoder_cache", NULL};
static const char *const TEACHER_WITHOUT[] = {"weights", "source", NULL};
static const char *const DECIDES_NOTHING[] = {"checkpoint_seconds", NULL};
static const char *const NOTHING[] = {NULL};

static void begin(kd_origin *out, const char *stage) {
    *out = (kd_origin){0};
    kd_origin_add(out, "kind", "speech");
    kd_origin_add(out, "algorithm", "%s", ALGORITHM);
    kd_origin_add(out, "stage", "%s", stage);
    kd_origin_add(out, "numbers", "%s", sizeof(kd_real) == sizeof(float) ? "float32" : "float64");
}

static void add_section(kd_origin *out, const kd_speech_run *run, const char *section, int index,
                        const char *const *without) {
    kd_origin_add_config(out, run->config->resolved, section, index, without);
}

static void add_late(kd_origin *out, const char *key, const kd_hash *hash) {
    if (hash && hash->hex[0])
        kd_origin_add(out, key, "%s", hash->hex);
    else
        kd_origin_add_unknown(out, key);
}

static void add_windows(kd_origin *out, const char *key, const kd_speech_list *list) {
    if (list->utterances.count > 0) add_late(out, key, list->windows ? &list->windows->hash : NULL);
}

static void add_teacher(kd_origin *out, const kd_speech_run *run) {
    kd_origin_add(out, "products", "%s",
                  run->precision == KD_PRECISION_BFLOAT16 ? "bfloat16" : "float32");
    add_section(out, run, "teacher", 0, TEACHER_WITHOUT);
    kd_origin_add(out, "teacher.parameters", "%s", run->teacher_hash.hex);
    kd_origin_add(out, "teacher.tokens", "%s", run->tokens_hash.hex);
}

/* The windows are made by these keys; they stand here for the message. */
static void add_teaching(kd_origin *out, const kd_speech_run *run) {
    add_section(out, run, "seed", 0, NOTHING);
    kd_origin_add(out, "products", "%s",
                  run->precision == KD_PRECISION_BFLOAT16 ? "bfloat16" : "float32");
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
    add_late(out, "store.content", &run->stored);
    add_section(out, run, "model", 0, NOTHING);
    add_section(out, run, "train", 0, DECIDES_NOTHING);
    add_section(out, run, "loss", 0, NOTHING);
    if (how) add_section(out, run, "quantize", (int)(how - run->config->quantize), DECIDES_NOTHING);
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
    add_section(out, run, "quantize", KD_ORIGIN_ALL, DECIDES_NOTHING);
}

int kd_speech_store_path(const kd_speech_run *run, char out[KD_PATH_MAX]) {
    char name[32], *text;
    kd_origin origin;
    if (!run->shared[0]) return kd_path_join(out, run->folder, "store");
    kd_speech_origin_store(&origin, run);
    int status = kd_origin_text(&text, &origin);
    if (status == KD_OK) snprintf(name, sizeof name, "store-%.16s", kd_origin_key(text).hex);
    if (status == KD_OK) status = kd_path_join(out, run->shared, name);
    kd_origin_clear(&origin);
    free(text);
    return status;
}

void kd_speech_origin_file(kd_origin *out, const kd_speech_run *run, const kd_speech_quantize *how,
                           bool ptq) {
    kd_origin made;
    begin(out, "export");
    if (how) add_section(out, run, "quantize", (int)(how - run->config->quantize), DECIDES_NOTHING);
    kd_speech_origin_stage(&made, run, how && how->qat && !ptq ? how : NULL);
    kd_origin_add_key(out, "student", &made);
    kd_origin_clear(&made);
}

void kd_speech_origin_encoded(kd_origin *out, const kd_speech_list *list, const kd_hash *encoder) {
    begin(out, "encode");
    kd_origin_add(out, "encoder", "%s", encoder->hex);
    kd_origin_add(out, "windows", "%s", list->windows->hash.hex);
    kd_origin_add(out, "kept", "bfloat16");
}

/* --- comparing ------------------------------------------------------------------------------ */

/* Ends a comparison: both are freed. */
static int check(const char *path, int status, char *made, kd_origin *now) {
    if (status == KD_OK) status = kd_origin_check(path, made, now);
    kd_origin_clear(now);
    free(made);
    return status;
}

static int compare_checkpoint(const kd_speech_run *run, const char *which,
                              const kd_speech_quantize *how) {
    char name[64], path[KD_PATH_MAX], *made;
    snprintf(name, sizeof name, "%s.%s.h5", how ? how->stage : "train", which);
    int status = kd_path_join(path, run->folder, name);
    if (status < 0 || !kd_file_exists(path)) return status;
    kd_origin now;
    kd_speech_origin_stage(&now, run, how);
    status = kd_checkpoint_origin(&made, path);
    return check(path, status, made, &now);
}

static int compare_stage(const kd_speech_run *run, const kd_speech_quantize *how) {
    int status = compare_checkpoint(run, "last", how);
    return status < 0 ? status : compare_checkpoint(run, "best", how);
}

static int compare_store(const kd_speech_run *run) {
    char path[KD_PATH_MAX], *made;
    if (run->shared[0]) return KD_OK; /* its name is its origin's */
    int status = kd_speech_store_path(run, path);
    if (status < 0) return status;
    status = kd_store_origin(&made, path);
    if (status == KD_ENOINPUT || status == KD_EDATA) return KD_OK; /* made, or made again */
    kd_origin now;
    kd_speech_origin_store(&now, run);
    return check(path, status, made, &now);
}

static int compare_file(const kd_speech_run *run, const kd_speech_quantize *how, bool ptq) {
    char path[KD_PATH_MAX], *made;
    int status = kd_speech_run_gguf(run, how, ptq, path);
    if (status < 0 || !kd_file_exists(path)) return status;
    status = kd_gguf_read_text(&made, path, "distill.origin");
    if (status == KD_EDATA) {
        kd_warn("%s; it is made again", kd_error());
        return KD_OK;
    }
    kd_origin now;
    kd_speech_origin_file(&now, run, how, ptq);
    return check(path, status, made, &now);
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
