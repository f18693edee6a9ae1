/* Spoken words and other short sounds: files named by a manifest, decoded to log-mel features. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "data/audio.h"
#include "data/clip.h"
#include "data/dataset_source.h"
#include "data/logmel.h"
#include "data/manifest.h"

/* What is read beyond the clip's end, so that the resampler's filter sees no edge there. */
static const double MARGIN_SECONDS = 0.05;

/* How much of a recording is searched for its word. */
static const double LISTEN_SECONDS = 60;

static int64_t clip_samples(const kd_audio_spec *audio) {
    return (int64_t)floor(audio->seconds * audio->sample_rate + 0.5);
}

/* The shape of one sample; checks the spec on the way. */
static int find_shape(kd_source *out, const kd_audio_spec *audio) {
    kd_logmel *logmel;
    int status =
        kd_logmel_create(&logmel, audio->sample_rate, audio->window, audio->hop, audio->mels);
    if (status < 0) return status;
    bool sane = audio->seconds > 0 && audio->seconds <= 3600;
    int64_t samples = sane ? clip_samples(audio) : 0;
    out->h = kd_logmel_frames(logmel, samples);
    out->w = audio->mels;
    out->c = 1;
    if (out->h < 1 || samples <= kd_logmel_minimum(logmel))
        status = kd_fail(KD_ECONFIG,
                         "clips of %g s; should be at most 3600 and longer than the hop (%d "
                         "samples) and half the window (%d) at %d Hz",
                         audio->seconds, audio->hop, audio->window / 2, audio->sample_rate);
    kd_logmel_free(logmel);
    return status;
}

/* Files and labels of `manifest`; the classes are already known. */
static int take_entries(kd_source *out, kd_manifest *manifest, const char *path) {
    size_t n = (size_t)manifest->count;
    out->label = malloc(n * sizeof *out->label);
    out->path = malloc(n * sizeof *out->path);
    if (!out->label || !out->path) return kd_fail_memory(n * sizeof *out->path, path);
    for (int64_t i = 0; i < manifest->count; i++) {
        kd_manifest_entry *e = &manifest->entry[i];
        out->label[i] = kd_manifest_find(out->class_name, out->classes, e->label);
        if (out->label[i] < 0)
            return kd_fail(KD_EDATA,
                           "%s:%lld: label '%s' (%s) does not occur in the training manifest", path,
                           (long long)e->line, e->label, e->path);
        out->path[i] = e->path; /* the string changes hands */
        e->path = NULL;
        out->count++;
    }
    return KD_OK;
}

static int compare_paths(const void *a, const void *b) {
    return strcmp(((const kd_manifest_entry *)a)->path, ((const kd_manifest_entry *)b)->path);
}

/* Says how many recordings of the test list were trained on; sorts the training list. */
static void warn_of_known(kd_manifest *training, const kd_manifest *test,
                          const kd_data_spec *spec) {
    int64_t known = 0;
    qsort(training->entry, (size_t)training->count, sizeof *training->entry, compare_paths);
    for (int64_t i = 0; i < test->count; i++)
        known += bsearch(&test->entry[i], training->entry, (size_t)training->count,
                         sizeof *training->entry, compare_paths) != NULL;
    if (known > 0)
        kd_warn(
            "%s: %lld of its %lld recordings are in the training list %s too: what a model makes "
            "of them says nothing of others",
            spec->test_manifest, (long long)known, (long long)test->count, spec->train_manifest);
}

int kd_source_audio(kd_source *out, const kd_data_spec *spec, bool train, kd_source_part part) {
    kd_manifest training = {0}, test = {0};
    int status = find_shape(out, &spec->audio);
    if (part == KD_SOURCE_STATED) return status;
    if (status == KD_OK) status = kd_manifest_read(&training, spec->train_manifest);
    if (status == KD_OK)
        status =
            kd_manifest_labels(&out->class_name, &out->classes, &training, spec->train_manifest);
    if (status == KD_OK && train) status = take_entries(out, &training, spec->train_manifest);
    if (status == KD_OK && !train) status = kd_manifest_read(&test, spec->test_manifest);
    if (status == KD_OK && !train && part == KD_SOURCE_ALL) warn_of_known(&training, &test, spec);
    if (status == KD_OK && !train) status = take_entries(out, &test, spec->test_manifest);
    kd_manifest_free(&training);
    kd_manifest_free(&test);
    return status;
}

/* The samples of one file, with silence behind when they are fewer than a clip's. */
static int read_padded(float **out, int64_t *count, const char *path, const kd_audio_spec *audio) {
    double seconds =
        audio->trim > 0 ? fmax(LISTEN_SECONDS, audio->seconds) : audio->seconds + MARGIN_SECONDS;
    int64_t wanted = clip_samples(audio);
    int status = kd_audio_read(out, count, path, audio->sample_rate, seconds);
    if (status < 0) return status;
    if (audio->trim <= 0 && *count > wanted) *count = wanted;
    if (*count >= wanted) return KD_OK;
    float *longer = realloc(*out, kd_array_bytes(wanted, sizeof *longer));
    if (!longer) {
        free(*out);
        return kd_fail_memory((size_t)wanted * sizeof *longer, path);
    }
    memset(longer + *count, 0, (size_t)(wanted - *count) * sizeof *longer);
    *out = longer;
    *count = wanted;
    return KD_OK;
}

/* One file → out (frames, mels). */
static int make_features(float *out, const char *path, const kd_audio_spec *audio,
                         const kd_logmel *logmel) {
    int64_t count;
    float *samples;
    int status = read_padded(&samples, &count, path, audio);
    if (status < 0) return status;
    int64_t frames = kd_logmel_frames(logmel, count);
    size_t bytes = kd_array_bytes(frames * audio->mels, sizeof(float));
    float *all = malloc(bytes);
    status = all ? kd_logmel_compute(logmel, all, samples, count) : kd_fail_memory(bytes, path);
    if (status == KD_OK)
        kd_clip_window(out, kd_logmel_frames(logmel, clip_samples(audio)), all, frames, audio);
    free(all);
    free(samples);
    return status;
}

/* The first row that failed, and why: error messages belong to the thread they were made in. */
typedef struct {
    int64_t row;
    int status;
    char message[1024];
} failure;

static void note_failure(failure *first, int64_t row, int status) {
#pragma omp critical(kd_sound_failure)
    if (row < first->row) {
        first->row = row;
        first->status = status;
        snprintf(first->message, sizeof first->message, "%s", kd_error());
    }
}

int kd_source_audio_features(float *out, const kd_source *source, const kd_audio_spec *audio,
                             const int64_t *row, int64_t n) {
    kd_logmel *logmel;
    kd_source shape = {0};
    int status = find_shape(&shape, audio);
    if (status == KD_OK && (shape.h != source->h || shape.w != source->w || source->c != 1))
        status = kd_fail(KD_EDATA, "samples of %lldx%lldx%lld, but the sound gives %lldx%lldx1",
                         (long long)source->h, (long long)source->w, (long long)source->c,
                         (long long)shape.h, (long long)shape.w);
    if (status == KD_OK)
        status =
            kd_logmel_create(&logmel, audio->sample_rate, audio->window, audio->hop, audio->mels);
    if (status < 0) return status;
    int64_t sample = source->h * source->w;
    failure first = {.row = n};
#pragma omp parallel for schedule(dynamic, 16)
    for (int64_t i = 0; i < n; i++) {
        int result = make_features(out + i * sample, source->path[row[i]], audio, logmel);
        if (result < 0) note_failure(&first, i, result);
    }
    kd_logmel_free(logmel);
    return first.row < n ? kd_fail(first.status, "%s", first.message) : KD_OK;
}
