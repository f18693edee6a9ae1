#include "tasks/language/language_task.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"
#include "distill/soft_runs.h"
#include "tasks/language/hints.h"
#include "tasks/language/metrics.h"
#include "tasks/language/score.h"

static const uint64_t ORDER_STREAM = 0x6c616e6775616765; /* "language" */

typedef struct {
    kd_llama *student;
    const kd_language_job *job;
    int64_t *order, order_epoch; /* the permutation of the contexts in an epoch, −1: none yet */
    int64_t rounded_step;        /* QAT: the update since which weights have not changed      */
    int32_t *token, *first, *label; /* (batch,length); they outlive the backward              */
    uint8_t *valid;                 /* (batch,length)                                         */
    kd_soft_runs soft;              /* of a store                                             */
    kd_tape *scratch;               /* of a teacher that runs beside                          */
    kd_real *taught;                /* (batch,length,width) its hidden states                 */
    kd_language_hints hints;        /* between its layers and the student's                   */
} language;

/* --- one micro-batch ---------------------------------------------------------------------------
 */

/* The context at `place` of an epoch's order. */
static int64_t context_at(language *l, int64_t epoch, int64_t place) {
    if (l->order_epoch != epoch) {
        const uint64_t stream = kd_rng_init(l->job->loop.seed, ORDER_STREAM).key;
        kd_rng rng = {.key = kd_rng_init(stream, (uint64_t)epoch).key};
        kd_rng_permutation(&rng, l->order, kd_contexts_count(l->job->train));
        l->order_epoch = epoch;
    }
    return l->order[place];
}

/* Contexts of micro-batch `batch`, and the first of them in the epoch's order. */
static int64_t batch_size(const language *l, int64_t batch, int64_t *first) {
    const int64_t size = l->job->loop.spec->batch;
    *first = batch * size;
    const int64_t left = kd_contexts_count(l->job->train) - *first;
    return left < size ? left : size;
}

/* Row b of the batch: the tokens, what they foretell, and what the store has of it. */
static int fill_row(language *l, int64_t i, int64_t b) {
    const int64_t T = kd_contexts_length(l->job->train), row = b * T;
    kd_contexts_read(l->job->train, i, l->token + row, l->first + row, l->label + row,
                     l->valid + row);
    return l->job->store ? kd_soft_runs_read(&l->soft, (uint64_t)i, T - 1, row) : KD_OK;
}

/* What the teacher finds likely; `soft` points into `l`. */
static int ask_teacher(language *l, int64_t B, kd_soft_targets *soft) {
    const kd_llama *teacher = l->job->teacher;
    if (l->job->store) *soft = kd_soft_runs_targets(&l->soft);
    if (!teacher) return KD_OK;
    *soft = (kd_soft_targets){
        .hidden = l->taught, .output = teacher->output->tensor.value, .width = teacher->spec.width};
    return kd_llama_run_states(teacher, l->scratch, l->taught, l->token, B,
                               kd_contexts_length(l->job->train), l->first, l->hints.taught);
}

/* Lets the system fetch this rank's next batch while this one is learnt from. */
static void expect_next(language *l, const kd_train_place *at) {
    int64_t first;
    const int64_t B = l->job->store && at->after >= 0 ? batch_size(l, at->after, &first) : 0;
    for (int64_t b = 0; b < B; b++)
        kd_store_expect(l->job->store, 0, (uint64_t)context_at(l, at->epoch, first + b));
}

static int task_loss(kd_tensor **out, void *context, kd_tape *tape, const kd_train_place *at,
                     double normalizer, kd_loss_sums *sums) {
    language *l = context;
    const kd_loss_config *loss = l->job->loss;
    int64_t first;
    const int64_t B = batch_size(l, at->batch, &first), T = kd_contexts_length(l->job->train);
    const bool round = l->job->quantized && l->rounded_step != at->step;
    int status = round ? kd_quantized_round(l->job->quantized) : KD_OK;
    l->rounded_step = at->step;
    for (int64_t b = 0; b < B && status == KD_OK; b++)
        status = fill_row(l, context_at(l, at->epoch, first + b), b);
    kd_soft_targets soft;
    if (status == KD_OK) status = ask_teacher(l, B, &soft);
    if (status < 0) return status;
    expect_next(l, at);
    const kd_loss_spec spec = {.hard_weight = (kd_real)loss->hard,
                               .kl_weight = (kd_real)loss->kl,
                               .temperature = (kd_real)loss->temperature,
                               .normalizer = normalizer,
                               .divergence = {loss->divergence, (kd_real)loss->skew}};
    kd_loss_parts parts = {0};
    kd_tensor *h = kd_llama_states(l->student, tape, l->token, B, T, l->first, l->hints.state);
    *out = kd_vocab_loss(tape, h, &l->student->output->tensor, l->label, l->valid,
                         loss->kl > 0 ? &soft : NULL, spec, &parts);
    sums->term[KD_LANGUAGE_KL] += parts.kl;
    sums->term[KD_LANGUAGE_HARD] += parts.hard;
    sums->rows += parts.rows;
    if (loss->layer_hint_count > 0)
        *out = kd_add(tape, *out,
                      kd_language_hints_loss(&l->hints, tape, l->scratch, l->first, l->valid,
                                             normalizer, &sums->term[KD_LANGUAGE_HINT]),
                      KD_ACT_NONE);
    return KD_OK;
}

/* --- the task ----------------------------------------------------------------------------------
 */

/* Rows of the loss: read as the batch is, since borders of documents lie anywhere. Contexts may
 * foretell nothing, as the last does that holds one token. */
static double task_rows(void *context, const kd_train_place *at, int64_t n) {
    language *l = context;
    double rows = 0;
    for (int64_t batch = at->batch; batch < at->batch + n; batch++) {
        int64_t first;
        const int64_t B = batch_size(l, batch, &first);
        for (int64_t b = 0; b < B; b++)
            rows += (double)kd_contexts_read(l->job->train, context_at(l, at->epoch, first + b),
                                             l->token, l->first, l->label, l->valid);
    }
    return rows;
}

static int task_evaluate(kd_estimate *out, void *context, kd_tape *tape) {
    language *l = context;
    kd_language_score score;
    int status = l->job->quantized ? kd_quantized_round(l->job->quantized) : KD_OK;
    if (status == KD_OK)
        status = kd_language_score_of(&score, l->student, NULL, l->job->validation, tape);
    if (status == KD_OK)
        out[KD_LANGUAGE_LOSS] =
            kd_estimate_plain(score.nats / score.targets, (int64_t)score.targets);
    return status;
}

/* --- set-up ------------------------------------------------------------------------------------
 */

/* That the store has a row for each context, made for the same tokens. */
static int check_store(language *l) {
    kd_contexts *train = l->job->train;
    const int64_t T = kd_contexts_length(train);
    int status = KD_OK;
    for (int64_t i = 0; i < kd_contexts_count(train) && status == KD_OK; i++) {
        kd_contexts_read(train, i, l->token, l->first, l->label, l->valid);
        status = kd_store_check_run(l->job->store, (uint64_t)i, T - 1, l->token + 1);
    }
    return status;
}

static int take_teacher(language *l, int64_t rows) {
    const kd_llama *teacher = l->job->teacher;
    const int64_t size = rows * (teacher ? teacher->spec.width : 0);
    if (!teacher) return KD_OK;
    l->taught = malloc(kd_array_bytes(size, sizeof *l->taught));
    if (!l->taught)
        return kd_fail_memory(kd_array_bytes(size, sizeof *l->taught), "the teacher's answers");
    int status = kd_tape_create(&l->scratch, 0);
    if (status == KD_OK) l->scratch->precision = l->job->loop.precision;
    return status;
}

static int language_init(language *l, kd_llama *student, const kd_language_job *job) {
    const int64_t T = kd_contexts_length(job->train), rows = T * job->loop.spec->batch;
    const size_t n = (size_t)rows;
    *l = (language){.student = student, .job = job, .order_epoch = -1, .rounded_step = -1};
    l->order = malloc(kd_array_bytes(kd_contexts_count(job->train), sizeof *l->order));
    l->token = malloc(n * sizeof *l->token);
    l->first = malloc(n * sizeof *l->first);
    l->label = malloc(n * sizeof *l->label);
    l->valid = malloc(n);
    if (!l->order || !l->token || !l->first || !l->label || !l->valid)
        return kd_fail_memory(n * sizeof *l->token, "a batch of contexts");
    int status = take_teacher(l, rows);
    if (status == KD_OK && job->loss->layer_hint_count > 0)
        status =
            kd_language_hints_init(&l->hints, job->loss, job->model, student, job->teacher, rows);
    if (status < 0 || !job->store) return status;
    status = kd_soft_runs_create(&l->soft, job->store, job->loss->temperature, rows, T);
    return status == KD_OK ? check_store(l) : status;
}

static void language_clear(language *l) {
    free(l->order);
    free(l->token);
    free(l->first);
    free(l->label);
    free(l->valid);
    free(l->taught);
    kd_language_hints_clear(&l->hints);
    kd_tape_free(l->scratch);
    kd_soft_runs_clear(&l->soft);
}

static kd_objective objective_of(language *l) {
    const int64_t size = l->job->loop.spec->batch;
    return (kd_objective){.context = l,
                          .params = l->student->params,
                          .batches = (kd_contexts_count(l->job->train) + size - 1) / size,
                          .unit = "contexts",
                          .term = kd_language_terms,
                          .term_count = l->job->loss->layer_hint_count > 0 ? KD_LANGUAGE_TERMS
                                                                           : KD_LANGUAGE_HINT,
                          .metric = kd_language_validation,
                          .metric_count = KD_LANGUAGE_VALIDATION,
                          .rows = task_rows,
                          .loss = task_loss,
                          .evaluate = l->job->validation ? task_evaluate : NULL};
}

int kd_language_train(kd_llama *student, const kd_language_job *job) {
    language l;
    int status = language_init(&l, student, job);
    const kd_objective task = objective_of(&l);
    if (status == KD_OK) status = kd_train(&task, &job->loop);
    language_clear(&l);
    return status;
}

int kd_language_measure_step(kd_llama *student, const kd_language_job *job, double *seconds,
                             size_t *bytes) {
    language l;
    int status = language_init(&l, student, job);
    const kd_objective task = objective_of(&l);
    if (status == KD_OK) status = kd_train_measure(&task, &job->loop, 2, seconds, bytes);
    language_clear(&l);
    return status;
}
