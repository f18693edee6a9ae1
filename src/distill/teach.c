#include "distill/teach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "distill/checkpoint.h"

enum { TEACH_BATCH = 200 };

static int store_path(const kd_run *run, char out[KD_PATH_MAX]) {
    return kd_path_join(out, run->folder, "store");
}

int kd_teach_remove(const kd_run *run) {
    static const char *const all[] = {"*", NULL};
    char folder[KD_PATH_MAX];
    int status = store_path(run, folder);
    return status < 0 ? status : kd_file_remove_matching(folder, all);
}

/* Of the class names in order, joined by newlines. */
static int hash_class_list(kd_hash *out, const kd_dataset *dataset) {
    size_t used = 0, capacity = (size_t)dataset->classes * (KD_CLASS_NAME_MAX + 1) + 1;
    char *text = malloc(capacity);
    if (!text) return kd_fail_memory(capacity, "the class names");
    text[0] = '\0';
    for (int i = 0; i < dataset->classes; i++)
        used += (size_t)snprintf(text + used, capacity - used, i ? "\n%s" : "%s",
                                 dataset->class_name[i]);
    *out = kd_hash_bytes(text, used);
    free(text);
    return KD_OK;
}

void kd_ensemble_clear(kd_ensemble *ensemble) {
    for (int i = 0; i < ensemble->count; i++) kd_learner_free(ensemble->member[i]);
    kd_tape_free(ensemble->tape);
    *ensemble = (kd_ensemble){0};
}

int kd_ensemble_logits(void *context, int64_t n, const float *x, float *logits) {
    kd_ensemble *ensemble = context;
    if (ensemble->count == 1)
        return kd_learner_logits(ensemble->member[0], KD_RUN_FLOAT, ensemble->tape, n, x, logits);
    kd_extent out = ensemble->member[0]->net->node[ensemble->member[0]->net->count - 1].out;
    const int64_t numbers = n * out.h * out.w * out.c;
    double *sum = calloc((size_t)numbers, sizeof *sum);
    if (!sum) return kd_fail_memory((unsigned long long)numbers * 8, "an ensemble's mean");
    int status = KD_OK;
    for (int m = 0; m < ensemble->count && status == KD_OK; m++) {
        status = kd_learner_logits(ensemble->member[m], KD_RUN_FLOAT, ensemble->tape, n, x, logits);
        for (int64_t i = 0; i < numbers && status == KD_OK; i++) sum[i] += (double)logits[i];
    }
    for (int64_t i = 0; i < numbers; i++) logits[i] = (float)(sum[i] / ensemble->count);
    free(sum);
    return status;
}

int kd_run_teacher_config(kd_config **out, const char *path, bool seeded, uint64_t seed) {
    int status = kd_config_load(out, path, 0, NULL);
    if (status < 0 || !seeded) return status;
    char name[2 * sizeof(*out)->name], number[32];
    snprintf(name, sizeof name, "name=%s-s%llu", (*out)->name, (unsigned long long)seed);
    snprintf(number, sizeof number, "seed=%llu", (unsigned long long)seed);
    kd_config_free(*out);
    return kd_config_load(out, path, 2, (const char *const[]){name, number});
}

/* Trains (or finds trained) the network of another config. */
static int train_member(kd_run *run, const char *path, kd_learner **out) {
    kd_config *config;
    int status = kd_run_teacher_config(&config, path, run->seeded_teachers, run->config->seed);
    if (status < 0) return status;
    if (strcmp(config->name, run->config->name) == 0) {
        status = kd_fail(KD_ECONFIG, "%s: a teacher's config needs a name other than \"%s\"", path,
                         config->name);
    } else {
        kd_run child;
        status = kd_run_open(&child, config, run->runs, false);
        child.seeded_teachers = run->seeded_teachers;
        child.shared_store = run->shared_store;
        if (status == KD_OK) status = kd_run_teachers(&child);
        if (status == KD_OK) status = kd_run_teach(&child);
        if (status == KD_OK) status = kd_run_train(&child, false, out);
        if (status == KD_OK)
            kd_learner_adapt(*out, &child.train->normaliser, &run->train->normaliser);
        kd_run_close(&child);
    }
    kd_config_free(config);
    return status;
}

static int load_member(const kd_run *run, const kd_teacher_source *source, kd_learner **out) {
    kd_learner_spec spec = {.model = &source->model,
                            .input = {run->train->h, run->train->w, run->train->c},
                            .classes = run->train->classes,
                            .seed = run->config->seed};
    int status = kd_learner_create(out, &spec);
    if (status < 0) return status;
    status = kd_learner_load(*out, source->weights, run->train);
    if (status == KD_OK) return KD_OK;
    kd_learner_free(*out);
    *out = NULL;
    return status;
}

/* A teacher must see what the student sees and answer with the same classes. */
static int check_member(const kd_run *run, const kd_learner *member, const char *from) {
    kd_extent in = member->net->node[0].out, out = member->net->node[member->net->count - 1].out;
    const kd_dataset *d = run->train;
    if (in.h == d->h && in.w == d->w && in.c == d->c && out.h * out.w * out.c == d->classes)
        return KD_OK;
    return kd_fail(KD_EDATA,
                   "%s: the teacher maps %lldx%lldx%lld to %lld classes, the data are "
                   "%lldx%lldx%lld with %d classes",
                   from, (long long)in.h, (long long)in.w, (long long)in.c,
                   (long long)(out.h * out.w * out.c), (long long)d->h, (long long)d->w,
                   (long long)d->c, d->classes);
}

int kd_run_teachers(kd_run *run) {
    const kd_teacher_config *teacher = &run->config->teacher;
    if (!teacher->present || teacher->count == 0) return KD_OK;
    int status = kd_tape_create(&run->teacher.tape, run->config->seed);
    kd_hash hash[KD_TEACHERS_MAX + 1];
    for (int i = 0; i < teacher->count && status == KD_OK; i++) {
        const kd_teacher_source *source = &teacher->source[i];
        const char *from = source->config[0] ? source->config : source->weights;
        kd_learner *member = NULL;
        status = source->config[0] ? train_member(run, source->config, &member)
                                   : load_member(run, source, &member);
        if (status < 0) return status;
        run->teacher.member[run->teacher.count++] = member;
        status = check_member(run, member, from);
        if (status == KD_OK) status = kd_learner_hash(&hash[i], member);
    }
    if (status == KD_OK) {
        static const char how[] = "mean of logits"; /* of an ensemble: part of what its store is of */
        const int parts = teacher->count > 1 ? teacher->count + 1 : 1;
        if (parts > 1) hash[teacher->count] = kd_hash_bytes(how, strlen(how));
        run->teacher.tape->precision = run->precision;
        run->teacher.hash = kd_hash_join(hash, parts);
    }
    return status;
}

static int describe_store(kd_store_header *out, const kd_run *run) {
    const kd_teacher_config *teacher = &run->config->teacher;
    *out = (kd_store_header){.kind = teacher->kind,
                             .dtype = teacher->dtype,
                             .classes = run->train->classes,
                             .k = teacher->k,
                             .temperature_count = 1,
                             .temperature = {run->config->loss.temperature},
                             .views = teacher->views > 0 ? teacher->views : 1,
                             .augmented = teacher->views > 0,
                             .teacher = run->teacher.hash,
                             .data = run->taught_data};
    const kd_teacher_source *first = &teacher->source[0];
    const char *from = first->config[0] ? first->config : first->weights;
    const char *slash = strrchr(from, '/');
    snprintf(out->description, sizeof out->description, "%s%.200s",
             teacher->count > 1 ? "ensemble of " : "", slash ? slash + 1 : from);
    return hash_class_list(&out->class_list, run->train);
}

/* Rows [row, row + n) of the store: one view of n successive samples. */
static int teach_batch(kd_run *run, kd_store_writer *writer, int64_t row, int64_t n, float *x,
                       float *logits) {
    const kd_dataset *d = run->train;
    const kd_augment none = {0};
    const bool augmented = run->config->teacher.views > 0;
    int64_t view = row / d->count, first = row % d->count, size = d->h * d->w * d->c;
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        kd_augmented_sample(d, first + i, augmented ? &run->config->augment : &none,
                            run->config->seed, view, x + i * size);
    int status = kd_ensemble_logits(&run->teacher, n, x, logits);
    if (status < 0) return status;
    return kd_store_writer_append(writer, n, view, d->id + first, d->label + first, logits);
}

static int write_rows(kd_run *run, kd_store_writer *writer, int64_t done, int64_t total) {
    const kd_dataset *d = run->train;
    size_t bytes = (size_t)(TEACH_BATCH * d->h * d->w * d->c) * sizeof(float);
    float *x = malloc(bytes);
    float *logits = malloc((size_t)(TEACH_BATCH * d->classes) * sizeof *logits);
    int status = x && logits ? KD_OK : kd_fail_memory(bytes, "the teacher's batch");
    kd_progress progress;
    kd_progress_begin(&progress, "teach", "samples", 1, done, total);
    while (done < total && status == KD_OK) {
        int64_t left = d->count - done % d->count; /* a batch stays within one view */
        int64_t n = left < TEACH_BATCH ? left : TEACH_BATCH;
        status = teach_batch(run, writer, done, n, x, logits);
        done += n;
        kd_progress_show(&progress, done, "");
        if (status == KD_OK && done < total && kd_train_take_stop())
            status = kd_fail(KD_EAGAIN,
                             "teach: stopped on request after %lld of %lld rows; whole "
                             "shards are kept: the same command goes on from there",
                             (long long)done, (long long)total);
    }
    kd_progress_end(&progress);
    free(x);
    free(logits);
    return status;
}

static int make_store(kd_run *run, const kd_store_header *header, const char *path) {
    int64_t done, total = header->views * run->train->count;
    kd_store_writer *writer;
    int status = kd_store_writer_open(&writer, path, header, total, &done);
    if (status < 0) return status;
    if (done == total) {
        kd_log("teach: the store is complete (%lld rows)", (long long)total);
    } else {
        kd_log("teach: %lld rows of soft targets into %s%s", (long long)(total - done), path,
               done ? " (going on)" : "");
        status = write_rows(run, writer, done, total);
    }
    if (status == KD_OK) return kd_store_writer_close(writer);
    kd_store_writer_abort(writer);
    return status;
}

/* A store made elsewhere must fit the data and the loss. */
static int check_store(const kd_run *run, const kd_store_header *wanted, const char *path) {
    const kd_store_header *h = kd_store_describe(run->store);
    const kd_hash classes = wanted->class_list;
    if (h->sequences || h->kind == KD_STORE_HIDDEN)
        return kd_fail(KD_EDATA,
                       "%s: holds %s: images and sounds of one class need logits, a row a sample",
                       path, h->sequences ? "sequences" : "hidden states");
    if (h->classes != run->train->classes)
        return kd_fail(KD_EDATA, "%s: made for %d classes, the data have %d", path, h->classes,
                       run->train->classes);
    if (h->class_list.hex[0] && strcmp(h->class_list.hex, classes.hex) != 0)
        return kd_fail(KD_EDATA, "%s: made for another class list (hash %s, the data's is %s)",
                       path, h->class_list.hex, classes.hex);
    if (h->kind == KD_STORE_TOPK &&
        kd_store_temperature_index(run->store, run->config->loss.temperature) < 0)
        return kd_fail(KD_ECONFIG,
                       "%s: its tails were not summed at loss.temperature = %g; `distill inspect` "
                       "lists the temperatures it has",
                       path, run->config->loss.temperature);
    return kd_store_check(run->store, run->train->count, run->train->id, run->train->label);
}

/* Where the store that `header` describes lies beside the runs: its name is what is in it. */
static int shared_path(const kd_run *run, const kd_store_header *header, char out[KD_PATH_MAX]) {
    char text[256], name[32];
    bool topk = header->kind == KD_STORE_TOPK;
    snprintf(text, sizeof text, "%s %s %s %d %d %d %.17g %lld", header->teacher.hex,
             header->data.hex, header->class_list.hex, (int)header->kind, (int)header->dtype,
             topk ? header->k : 0, topk ? header->temperature[0] : 0, (long long)header->views);
    snprintf(name, sizeof name, "store-%.16s", kd_hash_bytes(text, strlen(text)).hex);
    return kd_path_join(out, run->runs, name);
}

int kd_run_teach(kd_run *run) {
    const kd_teacher_config *teacher = &run->config->teacher;
    if (!teacher->present) return KD_OK;
    char own[KD_PATH_MAX];
    kd_store_header header;
    int status = describe_store(&header, run);
    if (status < 0) return status;
    status = run->shared_store ? shared_path(run, &header, own) : store_path(run, own);
    const char *path = teacher->store[0] ? teacher->store : own;
    if (status == KD_OK && !teacher->store[0]) status = make_store(run, &header, own);
    if (status == KD_OK) status = kd_store_open(&run->store, path);
    return status < 0 ? status : check_store(run, &header, path);
}
