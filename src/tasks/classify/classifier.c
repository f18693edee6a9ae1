#include "tasks/classify/classifier.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"
#include "distill/loss.h"
#include "tasks/classify/evaluate.h"
#include "tasks/classify/metrics.h"

typedef struct {
    kd_learner *learner;
    const kd_classifier_job *job;
    kd_loader *loader;
    int64_t rounded_step;                   /* the update whose weights are rounded, or −1     */
    kd_tensor **student_tap, **teacher_tap; /* per node, when there are hints                  */
} classifier;

static void classifier_clear(classifier *c) {
    kd_loader_free(c->loader);
    free(c->student_tap);
    free(c->teacher_tap);
}

/* Buffers for hints; all there is to allocate for a step besides the tape and the loader's batches.
 */
static int make_buffers(classifier *c) {
    const kd_classifier_job *job = c->job;
    if (job->loss->hint_count > 0) {
        KD_CONTRACT(job->teacher, "hints without a teacher");
        c->student_tap = calloc((size_t)c->learner->net->count, sizeof *c->student_tap);
        c->teacher_tap = calloc((size_t)job->teacher->net->count, sizeof *c->teacher_tap);
        if (!c->student_tap || !c->teacher_tap) return kd_fail_memory(4096, "hint taps");
    }
    return KD_OK;
}

/* Samples of a batch that is not the last of its epoch, or of the only one. */
static int64_t full_batch(const kd_classifier_job *job) {
    const int64_t batch = job->loop.spec->batch, count = job->train->count;
    return batch < count ? batch : count;
}

static int classifier_init(classifier *c, kd_learner *learner, const kd_classifier_job *job) {
    *c = (classifier){.learner = learner, .job = job, .rounded_step = -1};
    kd_loader_spec spec = {.batch = job->loop.spec->batch,
                           .update = job->loop.spec->accumulate,
                           .shuffle = true,
                           .augment = job->augment,
                           .views = job->views,
                           .seed = job->loop.seed,
                           .store = job->store};
    if (job->store)
        spec.temperature_index =
            kd_store_temperature_index(kd_store_describe(job->store), job->loss->temperature);
    /* The folded batch norm of a network in integers knows no batch. */
    const bool folded = job->mode != KD_RUN_FLOAT && learner->quantized->how->makes_network;
    int status = folded ? KD_OK : kd_net_check_batch(learner->net, full_batch(job));
    if (status == KD_OK) status = kd_loader_create(&c->loader, job->train, &spec);
    return status < 0 ? status : make_buffers(c);
}

/* The loader runs ahead in the order of training, and is put elsewhere after a resumption. */
static int next_batch(const classifier *c, const kd_train_place *at, kd_batch *out) {
    kd_loader_seek(c->loader, at->epoch, at->batch);
    return kd_loader_next(c->loader, out);
}

/* The soft targets of a batch, on the tape. */
static kd_soft_targets soft_targets(const classifier *c, kd_tape *tape, const kd_batch *batch) {
    const kd_store_header *header = kd_store_describe(c->job->store);
    const bool dense = header->kind == KD_STORE_DENSE;
    const int64_t width = dense ? header->classes : header->k;
    kd_real *logits = kd_tape_alloc(tape, kd_array_bytes(batch->n * width, sizeof *logits));
    for (int64_t i = 0; i < batch->n * width; i++) logits[i] = (kd_real)batch->soft[i];
    if (dense) return (kd_soft_targets){.logits = logits};
    kd_real *tail = kd_tape_alloc(tape, kd_array_bytes(batch->n, sizeof *tail));
    for (int64_t i = 0; i < batch->n; i++) tail[i] = (kd_real)batch->tail[i];
    return (kd_soft_targets){
        .k = header->k, .index = batch->soft_index, .kept = logits, .tail = tail};
}

/* The term of hint i, which is added to *sum before weighting. */
static kd_tensor *hint_loss(classifier *c, kd_tape *tape, int i, double normalizer, double *sum) {
    const kd_hint_spec *hint = &c->job->loss->hint[i];
    kd_tensor *x = c->student_tap[kd_net_find(c->learner->net, hint->student)];
    kd_tensor *target = c->teacher_tap[kd_net_find(c->job->teacher->net, hint->teacher)];
    int64_t rows = kd_rows(x), flat[2] = {rows, kd_channels(x)};
    const double samples = normalizer;
    normalizer *= (double)(rows / x->shape[0]); /* the mean over positions too */
    x = kd_reshape(tape, x, 2, flat);
    if (c->learner->projection[i])
        x = kd_linear(tape, x, &c->learner->projection[i]->tensor, NULL, KD_ACT_NONE);
    kd_real weight = (kd_real)hint->weight;
    kd_tensor *loss = hint->kind == KD_HINT_MSE
                          ? kd_hint_mse(tape, x, target->value, NULL, weight, normalizer)
                          : kd_hint_cosine(tape, x, target->value, NULL, weight, normalizer);
    *sum += (double)loss->value[0] * samples / (double)weight;
    return loss;
}

/* The teacher's hidden values for the same input, as it is used to see it; without recording. */
static void run_teacher(classifier *c, kd_tape *tape, const kd_batch *batch, kd_tensor *x) {
    tape->recording = tape->training = false;
    if (c->job->teacher->adapts) x = kd_learner_input(c->job->teacher, tape, batch->n, batch->x);
    kd_learner_forward(c->job->teacher, tape, x, KD_RUN_FLOAT, c->teacher_tap);
    tape->recording = tape->training = true;
}

static kd_run_mode mode_at(const kd_classifier_job *job, int64_t step) {
    bool delayed = job->mode == KD_RUN_FAKE_TRAIN && step < job->delay_steps;
    return delayed ? KD_RUN_OBSERVE : job->mode;
}

/* Once for all micro-batches of an update. */
static int round_weights(classifier *c, int64_t step) {
    if (!c->learner->quantized || c->rounded_step == step) return KD_OK;
    c->rounded_step = step;
    return kd_quantized_round(c->learner->quantized);
}

static int task_loss(kd_tensor **out, void *context, kd_tape *tape, const kd_train_place *at,
                     double normalizer, kd_loss_sums *sums) {
    classifier *c = context;
    const kd_loss_config *loss = c->job->loss;
    kd_batch batch;
    int status = round_weights(c, at->step);
    if (status == KD_OK) status = next_batch(c, at, &batch);
    if (status < 0) return status;
    tape->full_batch = full_batch(c->job);
    kd_tensor *x = kd_learner_input(c->learner, tape, batch.n, batch.x);
    kd_tensor *z =
        kd_learner_forward(c->learner, tape, x, mode_at(c->job, at->step), c->student_tap);
    kd_soft_targets soft = {0};
    if (c->job->store) soft = soft_targets(c, tape, &batch);
    kd_loss_spec spec = {.hard_weight = (kd_real)loss->hard,
                         .kl_weight = c->job->store ? (kd_real)loss->kl : 0,
                         .temperature = (kd_real)loss->temperature,
                         .label_smoothing = (kd_real)loss->label_smoothing,
                         .divergence = {loss->divergence, (kd_real)loss->skew},
                         .decoupled = c->job->store ? (kd_real)loss->decoupled : 0,
                         .standardize = loss->standardize,
                         .normalizer = normalizer};
    kd_loss_parts parts = {0};
    kd_tensor *total =
        kd_distill_loss(tape, z, batch.label, NULL, c->job->store ? &soft : NULL, spec, &parts);
    if (loss->hint_count > 0) run_teacher(c, tape, &batch, x);
    for (int i = 0; i < loss->hint_count; i++)
        total =
            kd_add(tape, total, hint_loss(c, tape, i, normalizer, &sums->term[KD_CLASSIFY_HINT]),
                   KD_ACT_NONE);
    sums->term[KD_CLASSIFY_KL] += parts.kl;
    sums->term[KD_CLASSIFY_HARD] += parts.hard;
    sums->rows += parts.rows;
    *out = total;
    return KD_OK;
}

static double task_rows(void *context, const kd_train_place *at, int64_t n) {
    const classifier *c = context;
    const int64_t batch = c->job->loop.spec->batch, count = c->job->train->count;
    int64_t begin = at->batch * batch, end = begin + n * batch;
    return (double)((end < count ? end : count) - begin);
}

static int task_evaluate(kd_estimate *out, void *context, kd_tape *tape) {
    const classifier *c = context;
    kd_result result;
    kd_run_mode mode = c->job->mode == KD_RUN_FLOAT ? KD_RUN_FLOAT : KD_RUN_FAKE_EVAL;
    int status = c->learner->quantized ? kd_quantized_round(c->learner->quantized) : KD_OK;
    if (status == KD_OK)
        status = kd_evaluate(&result, c->learner, mode, tape, c->job->validation, NULL);
    if (status < 0) return status;
    out[KD_CLASSIFY_ACCURACY] = kd_estimate_share(result.correct, result.samples);
    out[KD_CLASSIFY_LOSS] = kd_estimate_plain(result.loss, result.samples);
    kd_result_free_counts(&result);
    return KD_OK;
}

static kd_objective task_of(classifier *c) {
    return (kd_objective){.context = c,
                          .params = c->learner->params,
                          .batches = kd_loader_batches(c->loader),
                          .unit = "samples",
                          .term = kd_classify_terms,
                          .term_count =
                              c->job->loss->hint_count > 0 ? KD_CLASSIFY_TERMS : KD_CLASSIFY_HINT,
                          .metric = kd_classify_validation,
                          .metric_count = KD_CLASSIFY_VALIDATION,
                          .rows = task_rows,
                          .loss = task_loss,
                          .evaluate = c->job->validation ? task_evaluate : NULL};
}

int kd_classifier_train(kd_learner *learner, const kd_classifier_job *job) {
    classifier c;
    int status = classifier_init(&c, learner, job);
    if (status == KD_OK) {
        kd_objective task = task_of(&c);
        status = kd_train(&task, &job->loop);
    }
    classifier_clear(&c);
    return status;
}

int kd_classifier_measure(kd_learner *learner, const kd_classifier_job *job, int steps,
                          double *seconds_per_step, size_t *arena_bytes) {
    classifier c;
    int status = classifier_init(&c, learner, job);
    if (status == KD_OK) {
        kd_objective task = task_of(&c);
        status = kd_train_measure(&task, &job->loop, steps, seconds_per_step, arena_bytes);
    }
    classifier_clear(&c);
    return status;
}
