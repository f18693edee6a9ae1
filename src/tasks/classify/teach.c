#include "tasks/classify/teach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/order.h"
#include "base/size.h"
#include "distill/teach.h"

enum { TEACH_BATCH = 200 };

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
    double *sum = calloc(kd_array_bytes(numbers, 1), sizeof *sum);
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
                            .onnx = kd_learner_onnx(source->weights),
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

/* The store on its way: a batch of samples, and what the teacher answers. */
typedef struct {
    kd_run *run;
    float *x, *logits;
} teaching;

/* Batches stay within a view. */
static int64_t rows_in_batch(const void *context, int64_t row) {
    const int64_t count = ((const teaching *)context)->run->train->count;
    return kd_smaller(count - row % count, TEACH_BATCH);
}

static int64_t positions_in_batch(const void *context, int64_t row, int64_t n) {
    (void)context;
    (void)row;
    return n;
}

static int answer_batch(void *context, const kd_store_header *header, int64_t row, int64_t n,
                        void *packed) {
    teaching *t = context;
    kd_run *run = t->run;
    const kd_dataset *d = run->train;
    const kd_augment none = {0};
    const bool augmented = run->config->teacher.views > 0;
    const int64_t view = row / d->count, first = row % d->count, size = d->h * d->w * d->c;
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        kd_augmented_sample(d, first + i, augmented ? &run->config->augment : &none,
                            run->config->seed, view, t->x + i * size);
    int status = kd_ensemble_logits(&run->teacher, n, t->x, t->logits);
    if (status < 0) return status;
    return kd_store_pack(packed, header, n, d->id + first, 1, t->logits);
}

static int append_batch(void *context, kd_store_writer *writer, int64_t row, int64_t n,
                        const void *packed) {
    const teaching *t = context;
    const kd_dataset *d = t->run->train;
    const int64_t first = row % d->count;
    return kd_store_writer_append(writer, n, row / d->count, d->id + first, d->label + first,
                                  packed);
}

/* Makes the run's own store, or what is missing of it, and opens it. */
static int make_and_open(kd_run *run) {
    const kd_dataset *d = run->train;
    const size_t bytes = kd_array_bytes(TEACH_BATCH * d->h * d->w * d->c, sizeof(float));
    teaching t = {run, malloc(bytes), malloc((size_t)(TEACH_BATCH * d->classes) * sizeof(float))};
    int status = t.x && t.logits ? KD_OK : kd_fail_memory(bytes, "the teacher's batch");
    char path[KD_PATH_MAX];
    kd_origin origin;
    kd_run_origin_store(&origin, run);
    kd_teaching job = {.origin = &origin,
                       .unit = "rows",
                       .context = &t,
                       .batch = rows_in_batch,
                       .answer = answer_batch,
                       .positions = positions_in_batch,
                       .append = append_batch};
    describe_store(&job.header, run);
    job.rows = job.header.views * d->count;
    if (status == KD_OK) status = kd_teach_path(run, path);
    if (status == KD_OK) status = kd_teach(&run->store, &run->stored, path, &job);
    kd_origin_clear(&origin);
    free(t.x);
    free(t.logits);
    return status;
}

int kd_run_teach(kd_run *run) {
    const kd_teacher_config *teacher = &run->config->teacher;
    if (!teacher->present) return KD_OK;
    if (!teacher->store[0]) return make_and_open(run);
    kd_teach_tell_unstated(run);
    return KD_OK;
}
