/* `distill train` of a speech config: every stage, then the same recordings through every model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/log.h"
#include "base/size.h"
#include "distill/quantize_keys.h"
#include "tasks/speech/recordings.h"
#include "tasks/speech/speech_calibrate.h"
#include "tasks/speech/speech_report.h"
#include "tasks/speech/speech_run.h"

enum { FIDELITY_WINDOWS = 16 };

/* The models of a run: the teacher, the student before and after, its files. */
typedef struct {
    kd_speech_run *run;
    int count;
    kd_whisper_file *file[KD_SPEECH_SUBJECTS_MAX]; /* NULL where the run owns it */
    kd_speech_subject subject[KD_SPEECH_SUBJECTS_MAX];
    char name[KD_SPEECH_SUBJECTS_MAX][KD_SPEECH_NAME_MAX];
} models;

_Static_assert(3 + KD_SPEECH_QUANTIZE_MAX <= KD_SPEECH_SUBJECTS_MAX, "too many files to measure");

static int64_t size_of(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (int64_t)info.st_size : 0;
}

/* Adds a model, which is owned from now on unless `borrowed`. */
static void add(models *m, const char *name, const char *kind, const char *stage,
                kd_whisper_file *owned, const kd_whisper_file *borrowed, int64_t bytes) {
    const int i = m->count++;
    snprintf(m->name[i], sizeof m->name[i], "%s", name);
    m->file[i] = owned;
    m->subject[i] = (kd_speech_subject){.name = m->name[i],
                                        .kind = kind,
                                        .stage = stage,
                                        .file = owned ? owned : borrowed,
                                        .bytes = bytes};
}

static int add_file(models *m, const char *name, const char *kind, const char *stage,
                    const char *path) {
    kd_whisper_file *file;
    int status = kd_whisper_file_open(&file, path, KD_WHISPER_ONLY_READ);
    if (status == KD_OK) add(m, name, kind, stage, file, NULL, size_of(path));
    return status;
}

static void close_models(models *m) {
    for (int i = 0; i < m->count; i++) kd_whisper_file_free(m->file[i]);
}

static int open_models(models *m) {
    kd_speech_run *run = m->run;
    const kd_speech_config *config = run->config;
    kd_whisper_file *initial = NULL;
    char path[KD_PATH_MAX], name[KD_SPEECH_NAME_MAX];
    int status = kd_speech_run_need_teacher(run);
    if (status == KD_OK)
        status = kd_student_create(&initial, run->teacher, config->encoder_layers,
                                   config->decoder_layers, KD_WHISPER_TRAIN_NOTHING);
    if (status == KD_OK) status = kd_speech_run_file(run, NULL, path);
    if (status < 0) return status;
    add(m, "teacher", "teacher", "", NULL, run->teacher, size_of(config->teacher.weights));
    add(m, "student before training", "initial", "", initial, NULL, 0);
    status = add_file(m, "student", "student", "train", path);
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++) {
        const kd_speech_quantize *how = &config->quantize[i];
        snprintf(name, sizeof name, "student %s (%s)",
                 kd_quantize_title(&how->budget, how->format_name, how->name),
                 how->qat ? "QAT" : "PTQ");
        status = kd_speech_run_file(run, how, path);
        if (status == KD_OK)
            status = add_file(m, name, how->qat ? "blob" : "ptq", how->qat ? how->stage : "", path);
    }
    return status;
}

/* --- the recordings ------------------------------------------------------------------------------
 */

/* Warns of recordings that are in a list that is learnt from, too, whatever their names. */
static int count_leaks(int64_t *leaks, const kd_recordings *held, const char *held_name,
                       const kd_speech_list *other) {
    char here[KD_PATH_MAX + 32], there[KD_PATH_MAX + 32];
    const int64_t count = held->count;
    int64_t first = -1;
    int64_t *place = malloc(kd_array_bytes(count + 1, sizeof *place));
    *leaks = 0;
    if (!place) return kd_fail_memory((size_t)(count + 1) * sizeof *place, "recordings");
    int status = kd_recordings_find(place, held, &other->utterances);
    for (int64_t i = count - 1; i >= 0 && status == KD_OK; i--) {
        *leaks += place[i] >= 0;
        if (place[i] >= 0) first = i;
    }
    if (first >= 0)
        kd_warn("%lld of %lld %s recordings are %s recordings, too; the first is %s%s, %s%s",
                (long long)*leaks, (long long)count, held_name, other->name,
                kd_utterance_place(here, sizeof here, &held->utterances->item[first]),
                held->utterances->item[first].audio,
                kd_utterance_place(there, sizeof there, &other->utterances.item[place[first]]),
                other->utterances.item[place[first]].audio);
    free(place);
    return status;
}

/* A test set is whole: what cannot be read is found before hours of work. And what is learnt from
 * shows nothing. */
int kd_speech_run_check_test(kd_speech_run *run) {
    kd_recordings test, validation = {0};
    int64_t chosen_by = 0;
    if (run->test.utterances.count == 0) return KD_OK;
    int status = kd_recordings_look(&test, &run->test.utterances);
    if (status == KD_OK) status = kd_recordings_decode(&test);
    if (status == KD_OK && kd_recordings_faults(&test) > 0)
        status = kd_recordings_refuse(&test, "data.test", "mend them or take them off the list");
    if (status == KD_OK) status = count_leaks(&run->leaked, &test, "test", &run->train);
    if (status == KD_OK) status = count_leaks(&chosen_by, &test, "test", &run->validation);
    if (status == KD_OK) status = kd_recordings_look(&validation, &run->validation.utterances);
    if (status == KD_OK) status = count_leaks(&chosen_by, &validation, "validation", &run->train);
    kd_recordings_clear(&test);
    kd_recordings_clear(&validation);
    return status;
}

/* --- all of it -----------------------------------------------------------------------------------
 */

/* Prints the table; the page and the figures too, unless it is a single model's. */
static int report(const models *m, const kd_speech_result *result, bool written) {
    const kd_speech_run *run = m->run;
    const kd_speech_report what = {.config = run->config,
                                   .run_folder = run->folder,
                                   .labels = &run->train.labels,
                                   .windows = run->train.windows,
                                   .utterances = &run->test.utterances,
                                   .leaked = run->leaked,
                                   .budget = (const kd_budget *const *)run->budget,
                                   .count = m->count,
                                   .result = result};
    if (!run->quiet) kd_speech_report_print(&what);
    if (!written) return KD_OK;
    int status = kd_speech_report_write(&what);
    if (status == KD_OK && !run->quiet) kd_log("report: %s/report.html", run->folder);
    return status;
}

/* Files with rounded numbers beside the student they were made from, on windows that no weight was
 * learnt from, where there are any. */
static int compare_with_float(const models *m, kd_speech_result *result) {
    const kd_windows *windows = m->run->validation.windows;
    int status = KD_OK;
    for (int i = 0; i < m->count && status == KD_OK && windows && m->run->student; i++) {
        const char *kind = m->subject[i].kind;
        if (strcmp(kind, "ptq") != 0 && strcmp(kind, "blob") != 0) continue;
        kd_fidelity f = {0};
        status = kd_speech_fidelity(&f, m->subject[i].file->model, m->run->student->model, windows,
                                    FIDELITY_WINDOWS);
        result[i].fidelity = kd_fidelity_summarise(&f);
        kd_fidelity_clear(&f);
    }
    return status;
}

static int measure(models *m, bool written) {
    kd_speech_result result[KD_SPEECH_SUBJECTS_MAX] = {0};
    kd_label_options options;
    int status = kd_speech_run_language(m->run, &options);
    if (status == KD_OK)
        status = kd_speech_evaluate(result, m->subject, m->count, &m->run->test.utterances, NULL,
                                    &options);
    if (status == KD_OK && written) status = compare_with_float(m, result);
    if (status == KD_OK) status = report(m, result, written);
    for (int i = 0; i < m->count; i++) kd_speech_result_clear(&result[i]);
    return status;
}

int kd_speech_run_pipeline(kd_speech_run *run) {
    models m = {.run = run};
    const bool measured = run->test.utterances.count > 0;
    int status = kd_speech_run_check_test(run);
    if (status == KD_OK) status = kd_speech_run_export(run);
    if (status < 0 || !measured) return status;
    status = open_models(&m);
    if (status == KD_OK) status = measure(&m, true);
    close_models(&m);
    return status;
}

/* A model from elsewhere must hear as the teacher does and mean the same by its tokens. */
static int check_fits(const kd_whisper_file *model, const kd_whisper_file *teacher,
                      const char *path) {
    const kd_whisper_spec *a = &model->model->spec, *b = &teacher->model->spec;
    const kd_token_ids *x = kd_tokenizer_ids(model->tokenizer);
    const kd_token_ids *y = kd_tokenizer_ids(teacher->tokenizer);
    if (a->mels != b->mels || a->audio_context != b->audio_context)
        return kd_fail(KD_EDATA,
                       "%s: hears %d positions of %d mels, the teacher %d of %d; measure it with a "
                       "config whose teacher.weights is a model like it",
                       path, a->audio_context, a->mels, b->audio_context, b->mels);
    if (x->multilingual && y->multilingual && x->transcribe != y->transcribe)
        return kd_fail(KD_EDATA,
                       "%s: has %d tokens, the teacher %d: languages and tasks have other ids; "
                       "measure it with a config whose teacher.weights is a model like it",
                       path, x->vocabulary, y->vocabulary);
    return KD_OK;
}

int kd_speech_run_measure(kd_speech_run *run, const char *path) {
    models m = {.run = run};
    const char *slash = strrchr(path, '/');
    if (run->test.utterances.count == 0)
        return kd_fail(KD_ECONFIG, "%s: data.test names no recordings to measure on",
                       run->config->path);
    int status = kd_speech_run_check_test(run);
    if (status == KD_OK) status = kd_speech_run_need_teacher(run);
    if (status == KD_OK)
        add(&m, "teacher", "teacher", "", NULL, run->teacher,
            size_of(run->config->teacher.weights));
    if (status == KD_OK) status = add_file(&m, slash ? slash + 1 : path, "student", "", path);
    if (status == KD_OK) status = check_fits(m.subject[1].file, run->teacher, path);
    if (status == KD_OK) status = measure(&m, false);
    close_models(&m);
    return status;
}
