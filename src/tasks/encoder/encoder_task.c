#include "tasks/encoder/encoder_task.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"
#include "tasks/encoder/metrics.h"

static const uint64_t ORDER_STREAM = 0x656e636f646572; /* "encoder" */

int64_t kd_encoder_sample(kd_encoder_work *w, int64_t epoch, int64_t place) {
    if (w->order_epoch != epoch) {
        const uint64_t stream = kd_rng_init(w->job->loop.seed, ORDER_STREAM).key;
        kd_rng rng = {.key = kd_rng_init(stream, (uint64_t)epoch).key};
        kd_rng_permutation(&rng, w->order, w->count);
        w->order_epoch = epoch;
    }
    return w->order[place];
}

int64_t kd_encoder_batch(const kd_encoder_work *w, int64_t batch, int64_t *first) {
    const int64_t size = w->job->loop.spec->batch;
    *first = batch * size;
    return w->count - *first < size ? w->count - *first : size;
}

int kd_encoder_ask(kd_encoder_work *w, const kd_bert_input *in) {
    return kd_bert_run(w->job->teacher, w->scratch, w->states, in);
}

/* --- set-up ------------------------------------------------------------------------------------
 */

static int take_teacher(kd_encoder_work *w) {
    const kd_bert *teacher = w->job->teacher;
    if (!teacher) return KD_OK;
    const size_t size = (size_t)(w->job->loop.spec->batch * w->job->length * teacher->spec.width);
    w->states = malloc(size * sizeof *w->states);
    w->hidden = malloc(size * sizeof *w->hidden);
    if (!w->states || !w->hidden)
        return kd_fail_memory(size * sizeof *w->states, "the teacher's answers");
    int status = kd_tape_create(&w->scratch, 0);
    if (status == KD_OK) w->scratch->precision = w->job->loop.precision;
    return status;
}

static int begin(kd_encoder_work **out, const kd_encoder_objective *kind, kd_bert *student,
                 const kd_encoder_job *job) {
    kd_encoder_work *w = *out = calloc(1, kind->size);
    if (!w) return kd_fail_memory(kind->size, "an objective");
    *w = (kd_encoder_work){.student = student, .job = job, .order_epoch = -1};
    w->count = job->train ? kd_masked_count(job->train) : job->taught->count;
    w->order = malloc(kd_array_bytes(w->count, sizeof *w->order));
    if (!w->order) return kd_fail_memory((size_t)w->count * sizeof *w->order, "an order");
    int status = take_teacher(w);
    return status == KD_OK ? kind->init(w) : status;
}

static void end(kd_encoder_work *w, const kd_encoder_objective *kind) {
    if (!w) return;
    kind->clear(w);
    kd_tape_free(w->scratch);
    free(w->order);
    free(w->states);
    free(w->hidden);
    free(w);
}

static const kd_encoder_objective *kind_of(const kd_encoder_job *job) {
    return job->train ? &kd_encoder_masked_objective : &kd_encoder_sentence_objective;
}

static kd_objective objective_of(kd_encoder_work *w, const kd_encoder_objective *kind) {
    const int64_t size = w->job->loop.spec->batch;
    return (kd_objective){.context = w,
                          .params = w->student->params,
                          .batches = (w->count + size - 1) / size,
                          .unit = kind->unit,
                          .term = kd_encoder_terms,
                          .term_count = KD_ENCODER_TERMS,
                          .metric = kd_encoder_validation,
                          .metric_count = KD_ENCODER_VALIDATION,
                          .rows = kind->rows,
                          .loss = kind->loss,
                          .evaluate = w->job->validation || w->job->held ? kind->evaluate : NULL};
}

int kd_encoder_train(kd_bert *student, const kd_encoder_job *job) {
    const kd_encoder_objective *kind = kind_of(job);
    kd_encoder_work *w;
    int status = begin(&w, kind, student, job);
    if (status == KD_OK) {
        const kd_objective task = objective_of(w, kind);
        status = kd_train(&task, &job->loop);
    }
    end(w, kind);
    return status;
}

int kd_encoder_measure_step(kd_bert *student, const kd_encoder_job *job, double *seconds,
                            size_t *bytes) {
    const kd_encoder_objective *kind = kind_of(job);
    kd_encoder_work *w;
    int status = begin(&w, kind, student, job);
    if (status == KD_OK) {
        const kd_objective task = objective_of(w, kind);
        status = kd_train_measure(&task, &job->loop, 2, seconds, bytes);
    }
    end(w, kind);
    return status;
}
