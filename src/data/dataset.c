#include "data/dataset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/order.h"
#include "base/size.h"
#include "data/clip.h"
#include "data/dataset_source.h"

const char *const kd_data_kind_name[KD_DATA_KINDS] = {
    [KD_DATA_IDX] = "idx", [KD_DATA_CIFAR10] = "cifar10", [KD_DATA_AUDIO] = "audio"};

const char *const kd_clip_norm_name[KD_CLIP_NORMS] = {
    [KD_CLIP_PLAIN] = "none", [KD_CLIP_RANGE] = "range", [KD_CLIP_BANDS] = "bands"};

/* The stream of the fixed shuffle; with no seed of the run in it. */
static const uint64_t SPLIT_SEED = 0x73706c6974, SPLIT_STREAM = 1;

int kd_source_make_classes(kd_source *source, int classes) {
    source->class_name = calloc((size_t)classes, sizeof *source->class_name);
    if (!source->class_name)
        return kd_fail_memory((size_t)classes * sizeof *source->class_name, "class names");
    source->classes = classes;
    return KD_OK;
}

void kd_source_free(kd_source *source) {
    if (source->path)
        for (int64_t i = 0; i < source->count; i++) free(source->path[i]);
    free(source->path);
    free(source->class_name);
    free(source->label);
    free(source->bytes);
    *source = (kd_source){0};
}

static bool excluded(const kd_data_spec *spec, int32_t label) {
    for (int i = 0; i < spec->exclude_count; i++)
        if (spec->exclude[i] == label) return true;
    return false;
}

/* Which of the training files' rows belong to the split: of one fixed shuffle of all rows, the
 * first `validation` are held out; training takes from the rest what is not excluded, up to its
 * limit. */
static int choose_training_rows(int64_t *row, int64_t *n, const kd_source *source,
                                const kd_data_spec *spec, kd_split split) {
    int64_t held = spec->validation, limit = spec->train_limit, kept = 0;
    if (held < 0 || held >= source->count)
        return kd_fail(KD_ECONFIG,
                       "%lld samples held out for validation; the training files have %lld, and "
                       "one at least must remain",
                       (long long)held, (long long)source->count);
    if (split == KD_SPLIT_VALIDATION && held == 0)
        return kd_fail(KD_ECONFIG, "no samples are held out for validation");
    kd_rng rng = kd_rng_init(SPLIT_SEED, SPLIT_STREAM);
    kd_rng_permutation(&rng, row, source->count);
    if (split == KD_SPLIT_VALIDATION) {
        *n = held;
    } else {
        for (int64_t i = held; i < source->count && (limit == 0 || kept < limit); i++)
            if (!excluded(spec, source->label[row[i]])) row[kept++] = row[i];
        if (kept == 0 || kept < limit)
            return kd_fail(KD_ECONFIG, "%lld training samples asked for, %lld remain",
                           (long long)(limit > 0 ? limit : 1), (long long)kept);
        *n = kept;
    }
    qsort(row, (size_t)*n, sizeof *row, kd_order_integers);
    return KD_OK;
}

static int choose_rows(int64_t *row, int64_t *n, const kd_source *source, const kd_data_spec *spec,
                       kd_split split) {
    if (spec->train_limit < 0)
        return kd_fail(KD_ECONFIG, "train_limit %lld, should be 0 (all) or more",
                       (long long)spec->train_limit);
    for (int i = 0; i < spec->exclude_count; i++)
        if (spec->exclude[i] < 0 || spec->exclude[i] >= source->classes)
            return kd_fail(KD_ECONFIG, "excluded label %d, should be 0 to %d", spec->exclude[i],
                           source->classes - 1);
    if (split != KD_SPLIT_TEST) return choose_training_rows(row, n, source, spec, split);
    for (int64_t i = 0; i < source->count; i++) row[i] = i;
    *n = source->count;
    return KD_OK;
}

static int make_normaliser(kd_normaliser *out, const kd_data_spec *spec, int64_t c) {
    *out = (kd_normaliser){.unit = spec->kind == KD_DATA_AUDIO ? 1.0f : 1.0f / 255.0f};
    if (spec->mean_count == 0) return KD_OK;
    if (spec->mean_count != c)
        return kd_fail(KD_ECONFIG, "a mean for %d channels; the samples have %lld",
                       spec->mean_count, (long long)c);
    out->channels = spec->mean_count;
    for (int k = 0; k < out->channels; k++) {
        out->mean[k] = spec->mean[k];
        out->deviation[k] = spec->deviation[k];
        if (!isfinite(out->mean[k]) || !isfinite(out->deviation[k]) || out->deviation[k] <= 0)
            return kd_fail(KD_ECONFIG, "channel %d: mean %g, deviation %g; it must be above 0", k,
                           (double)out->mean[k], (double)out->deviation[k]);
    }
    return KD_OK;
}

static kd_hash hash_dataset(const kd_dataset *d) {
    size_t n = (size_t)d->count, values = n * (size_t)(d->h * d->w * d->c);
    int64_t shape[4] = {d->count, d->h, d->w, d->c};
    kd_hash part[4] = {kd_hash_bytes(shape, sizeof shape),
                       d->bytes ? kd_hash_bytes(d->bytes, values)
                                : kd_hash_bytes(d->features, values * sizeof *d->features),
                       kd_hash_bytes(d->label, n * sizeof *d->label),
                       kd_hash_bytes(d->id, n * sizeof *d->id)};
    return kd_hash_join(part, 4);
}

/* Moves the chosen rows from the source into the data set; the source's buffers are reused. */
static int take_rows(kd_dataset *d, kd_source *source, const kd_data_spec *spec, const int64_t *row,
                     int64_t n) {
    const size_t sample = (size_t)(source->h * source->w * source->c);
    d->count = n;
    d->h = source->h;
    d->w = source->w;
    d->c = source->c;
    d->id = malloc(kd_array_bytes(n, sizeof *d->id));
    if (!d->id) return kd_fail_memory((size_t)n * sizeof *d->id, "sample ids");
    for (int64_t i = 0; i < n; i++) {
        d->id[i] = (uint64_t)row[i];
        source->label[i] = source->label[row[i]]; /* row[i] ≥ i: rows ascend */
    }
    d->label = source->label;
    source->label = NULL;
    d->classes = source->classes;
    d->class_name = source->class_name;
    source->class_name = NULL;
    if (source->bytes) {
        for (int64_t i = 0; i < n; i++)
            if (row[i] != i)
                memcpy(source->bytes + (size_t)i * sample, source->bytes + (size_t)row[i] * sample,
                       sample);
        uint8_t *smaller = realloc(source->bytes, (size_t)n * sample);
        d->bytes = smaller ? smaller : source->bytes;
        source->bytes = NULL;
        return KD_OK;
    }
    const size_t bytes = kd_array_bytes(n * (int64_t)sample, sizeof *d->features);
    d->features = malloc(bytes);
    if (!d->features) return kd_fail_memory(bytes, "sound features");
    return kd_source_audio_features(d->features, source, &spec->audio, row, n);
}

static int read_source(kd_source *out, const kd_data_spec *spec, kd_split split,
                       kd_source_part part) {
    const bool train = split != KD_SPLIT_TEST;
    switch (spec->kind) {
    case KD_DATA_IDX:
        return kd_source_idx(out, spec, train, part);
    case KD_DATA_CIFAR10:
        return kd_source_cifar10(out, spec, train, part);
    case KD_DATA_AUDIO:
        return kd_source_audio(out, spec, train, part);
    }
    return KD_EINTERNAL;
}

/* A data set without samples, from the parts of its source that need none. */
static int describe(kd_dataset **out, const kd_data_spec *spec, kd_split split,
                    kd_source_part part) {
    kd_source source = {0};
    *out = NULL;
    kd_dataset *d = calloc(1, sizeof *d);
    if (!d) return kd_fail_memory(sizeof *d, "a data set");
    int status = read_source(&source, spec, split, part);
    if (spec->kind == KD_DATA_AUDIO) d->audio = spec->audio;
    if (status == KD_OK) status = make_normaliser(&d->normaliser, spec, source.c);
    d->count = source.count;
    d->h = source.h;
    d->w = source.w;
    d->c = source.c;
    d->classes = source.classes;
    d->class_name = source.class_name;
    source.class_name = NULL;
    kd_source_free(&source);
    if (status == KD_OK)
        *out = d;
    else
        kd_dataset_free(d);
    return status;
}

int kd_dataset_head(kd_dataset **out, const kd_data_spec *spec, kd_split split) {
    return describe(out, spec, split, KD_SOURCE_HEAD);
}

int kd_dataset_stated(kd_dataset **out, const kd_data_spec *spec) {
    return describe(out, spec, KD_SPLIT_TRAIN, KD_SOURCE_STATED);
}

int kd_dataset_open(kd_dataset **out, const kd_data_spec *spec, kd_split split) {
    kd_source source = {0};
    int64_t *row = NULL, n = 0;
    *out = NULL;
    kd_dataset *d = calloc(1, sizeof *d);
    if (!d) return kd_fail_memory(sizeof *d, "a data set");
    int status = read_source(&source, spec, split, KD_SOURCE_ALL);
    if (status < 0) goto done;
    row = malloc(kd_array_bytes(source.count, sizeof *row));
    if (!row) {
        status = kd_fail_memory((size_t)source.count * sizeof *row, "rows");
        goto done;
    }
    if (spec->kind == KD_DATA_AUDIO) d->audio = spec->audio;
    status = make_normaliser(&d->normaliser, spec, source.c);
    if (status == KD_OK) status = choose_rows(row, &n, &source, spec, split);
    if (status == KD_OK) status = take_rows(d, &source, spec, row, n);
    if (status < 0) goto done;
    d->hash = hash_dataset(d);
    *out = d;
    d = NULL;
done:
    free(row);
    kd_source_free(&source);
    kd_dataset_free(d);
    return status;
}

void kd_dataset_free(kd_dataset *dataset) {
    if (!dataset) return;
    free(dataset->class_name);
    free(dataset->bytes);
    free(dataset->features);
    free(dataset->label);
    free(dataset->id);
    free(dataset);
}

static inline float normalise(float raw, int64_t k, const kd_normaliser *how) {
    float x = raw * how->unit;
    return how->channels ? (x - how->mean[k]) / how->deviation[k] : x;
}

void kd_normalise_table(float table[KD_IMAGE_CHANNELS_MAX][256], const kd_normaliser *how) {
    int rows = how->channels ? how->channels : 1;
    for (int k = 0; k < rows; k++)
        for (int b = 0; b < 256; b++) table[k][b] = normalise((float)b, k, how);
}

void kd_normalise_bytes(float *out, const uint8_t *raw, int64_t pixels, int64_t c,
                        const kd_normaliser *how) {
    KD_CONTRACT(how->channels == 0 || how->channels == c, "%d means for %lld channels",
                how->channels, (long long)c);
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t k = 0; k < c; k++) out[i * c + k] = normalise(raw[i * c + k], k, how);
}

void kd_normalise_features(float *out, const float *raw, int64_t pixels, int64_t c,
                           const kd_normaliser *how) {
    KD_CONTRACT(how->channels == 0 || how->channels == c, "%d means for %lld channels",
                how->channels, (long long)c);
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t k = 0; k < c; k++) out[i * c + k] = normalise(raw[i * c + k], k, how);
}

void kd_dataset_sample(const kd_dataset *dataset, int64_t index, float *out) {
    KD_CONTRACT(index >= 0 && index < dataset->count, "sample %lld of %lld", (long long)index,
                (long long)dataset->count);
    int64_t pixels = dataset->h * dataset->w, at = index * pixels * dataset->c;
    if (dataset->bytes)
        kd_normalise_bytes(out, dataset->bytes + at, pixels, dataset->c, &dataset->normaliser);
    else
        kd_normalise_features(out, dataset->features + at, pixels, dataset->c,
                              &dataset->normaliser);
    if (dataset->audio.sample_rate > 0) kd_clip_normalise(out, dataset->h, &dataset->audio);
}
