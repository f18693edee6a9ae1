#include "base/error.h"
#include "distill/results.h"
#include "tasks/encoder/encoder_run.h"

/* Bumped when the same inputs would give another result. */
static const char ALGORITHM[] = "distill-encoder-1";

/* Texts, which are named by their tokens, what people read, and where numbers are kept. */
static const char *const DATA_WITHOUT[] = {"train", "validation", "test", "source", NULL};
static const char *const MODEL_WITHOUT[] = {"weights", NULL};
static const char *const DECIDES_NOTHING[] = {"checkpoint_seconds", "recompute", NULL};
static const char *const NOTHING[] = {NULL};

static void add_section(kd_origin *out, const kd_encoder_run *run, const char *section, int index,
                        const char *const *without) {
    kd_origin_add_config(out, run->config->resolved, section, index, without);
}

static void add_samples(kd_origin *out, const char *key, const kd_encoder_samples *samples) {
    if (samples->masked)
        kd_origin_add(out, key, "%s", kd_masked_hash(samples->masked).hex);
    else if (samples->sentences.count > 0)
        kd_origin_add(out, key, "%s", kd_sentences_hash(&samples->sentences).hex);
}

static void begin_training(kd_origin *out, const kd_encoder_run *run, const char *stage) {
    const kd_text_tokenizer *tokenizer = kd_encoder_run_start(run)->tokenizer;
    *out = (kd_origin){0};
    kd_origin_begin(out, "encoder", ALGORITHM, stage);
    add_section(out, run, "seed", 0, NOTHING);
    kd_origin_add_products(out, run->precision);
    add_section(out, run, "data", 0, DATA_WITHOUT);
    if (run->teacher) kd_origin_add(out, "teacher.parameters", "%s", run->teacher_hash.hex);
    if (run->start) kd_origin_add(out, "model.parameters", "%s", run->start_hash.hex);
    kd_origin_add(out, "tokens", "%s", kd_text_tokenizer_hash(tokenizer).hex);
    add_samples(out, "samples.train", &run->train);
    add_samples(out, "samples.validation", &run->validation);
    add_section(out, run, "model", 0, MODEL_WITHOUT);
    add_section(out, run, "train", 0, DECIDES_NOTHING);
    add_section(out, run, "loss", 0, NOTHING);
}

void kd_encoder_origin_stage(kd_origin *out, const kd_encoder_run *run) {
    begin_training(out, run, "train");
}

void kd_encoder_origin_whole(kd_origin *out, const kd_encoder_run *run) {
    begin_training(out, run, "all");
    add_samples(out, "samples.test", &run->test);
    add_section(out, run, "quantize", KD_ORIGIN_ALL, NOTHING);
}

void kd_encoder_origin_file(kd_origin *out, const kd_encoder_run *run,
                            const kd_encoder_quantize *how) {
    kd_origin made;
    *out = (kd_origin){0};
    kd_origin_begin(out, "encoder", ALGORITHM, "export");
    if (how) add_section(out, run, "quantize", (int)(how - run->config->quantize), NOTHING);
    kd_encoder_origin_stage(&made, run);
    kd_origin_add_key(out, "student", &made);
    kd_origin_clear(&made);
}

static int compare_file(const kd_encoder_run *run, const kd_encoder_quantize *how) {
    char path[KD_PATH_MAX];
    kd_origin now;
    int status = kd_encoder_run_file(run, how, path);
    if (status < 0) return status;
    kd_encoder_origin_file(&now, run, how);
    status = kd_results_check_gguf(path, &now);
    kd_origin_clear(&now);
    return status;
}

int kd_encoder_compare(const kd_encoder_run *run) {
    kd_origin now;
    int status = kd_origin_check_folder(run->folder, KD_ENCODER_KINDS);
    if (status < 0) return status;
    kd_encoder_origin_stage(&now, run);
    status = kd_results_check_stage(run->folder, "train", &now);
    kd_origin_clear(&now);
    if (status == KD_OK) status = compare_file(run, NULL);
    for (int i = 0; i < run->config->quantize_count && status == KD_OK; i++)
        status = compare_file(run, &run->config->quantize[i]);
    return status;
}
