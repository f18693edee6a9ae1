#include "tasks/speech/label.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/flow.h"
#include "base/log.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"
#include "distill/trainer.h"
#include "tasks/speech/features.h"
#include "tasks/speech/greedy.h"
#include "tasks/speech/label_file.h"
#include "tasks/speech/recordings.h"

/* Batches that a rank may be ahead of another. */
enum { AHEAD = 2 };
static const double SAVE_SECONDS = 10; /* of features that a crash can lose */
/* Recordings that cannot be read end the stage when there are so many, and more than one in so many
 * of the list. */
enum { FAULTS_LEAST = 3, FAULTS_ONE_IN = 10 };

/* The stage under way. What listens is made when something is to be heard. */
typedef struct {
    kd_labels *out;
    const char *folder;
    const kd_utterances *utterances;
    const kd_whisper_file *teacher;
    kd_label_options options; /* of a teacher of English alone: no ids */
    kd_recordings recordings;
    int64_t *first; /* (count) the first utterance with the same sound, maybe itself; −1: unread */
    kd_label_files *files;
    kd_features features;
    kd_greedy *greedy;
    kd_real *mel; /* (KD_GREEDY_MOST, frames, mels) */
    kd_progress progress;
    int64_t done, total;             /* different sounds with labels, and in all */
    int64_t *missing, missing_count; /* utterances to be heard */
    const kd_label *last;            /* that was kept          */
    double saved;                    /* when                   */
} job;

static void clear_label(kd_label *label) {
    free(label->said);
    free(label->token);
    free(label->fault);
}

void kd_labels_clear(kd_labels *labels) {
    for (int64_t i = 0; i < labels->count; i++) clear_label(&labels->item[i]);
    free(labels->item);
    *labels = (kd_labels){0};
}

bool kd_label_kept(const kd_label *label, double wer_below) {
    return label->wer.words > 0 && kd_wer_rate(&label->wer, 1) < wer_below;
}

/* --- texts -------------------------------------------------------------------------------------
 */

static int compare(const job *j, kd_label *label) {
    char *reference = NULL, *said = NULL;
    const kd_tokenizer *t = j->teacher->tokenizer;
    int status = kd_label_normalize(&reference, label->utterance->text, t, j->options.language);
    if (status == KD_OK) status = kd_label_normalize(&said, label->said, t, j->options.language);
    if (status == KD_OK) status = kd_wer_count(&label->wer, reference, said);
    free(reference);
    free(said);
    return status;
}

static int compare_all(const job *j) {
    bool failed = false;
#pragma omp parallel for schedule(dynamic, 64) reduction(|| : failed)
    for (int64_t i = 0; i < j->out->count; i++)
        if (j->out->item[i].said) failed = compare(j, &j->out->item[i]) < 0 || failed;
    return failed ? kd_fail_memory(0, "the texts of a list") : KD_OK;
}

/* --- what is known -----------------------------------------------------------------------------
 */

static bool is_known(const kd_label *label) {
    return label->said || label->skipped || label->fault;
}

static int set_fault(job *j, int64_t i, const char *message) {
    int status = kd_recordings_set_fault(&j->recordings, i, message);
    kd_label *label = &j->out->item[i];
    if (status == KD_OK && !(label->fault = strdup(j->recordings.item[i].fault)))
        status = kd_fail_memory(strlen(message) + 1, "labels");
    return status;
}

/* What was heard in the same sound. */
static int copy_heard(job *j, int64_t i, const kd_label *from) {
    kd_label *to = &j->out->item[i];
    const size_t bytes = (size_t)(from->count + 1) * sizeof *to->token;
    if (from->fault) return set_fault(j, i, from->fault);
    to->skipped = from->skipped;
    if (to->skipped) return KD_OK;
    to->said = strdup(from->said);
    to->token = malloc(bytes);
    if (!to->said || !to->token) return kd_fail_memory(bytes, "labels");
    if (from->count > 0) memcpy(to->token, from->token, (size_t)from->count * sizeof *to->token);
    to->count = from->count;
    to->seconds = from->seconds;
    to->average = from->average;
    return KD_OK;
}

static int take_known(job *j) {
    int status = KD_OK;
    for (int64_t i = 0; i < j->out->count && status == KD_OK; i++) {
        kd_label *label = &j->out->item[i];
        const kd_label *known = kd_label_files_find(j->files, &label->sound);
        if (label->fault || !known) continue;
        status = copy_heard(j, i, known);
        j->done += j->first[i] == i;
    }
    return status;
}

static int take_repeated(job *j) {
    int status = KD_OK;
    for (int64_t i = 0; i < j->out->count && status == KD_OK; i++)
        if (!is_known(&j->out->item[i])) status = copy_heard(j, i, &j->out->item[j->first[i]]);
    return status;
}

/* Too many that cannot be read are no accident. */
static int check_faults(const job *j) {
    const int64_t faults = kd_recordings_faults(&j->recordings);
    if (faults < FAULTS_LEAST || faults * FAULTS_ONE_IN <= j->out->count) return KD_OK;
    return kd_recordings_refuse(&j->recordings, j->folder,
                                "more than one in ten; mend them or take them off the list");
}

/* --- features -----------------------------------------------------------------------------------
 */

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
    return KD_OK;
}

/* Hears n utterances and puts the mels of those that fit together; *heard says which they are. */
static int load(job *j, const int64_t *which, int n, kd_label **heard, int *heard_count) {
    const char *path[KD_GREEDY_MOST];
    int64_t samples[KD_GREEDY_MOST];
    char *fault[KD_GREEDY_MOST] = {NULL};
    for (int i = 0; i < n; i++) path[i] = j->utterances->item[which[i]].audio;
    int status = kd_features_files(&j->features, j->mel, samples, fault, path, n);
    *heard_count = 0;
    for (int i = 0; i < n; i++) {
        kd_label *label = &j->out->item[which[i]];
        if (fault[i] && status == KD_OK) status = set_fault(j, which[i], fault[i]);
        label->skipped = samples[i] < 0;
        if (!fault[i] && !label->skipped) {
            label->seconds = (double)samples[i] / KD_WHISPER_RATE;
            memmove(j->mel + *heard_count * j->features.values, j->mel + i * j->features.values,
                    (size_t)j->features.values * sizeof *j->mel);
            heard[(*heard_count)++] = label;
        }
        free(fault[i]);
    }
    return status;
}

/* The batch that begins with utterance `at` of those that are missing. */
static const int64_t *batch_of(const job *j, int64_t batch, int *n) {
    const int64_t at = batch * KD_GREEDY_MOST;
    *n = (int)kd_smaller(KD_GREEDY_MOST, j->missing_count - at);
    return j->missing + at;
}

/* The labels of n utterances as text → *out. */
static int write_text(kd_text *out, const job *j, const int64_t *which, int64_t n) {
    const kd_label **label = malloc(kd_array_bytes(n + 1, sizeof *label));
    if (!label) return kd_fail_memory((size_t)n * sizeof *label, "labels");
    for (int64_t i = 0; i < n; i++) label[i] = &j->out->item[which[i]];
    const int status = kd_label_files_text(out, j->files, label, (int)n);
    free(label);
    return status;
}

static int label_batch(void *context, int64_t batch, kd_flow_bytes *out) {
    job *j = context;
    kd_label *heard[KD_GREEDY_MOST];
    kd_greedy_text said[KD_GREEDY_MOST];
    kd_text text = {0};
    int n, count;
    const int64_t *which = batch_of(j, batch, &n);
    KD_CONTRACT(n > 0, "an empty batch");
    int status = load(j, which, n, heard, &count);
    if (status == KD_OK && count > 0) {
        status = kd_greedy_listen(j->greedy, j->mel, count, j->features.frames);
        if (status == KD_OK) status = kd_greedy_run(j->greedy, said);
    }
    for (int i = 0; i < count && status == KD_OK; i++) status = keep_text(j, heard[i], &said[i]);
    if (status == KD_OK) status = write_text(&text, j, which, n);
    char *bytes = status == KD_OK ? kd_flow_room(out, text.length) : NULL;
    if (bytes) memcpy(bytes, text.text, text.length);
    free(text.text);
    return status == KD_OK && !bytes ? KD_EINTERNAL : status;
}

/* What is not known here yet of n utterances, from their text. */
static int take_text(job *j, const int64_t *which, int64_t n, const char *text, size_t length) {
    kd_labels heard = {0};
    int status = kd_label_files_parse(&heard, j->files, text, length);
    if (status == KD_OK && heard.count != n)
        status = kd_fail(KD_EINTERNAL, "%lld labels in place of %lld", (long long)heard.count,
                         (long long)n);
    for (int64_t i = 0; i < n && status == KD_OK; i++)
        if (!is_known(&j->out->item[which[i]])) status = copy_heard(j, which[i], &heard.item[i]);
    kd_labels_clear(&heard);
    return status;
}

/* Adds a batch to the shards, which are saved now and then. */
static int keep_batch(void *context, int64_t batch, const void *text, size_t length) {
    job *j = context;
    int n;
    const int64_t *which = batch_of(j, batch, &n);
    int status = take_text(j, which, n, text, length);
    for (int i = 0; i < n && status == KD_OK; i++) {
        const kd_label *label = &j->out->item[which[i]];
        const char *slash = strrchr(label->utterance->audio, '/');
        status = kd_label_files_add(j->files, label, slash ? slash + 1 : label->utterance->audio);
        j->last = label;
    }
    if (status == KD_OK) status = check_faults(j);
    if (status < 0 || kd_clock() - j->saved < SAVE_SECONDS) return status;
    j->saved = kd_clock();
    return kd_label_files_save(j->files);
}

static void show_batches(void *context, int64_t batches) {
    job *j = context;
    char detail[64];
    snprintf(detail, sizeof detail, "%.48s", j->last && j->last->said ? j->last->said : "");
    kd_progress_show(&j->progress, j->done + kd_smaller(batches * KD_GREEDY_MOST, j->missing_count),
                     detail);
}

/* The labels of the first n missing utterances, which the first rank has, to all. */
static int share_labels(job *j, int64_t n) {
    kd_text text = {0};
    if (kd_rank_count() == 1) return KD_OK;
    int status = kd_ranks_worst(kd_rank_first() ? write_text(&text, j, j->missing, n) : KD_OK);
    size_t length = text.length;
    if (status < 0) return status;
    kd_ranks_share(&length, sizeof length);
    char *all = kd_rank_first() ? text.text : malloc(length + 1);
    status = kd_ranks_worst(all ? KD_OK : kd_fail_memory(length, "labels"));
    if (status == KD_OK) {
        kd_ranks_share(all, length);
        status = kd_ranks_worst(take_text(j, j->missing, n, all, length));
    }
    free(all);
    return status;
}

static int prepare(job *j) {
    const kd_whisper *model = j->teacher->model;
    int status = kd_greedy_create(&j->greedy, model, j->teacher->tokenizer, j->options.language,
                                  j->options.task);
    if (status == KD_OK) status = kd_features_init(&j->features, &model->spec);
    if (status < 0) return status;
    kd_greedy_hear_in(j->greedy, j->options.precision);
    const size_t bytes = kd_array_bytes(KD_GREEDY_MOST * j->features.values, sizeof *j->mel);
    j->mel = malloc(bytes);
    return j->mel ? KD_OK : kd_fail_memory(bytes, "what the teacher hears");
}

typedef struct {
    int64_t bytes, place;
} unheard;

static int by_size(const void *a, const void *b) {
    const unheard *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

/* The utterances to be heard, each sound once, as the first rank sees them. The largest files come
 * first: those of a batch are alike, and so are the batches that ranks hear at the same time. */
static int find_missing(job *j) {
    const size_t bytes = kd_array_bytes(j->out->count, sizeof *j->missing);
    unheard *list = malloc(kd_array_bytes(j->out->count, sizeof *list));
    int64_t n = 0;
    j->missing = malloc(bytes);
    int status = kd_ranks_worst(list && j->missing ? KD_OK : kd_fail_memory(bytes, "labels"));
    for (int64_t i = 0; i < j->out->count && status == KD_OK; i++)
        if (!is_known(&j->out->item[i]) && j->first[i] == i)
            list[n++] = (unheard){j->recordings.item[i].bytes, i};
    if (status == KD_OK) {
        qsort(list, (size_t)n, sizeof *list, by_size);
        for (int64_t i = 0; i < n; i++) j->missing[i] = list[i].place;
        kd_ranks_share(&n, sizeof n);
        kd_ranks_share(j->missing, (size_t)n * sizeof *j->missing);
        j->missing_count = n;
    }
    free(list);
    return status;
}

/* When nothing may be heard: names what would have to be. */
static int refuse_missing(const job *j) {
    const int64_t missing = j->total - j->done;
    char place[KD_PATH_MAX + 32];
    int64_t i = 0;
    if (missing == 0) return KD_OK;
    while (is_known(&j->out->item[i]) || j->first[i] != i) i++;
    kd_utterance_place(place, sizeof place, &j->utterances->item[i]);
    return kd_fail(KD_EDATA,
                   "%s%s: has no label yet, like %lld of %lld recordings, and what is there was "
                   "learnt without; use --fresh to start over (labels are kept), or another name",
                   place, j->utterances->item[i].audio, (long long)missing, (long long)j->total);
}

static int hear(job *j) {
    const kd_flow flow = {.count = (j->missing_count + KD_GREEDY_MOST - 1) / KD_GREEDY_MOST,
                          .ahead = AHEAD,
                          .context = j,
                          .make = label_batch,
                          .keep = keep_batch,
                          .stop = kd_train_stop_asked,
                          .show = show_batches};
    int64_t batches;
    int status = kd_flow_run(&flow, &batches);
    const int64_t heard = kd_smaller(batches * KD_GREEDY_MOST, j->missing_count);
    j->done += heard;
    if (status == KD_OK) status = share_labels(j, heard);
    if (status != KD_EAGAIN) return status;
    kd_train_take_stop();
    return kd_ranks_worst(kd_fail(KD_EAGAIN,
                                  "%s: stopped with %lld of %lld recordings labelled; run again "
                                  "to go on",
                                  j->folder, (long long)j->done, (long long)j->total));
}

static int hear_missing(job *j) {
    int status = find_missing(j);
    if (status == KD_OK && j->missing_count > 0) {
        status = kd_ranks_worst(prepare(j));
        kd_progress_begin(&j->progress, "label", "recordings", 1, j->done, j->total);
        j->saved = kd_clock();
        if (status == KD_OK) status = hear(j);
        kd_progress_end(&j->progress);
    }
    /* Whatever ended it: the error that did stays. */
    if (status == KD_OK) return kd_label_files_save(j->files);
    char why[1024];
    snprintf(why, sizeof why, "%s", kd_error());
    kd_label_files_save(j->files);
    return kd_fail(status, "%s", why);
}

/* --- the stage ---------------------------------------------------------------------------------
 */

/* One empty label for each utterance. */
static int begin(job *j) {
    const kd_utterances *u = j->utterances;
    const size_t bytes = kd_array_bytes(u->count, sizeof *j->out->item);
    int status = kd_recordings_look(&j->recordings, u);
    if (status < 0) return status;
    j->out->item = calloc(1, bytes);
    j->first = malloc(kd_array_bytes(u->count, sizeof *j->first));
    if (!j->out->item || !j->first) return kd_fail_memory(bytes, "labels");
    j->out->count = u->count;
    for (int64_t i = 0; i < u->count && status == KD_OK; i++) {
        const kd_recording *recording = &j->recordings.item[i];
        kd_label *label = &j->out->item[i];
        label->utterance = &u->item[i];
        label->sound = recording->sound;
        if (recording->fault && !(label->fault = strdup(recording->fault)))
            status = kd_fail_memory(strlen(recording->fault) + 1, "labels");
    }
    if (status == KD_OK) status = kd_recordings_match(j->first, &j->recordings, &j->recordings);
    if (status < 0) return status;
    for (int64_t i = 0; i < u->count; i++) j->total += j->first[i] == i;
    return check_faults(j);
}

static void tell_of(int64_t count, const kd_label *label, const char *what) {
    char place[KD_PATH_MAX + 32];
    if (count == 0) return;
    kd_utterance_place(place, sizeof place, label->utterance);
    kd_warn("%s: %lld recordings; the first is %s%s", what, (long long)count, place,
            label->utterance->audio);
}

/* Counts what has no label, and tells of it and of sounds that the list has twice. */
static void count_left_out(job *j) {
    kd_labels *labels = j->out;
    int64_t repeated = 0, first_repeated = 0, first_skipped = 0;
    for (int64_t i = labels->count - 1; i >= 0; i--) {
        const kd_label *label = &labels->item[i];
        labels->unreadable += label->fault != NULL;
        if (label->skipped) labels->skipped++, first_skipped = i;
        if (j->first[i] >= 0 && j->first[i] != i) repeated++, first_repeated = i;
    }
    kd_recordings_name_faults(&j->recordings, 0);
    if (labels->unreadable > 0)
        kd_warn("%lld of %lld recordings cannot be read and are left out",
                (long long)labels->unreadable, (long long)labels->count);
    tell_of(labels->skipped, &labels->item[first_skipped],
            "longer than the teacher hears at once and left out");
    tell_of(repeated, &labels->item[first_repeated],
            "with the sound of one before them, counted again");
}

int kd_label_run(kd_labels *out, const char *folder, const kd_utterances *utterances,
                 const kd_whisper_file *teacher, kd_hash teacher_hash,
                 const kd_label_options *options) {
    kd_label_key key;
    job j = {.out = out,
             .folder = folder,
             .utterances = utterances,
             .teacher = teacher,
             .options = kd_label_options_for(teacher, options)};
    KD_CONTRACT(utterances->count > 0, "no utterances for %s", folder);
    *out = (kd_labels){0};
    if (kd_tokenizer_ids(teacher->tokenizer)->multilingual && options->language < 0)
        return kd_fail(KD_ECONFIG, "the teacher knows many languages; say which is spoken");
    int status = kd_label_key_of(&key, teacher, &teacher_hash, options);
    if (status == KD_OK)
        status = kd_label_files_open(&j.files, folder, &key, teacher->model->spec.vocabulary);
    status = kd_ranks_worst(status);
    if (status == KD_OK) status = begin(&j);
    if (status == KD_OK) status = take_known(&j);
    if (status == KD_OK) status = options->known_only ? refuse_missing(&j) : hear_missing(&j);
    if (status == KD_OK) status = take_repeated(&j);
    if (status == KD_OK) status = compare_all(&j);
    if (status == KD_OK) count_left_out(&j);
    kd_label_files_free(j.files);
    kd_recordings_clear(&j.recordings);
    kd_greedy_free(j.greedy);
    kd_features_clear(&j.features);
    free(j.first);
    free(j.missing);
    free(j.mel);
    return status;
}
