#include "speech/label.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "data/text_normalizer.h"
#include "distill/trainer.h"
#include "speech/greedy.h"
#include "speech/hearing.h"
#include "speech/label_file.h"

/* The stage under way. What listens is made when something is to be heard. */
typedef struct {
    kd_labels *out;
    const char *folder;
    const kd_utterances *utterances;
    const kd_whisper_file *teacher;
    kd_label_key key; /* its hash of utterances: those of the shard at hand */
    kd_hearing hearing;
    kd_greedy *greedy;
    kd_real *mel; /* (KD_GREEDY_MOST, frames, mels) */
    kd_progress progress;
    int64_t done; /* utterances with labels */
} job;

void kd_labels_clear(kd_labels *labels) {
    for (int64_t i = 0; i < labels->count; i++) {
        free(labels->item[i].said);
        free(labels->item[i].token);
    }
    free(labels->item);
    *labels = (kd_labels){0};
}

bool kd_label_kept(const kd_label *label, double wer_below) {
    return label->wer.words > 0 && kd_wer_rate(&label->wer, 1) < wer_below;
}

int kd_label_normalize(char **out, const char *text, const kd_tokenizer *tokenizer,
                       int32_t language) {
    const kd_token_ids *ids = kd_tokenizer_ids(tokenizer);
    const bool english = !ids->multilingual || language == ids->language;
    return english ? kd_normalize_english(out, text) : kd_normalize_basic(out, text);
}

/* --- one batch ---------------------------------------------------------------------------------
 */

static int compare(const job *j, kd_label *label) {
    char *reference = NULL, *said = NULL;
    const kd_tokenizer *t = j->teacher->tokenizer;
    int status = kd_label_normalize(&reference, label->utterance->text, t, j->key.language);
    if (status == KD_OK) status = kd_label_normalize(&said, label->said, t, j->key.language);
    if (status == KD_OK) status = kd_wer_count(&label->wer, reference, said);
    free(reference);
    free(said);
    return status;
}

static int keep_text(const job *j, kd_label *label, const kd_greedy_text *text) {
    const size_t bytes = (size_t)(text->count + 1) * sizeof *label->token;
    char *said;
    int status =
        kd_tokenizer_decode(&said, NULL, j->teacher->tokenizer, text->token, text->count, false);
    if (status < 0) return status;
    label->said = strdup(said + strspn(said, " "));
    free(said);
    label->token = malloc(bytes);
    if (!label->said || !label->token) return kd_fail_memory(bytes, "labels");
    if (text->count > 0)
        memcpy(label->token, text->token, (size_t)text->count * sizeof *text->token);
    label->count = text->count;
    label->average = text->average;
    return compare(j, label);
}

/* Hears utterances first … first + n − 1 and puts the mels of those that fit together; *heard says
 * which they are. */
static int load(job *j, int64_t first, int n, kd_label **heard, int *heard_count) {
    const char *path[KD_GREEDY_MOST];
    int64_t samples[KD_GREEDY_MOST];
    for (int i = 0; i < n; i++) path[i] = j->utterances->item[first + i].audio;
    int status = kd_hearing_files(&j->hearing, j->mel, samples, path, n);
    *heard_count = 0;
    for (int i = 0; i < n && status == KD_OK; i++) {
        kd_label *label = &j->out->item[first + i];
        label->skipped = samples[i] < 0;
        if (label->skipped) continue;
        label->seconds = (double)samples[i] / KD_WHISPER_RATE;
        memmove(j->mel + *heard_count * j->hearing.values, j->mel + i * j->hearing.values,
                (size_t)j->hearing.values * sizeof *j->mel);
        heard[(*heard_count)++] = label;
    }
    return status;
}

static int label_batch(job *j, int64_t first, int n) {
    kd_label *heard[KD_GREEDY_MOST];
    kd_greedy_text text[KD_GREEDY_MOST];
    int count;
    int status = load(j, first, n, heard, &count);
    if (status < 0 || count == 0) return status;
    status = kd_greedy_listen(j->greedy, j->mel, count, j->hearing.frames);
    if (status == KD_OK) status = kd_greedy_run(j->greedy, text);
    for (int i = 0; i < count && status == KD_OK; i++) status = keep_text(j, heard[i], &text[i]);
    return status;
}

/* --- shards ------------------------------------------------------------------------------------
 */

static int prepare(job *j) {
    const kd_whisper *model = j->teacher->model;
    if (j->greedy) return KD_OK;
    int status =
        kd_greedy_create(&j->greedy, model, j->teacher->tokenizer, j->key.language, j->key.task);
    if (status == KD_OK) status = kd_hearing_init(&j->hearing, &model->spec);
    if (status < 0) return status;
    const size_t bytes = (size_t)(KD_GREEDY_MOST * j->hearing.values) * sizeof *j->mel;
    j->mel = malloc(bytes);
    return j->mel ? KD_OK : kd_fail_memory(bytes, "what the teacher hears");
}

static int hear_shard(job *j, int64_t first, int64_t count) {
    int status = prepare(j);
    for (int64_t i = 0; i < count && status == KD_OK; i += KD_GREEDY_MOST) {
        const int n = count - i < KD_GREEDY_MOST ? (int)(count - i) : KD_GREEDY_MOST;
        const kd_label *label = &j->out->item[first + i];
        char detail[64];
        if (kd_train_take_stop())
            return kd_fail(KD_EAGAIN, "%s: stopped at utterance %lld of %lld; run again to go on",
                           j->folder, (long long)first, (long long)j->utterances->count);
        status = label_batch(j, first + i, n);
        if (status < 0) return status;
        snprintf(detail, sizeof detail, "%.48s", label->said ? label->said : "");
        j->done += n;
        kd_progress_show(&j->progress, j->done, detail);
    }
    return status;
}

static int shard_path(const job *j, int64_t shard, char out[KD_PATH_MAX]) {
    char name[64];
    snprintf(name, sizeof name, "labels-%05lld.jsonl", (long long)shard);
    return kd_path_join(out, j->folder, name);
}

/* Reads a shard, or makes it. */
static int do_shard(job *j, int64_t shard, kd_hash *hash) {
    const int64_t first = shard * KD_LABELS_IN_SHARD, left = j->utterances->count - first;
    const int64_t count = left < KD_LABELS_IN_SHARD ? left : KD_LABELS_IN_SHARD;
    kd_label *label = &j->out->item[first];
    char path[KD_PATH_MAX];
    int status = shard_path(j, shard, path);
    if (status == KD_OK)
        status = kd_utterances_hash(&j->key.utterances, j->utterances, first, count);
    if (status < 0) return status;
    if (kd_file_exists(path))
        return kd_label_file_read(path, label, count, &j->key, j->teacher->model->spec.vocabulary,
                                  hash);
    status = hear_shard(j, first, count);
    return status < 0 ? status : kd_label_file_write(path, label, count, &j->key, hash);
}

/* How many utterances the shards that are there hold. */
static int64_t count_done(const job *j, int64_t shards) {
    int64_t done = 0;
    for (int64_t s = 0; s < shards; s++) {
        const int64_t left = j->utterances->count - s * KD_LABELS_IN_SHARD;
        char path[KD_PATH_MAX];
        if (shard_path(j, s, path) == KD_OK && kd_file_exists(path))
            done += left < KD_LABELS_IN_SHARD ? left : KD_LABELS_IN_SHARD;
    }
    return done;
}

static int run_shards(job *j) {
    const int64_t n = j->utterances->count;
    const int64_t shards = (n + KD_LABELS_IN_SHARD - 1) / KD_LABELS_IN_SHARD;
    kd_hash *hash = malloc((size_t)shards * sizeof *hash);
    if (!hash) return kd_fail_memory((size_t)shards * sizeof *hash, "labels");
    j->done = count_done(j, shards);
    const bool missing = j->done < n;
    if (missing) kd_progress_begin(&j->progress, "label", "utterances", 1, j->done, n);
    int status = KD_OK;
    for (int64_t s = 0; s < shards && status == KD_OK; s++) status = do_shard(j, s, &hash[s]);
    if (missing) kd_progress_end(&j->progress);
    if (status == KD_OK) j->out->hash = kd_hash_join(hash, (int)shards);
    free(hash);
    return status;
}

/* One empty label for each utterance, when all sounds are there. */
static int begin(job *j) {
    const kd_utterances *u = j->utterances;
    const kd_token_ids *ids = kd_tokenizer_ids(j->teacher->tokenizer);
    const size_t bytes = (size_t)u->count * sizeof *j->out->item;
    kd_hash hash;
    if (ids->multilingual && j->key.language < 0)
        return kd_fail(KD_ECONFIG, "the teacher knows many languages; say which is spoken");
    int status = kd_utterances_hash(&hash, u, 0, u->count);
    if (status == KD_OK) status = kd_file_make_folders(j->folder);
    if (status < 0) return status;
    j->out->item = calloc(1, bytes);
    if (!j->out->item) return kd_fail_memory(bytes, "labels");
    j->out->count = u->count;
    for (int64_t i = 0; i < u->count; i++) j->out->item[i].utterance = &u->item[i];
    return KD_OK;
}

/* Tells of the utterances that are too long. */
static void count_skipped(kd_labels *labels) {
    const kd_label *first = NULL;
    for (int64_t i = 0; i < labels->count; i++) {
        if (!labels->item[i].skipped) continue;
        if (!first) first = &labels->item[i];
        labels->skipped++;
    }
    if (first)
        kd_warn("%lld of %lld utterances are longer than the teacher hears at once and left out; "
                "the first is %s",
                (long long)labels->skipped, (long long)labels->count, first->utterance->audio);
}

int kd_label_run(kd_labels *out, const char *folder, const kd_utterances *utterances,
                 const kd_whisper_file *teacher, kd_hash teacher_hash,
                 const kd_label_options *options) {
    const bool multilingual = kd_tokenizer_ids(teacher->tokenizer)->multilingual;
    job j = {.out = out, .folder = folder, .utterances = utterances, .teacher = teacher};
    j.key.teacher = teacher_hash;
    j.key.language = multilingual ? options->language : -1;
    j.key.task = multilingual ? options->task : -1;
    KD_CONTRACT(utterances->count > 0, "no utterances for %s", folder);
    *out = (kd_labels){0};
    int status = begin(&j);
    if (status == KD_OK) status = run_shards(&j);
    if (status == KD_OK) count_skipped(out);
    kd_greedy_free(j.greedy);
    kd_hearing_clear(&j.hearing);
    free(j.mel);
    return status;
}
