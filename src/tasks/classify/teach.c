#include "tasks/classify/teach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/ranks.h"
#include "distill/checkpoint.h"

enum { TEACH_BATCH = 200 };

int kd_teach_remove(const kd_run *run) {
    static const char *const all[] = {"*", NULL};
    char folder[KD_PATH_MAX];
    int status = kd_path_join(folder, run->folder, "store");
    return status < 0 ? status : kd_file_remove_matching(folder, all);
}

kd_run_options kd_teach_options(const kd_run *run) {
    return (kd_run_options){.runs = run->runs,
                            .seeded_teachers = run->seeded_teachers,
                            .shared_store = run->shared_store,
                            .as_teacher = true,
                            .pupil = run,
                            .like = run};
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
    kd_run child;
    const kd_run_options options = kd_teach_options(run);
    status = kd_run_open_as(&child, config, &options);
    if (status == KD_OK) status = kd_run_teachers(&child);
    if (status == KD_OK) status = kd_run_teach(&child);
    if (status == KD_OK) status = kd_run_train(&child, false, out);
    if (status == KD_OK) kd_learner_adapt(*out, &child.train->normaliser, &run->train->normaliser);
    kd_run_close(&child);
    kd_config_free(config);
    return status;
}

int kd_teach_load_member(kd_learner **out, const kd_run *run, const kd_teacher_source *source) {
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
                                   : kd_teach_load_member(&member, run, source);
        if (status < 0) return status;
        run->teacher.member[run->teacher.count++] = member;
        status = check_member(run, member, from);
        if (status == KD_OK) status = kd_learner_hash(&hash[i], member);
    }
    if (status == KD_OK) {
        static const char how[] =
            "mean of logits"; /* of an ensemble: part of what its store is of */
        const int parts = teacher->count > 1 ? teacher->count + 1 : 1;
        if (parts > 1) hash[teacher->count] = kd_hash_bytes(how, strlen(how));
        run->teacher.tape->precision = run->precision;
        run->teacher.hash = kd_hash_join(hash, parts);
    }
    return status;
}

static void describe_store(kd_store_header *out, const kd_run *run) {
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
                             .class_list = run->classes,
                             .data = run->taught_data};
    const kd_teacher_source *first = &teacher->source[0];
    const char *from = first->config[0] ? first->config : first->weights;
    const char *slash = strrchr(from, '/');
    snprintf(out->description, sizeof out->description, "%s%.200s",
             teacher->count > 1 ? "ensemble of " : "", slash ? slash + 1 : from);
}

/* The rows of a store as they are made: in rounds of a batch for each rank, of which the first
 * stores them in their order. */
typedef struct {
    kd_run *run;
    kd_store_writer *writer;
    int64_t *start;    /* (ranks + 1) of this round's batches; a batch may have no rows */
    float *x, *logits; /* of one batch                                                  */
} teaching;

/* Batches from row `done` on; each stays within one view. */
static void begin_round(teaching *t, int64_t done, int64_t total) {
    const int64_t count = t->run->train->count;
    t->start[0] = done;
    for (int r = 0; r < kd_rank_count(); r++) {
        const int64_t at = t->start[r], in_view = count - at % count, left = total - at;
        const int64_t most = in_view < TEACH_BATCH ? in_view : TEACH_BATCH;
        t->start[r + 1] = at + (left < most ? left : most);
    }
}

/* Rows [row, end) of the store: one view of successive samples → t->logits. */
static int answer_batch(teaching *t, int64_t row, int64_t end) {
    kd_run *run = t->run;
    const kd_dataset *d = run->train;
    const kd_augment none = {0};
    const bool augmented = run->config->teacher.views > 0;
    const int64_t view = row / d->count, first = row % d->count, size = d->h * d->w * d->c;
    if (row == end) return KD_OK;
#pragma omp parallel for
    for (int64_t i = 0; i < end - row; i++)
        kd_augmented_sample(d, first + i, augmented ? &run->config->augment : &none,
                            run->config->seed, view, t->x + i * size);
    return kd_ensemble_logits(&run->teacher, end - row, t->x, t->logits);
}

/* What the ranks answered, one after the other. */
static int store_round(teaching *t) {
    const kd_dataset *d = t->run->train;
    int status = KD_OK;
    for (int r = 0; r < kd_rank_count(); r++) {
        const int64_t row = t->start[r], n = t->start[r + 1] - row, first = row % d->count;
        kd_ranks_bring(t->logits, (size_t)(n * d->classes) * sizeof *t->logits, r);
        if (n > 0 && status == KD_OK)
            status = kd_store_writer_append(t->writer, n, row / d->count, d->id + first,
                                            d->label + first, t->logits);
    }
    return status;
}

static int teach_rounds(teaching *t, int64_t done, int64_t total) {
    const int ranks = kd_rank_count(), own = kd_rank();
    int status = KD_OK;
    kd_progress progress;
    kd_progress_begin(&progress, "teach", "samples", 1, done, total);
    while (done < total && status == KD_OK) {
        begin_round(t, done, total);
        done = t->start[ranks];
        status = kd_ranks_worst(answer_batch(t, t->start[own], t->start[own + 1]));
        if (status < 0) break;
        status = store_round(t);
        kd_progress_show(&progress, done, "");
        if (status == KD_OK && done < total && kd_train_take_stop())
            status = kd_fail(KD_EAGAIN,
                             "teach: stopped on request after %lld of %lld rows; whole "
                             "shards are kept: the same command goes on from there",
                             (long long)done, (long long)total);
        status = kd_ranks_worst(status);
    }
    kd_progress_end(&progress);
    return status;
}

static int write_rows(kd_run *run, kd_store_writer *writer, int64_t done, int64_t total) {
    const kd_dataset *d = run->train;
    const size_t bytes = (size_t)(TEACH_BATCH * d->h * d->w * d->c) * sizeof(float);
    teaching t = {.run = run, .writer = writer, .x = malloc(bytes)};
    t.logits = malloc((size_t)(TEACH_BATCH * d->classes) * sizeof *t.logits);
    t.start = malloc((size_t)(kd_rank_count() + 1) * sizeof *t.start);
    int status = t.x && t.logits && t.start ? KD_OK : kd_fail_memory(bytes, "the teacher's batch");
    if (status == KD_OK) status = teach_rounds(&t, done, total);
    free(t.start);
    free(t.x);
    free(t.logits);
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

/* Makes the run's own store, or what is missing of it, and opens it. */
static int make_and_open(kd_run *run) {
    kd_store_header header;
    kd_origin origin;
    char path[KD_PATH_MAX], *text;
    describe_store(&header, run);
    kd_run_origin_store(&origin, run);
    int status = kd_origin_text(&text, &origin);
    kd_origin_clear(&origin);
    header.origin = text;
    if (status == KD_OK) status = kd_teach_path(run, path);
    if (status == KD_OK) status = make_store(run, &header, path);
    free(text);
    if (status == KD_OK) status = kd_store_open(&run->store, path);
    if (status == KD_OK) run->stored = kd_store_hash(run->store);
    return status;
}

int kd_run_teach(kd_run *run) {
    const kd_teacher_config *teacher = &run->config->teacher;
    if (!teacher->present) return KD_OK;
    if (!teacher->store[0]) return make_and_open(run);
    kd_teach_tell_unstated(run);
    return KD_OK;
}
