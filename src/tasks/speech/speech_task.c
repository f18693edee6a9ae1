#include "tasks/speech/speech_task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"
#include "distill/soft_runs.h"
#include "tasks/speech/metrics.h"

static const uint64_t ORDER_STREAM = 0x73706565636864; /* "speechd" */

/* A micro-batch: B windows padded to T tokens, what the encoder heard in them, what the teacher
 * said. All of it outlives the backward. */
typedef struct {
    int64_t B, T;
    const int32_t *token; /* (B,T) into the decoder                                     */
    const int32_t *label; /* (B,T) the tokens that should come out                      */
    const uint8_t *valid; /* (B,T) 1 where the label is a target; elsewhere nothing is read */
    kd_soft_targets soft; /* rows (B·T) as for kd_vocab_loss                            */
    kd_tensor *memory;    /* (B,S,width) of the tape                                    */
} batch;

typedef struct {
    kd_whisper *student;
    const kd_speech_job *job;
    int64_t *order, order_epoch; /* the permutation of the windows in an epoch, −1: none yet */
    int64_t rounded_step;        /* QAT: the update since which weights have not changed     */
    int32_t *token, *label;      /* (batch,longest) */
    uint8_t *valid;
    kd_soft_runs soft; /* empty without a teacher */
    double *row_loss;  /* of the targets of a window of each rank */
    bool *row_right;
} speech;

/* --- one micro-batch ------------------------------------------------------------------------ */

/* Decoder and kd_vocab_loss over the student's output matrix → scalar (1). */
static kd_tensor *batch_loss(const speech *s, kd_tape *tape, const batch *b, double normalizer,
                             kd_loss_sums *sums) {
    const kd_loss_config *loss = s->job->loss;
    kd_tensor *h = kd_whisper_decoder(s->student, tape, b->token, b->B, b->T, b->memory);
    const kd_loss_spec spec = {.hard_weight = (kd_real)loss->hard,
                               .kl_weight = (kd_real)loss->kl,
                               .temperature = (kd_real)loss->temperature,
                               .normalizer = normalizer,
                               .divergence = {loss->divergence, (kd_real)loss->skew}};
    kd_loss_parts parts = {0};
    kd_tensor *total = kd_vocab_loss(tape, h, &s->student->tokens.table->tensor, b->label, b->valid,
                                     loss->kl > 0 ? &b->soft : NULL, spec, &parts);
    sums->term[KD_SPEECH_KL] += parts.kl;
    sums->term[KD_SPEECH_HARD] += parts.hard;
    sums->rows += parts.rows;
    return total;
}

static int64_t inputs_of(const kd_window *w) {
    return w->length - 1;
}

/* The window at `place` of an epoch's order. */
static int64_t window_at(speech *s, int64_t epoch, int64_t place) {
    if (s->order_epoch != epoch) {
        const uint64_t stream = kd_rng_init(s->job->loop.seed, ORDER_STREAM).key;
        kd_rng rng = {.key = kd_rng_init(stream, (uint64_t)epoch).key};
        kd_rng_permutation(&rng, s->order, s->job->train->count);
        s->order_epoch = epoch;
    }
    return s->order[place];
}

/* Row b of a batch of T tokens. */
static int fill_row(speech *s, const kd_window *w, int64_t b, int64_t T) {
    const int64_t inputs = inputs_of(w), first = w->first_target, row = b * T;
    memcpy(s->token + row, w->token, (size_t)inputs * sizeof *s->token);
    memcpy(s->label + row, w->token + 1, (size_t)inputs * sizeof *s->label);
    for (int64_t t = inputs; t < T; t++) s->token[row + t] = s->label[row + t] = 0;
    for (int64_t t = 0; t < T; t++) s->valid[row + t] = t >= first && t < inputs;
    return s->job->loss->kl > 0
               ? kd_soft_runs_read(&s->soft, w->id, kd_window_targets(w), row + first)
               : KD_OK;
}

/* Lets the system fetch this rank's next batch while this one is learnt from. */
static void expect_next(speech *s, const kd_train_place *at) {
    const int64_t size = s->job->loop.spec->batch, count = s->job->train->count;
    if (at->after < 0) return;
    const int64_t end = kd_smaller((at->after + 1) * size, count);
    for (int64_t place = at->after * size; place < end; place++) {
        const int64_t i = window_at(s, at->epoch, place);
        kd_encoder_cache_expect(s->job->encoder_cache, i);
        if (s->job->loss->kl > 0) kd_store_expect(s->job->store, 0, s->job->train->item[i].id);
    }
}

static int fill_batch(speech *s, kd_tape *tape, const kd_train_place *at, batch *out) {
    const kd_windows *windows = s->job->train;
    const kd_whisper_spec *spec = &s->student->spec;
    const int64_t first = at->batch * s->job->loop.spec->batch, left = windows->count - first;
    const int64_t B = left < s->job->loop.spec->batch ? left : s->job->loop.spec->batch;
    const int64_t shape[3] = {B, spec->audio_context, spec->width};
    const int64_t values = shape[1] * shape[2];
    int64_t T = 0;
    for (int64_t b = 0; b < B; b++) {
        const int64_t n = inputs_of(&windows->item[window_at(s, at->epoch, first + b)]);
        if (n > T) T = n;
    }
    *out = (batch){.B = B,
                   .T = T,
                   .token = s->token,
                   .label = s->label,
                   .valid = s->valid,
                   .memory = kd_tape_input(tape, 3, shape)};
    if (s->job->loss->kl > 0) out->soft = kd_soft_runs_targets(&s->soft);
    for (int64_t b = 0; b < B; b++) {
        const int64_t i = window_at(s, at->epoch, first + b);
        int status = fill_row(s, &windows->item[i], b, T);
        if (status == KD_OK)
            status =
                kd_encoder_cache_read(s->job->encoder_cache, i, out->memory->value + b * values);
        if (status < 0) return status;
    }
    return KD_OK;
}

/* --- the task ------------------------------------------------------------------------------- */

static double task_rows(void *context, const kd_train_place *at, int64_t n) {
    speech *s = context;
    const int64_t size = s->job->loop.spec->batch, count = s->job->train->count;
    int64_t end = (at->batch + n) * size;
    double rows = 0;
    if (end > count) end = count;
    for (int64_t i = at->batch * size; i < end; i++)
        rows += (double)kd_window_targets(&s->job->train->item[window_at(s, at->epoch, i)]);
    return rows;
}

static int task_loss(kd_tensor **out, void *context, kd_tape *tape, const kd_train_place *at,
                     double normalizer, kd_loss_sums *sums) {
    speech *s = context;
    batch b;
    const bool round = s->job->quantized && s->rounded_step != at->step;
    int status = round ? kd_quantized_round(s->job->quantized) : KD_OK;
    s->rounded_step = at->step;
    if (status == KD_OK) status = fill_batch(s, tape, at, &b);
    if (status < 0) return status;
    expect_next(s, at);
    *out = batch_loss(s, tape, &b, normalizer, sums);
    return KD_OK;
}

/* Cross-entropy of one row of logits z (V), and whether its largest is the label. */
static double score_row(const kd_real *z, int64_t V, int32_t label, bool *right) {
    int64_t top = 0;
    double sum = 0;
    for (int64_t v = 1; v < V; v++)
        if (z[v] > z[top]) top = v;
    for (int64_t v = 0; v < V; v++) sum += exp((double)(z[v] - z[top]));
    *right = top == label;
    return log(sum) - (double)(z[label] - z[top]);
}

/* The targets of window i, this rank's of a round: their cross-entropy, and which are right. */
static int score_window(speech *s, kd_tape *tape, int64_t i) {
    const int64_t place = (int64_t)kd_rank() * s->job->validation->longest;
    double *row_loss = s->row_loss + place;
    bool *row_right = s->row_right + place;
    const kd_whisper_spec *spec = &s->student->spec;
    const kd_window *w = &s->job->validation->item[i];
    const int64_t shape[3] = {1, spec->audio_context, spec->width}, V = spec->vocabulary;
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    kd_tape_reset(tape);
    kd_tensor *memory = kd_tape_input(tape, 3, shape);
    int status = kd_encoder_cache_read(s->job->validation_cache, i, memory->value);
    if (status < 0) return status;
    kd_tensor *h = kd_whisper_decoder(s->student, tape, w->token, 1, inputs_of(w), memory);
    h = kd_slice(tape, h, 1, w->first_target, inputs_of(w), 1);
    const kd_tensor *z = kd_whisper_logits(s->student, tape, h);
    const int32_t *label = kd_window_labels(w);
#pragma omp parallel for
    for (int64_t t = 0; t < kd_window_targets(w); t++)
        row_loss[t] = score_row(z->value + t * V, V, label[t], &row_right[t]);
    return KD_OK;
}

/* Adds a window's targets, whose scores begin at `place`, to the sums; → how many. */
static double add_window(const speech *s, int64_t i, size_t place, double *loss, double *right) {
    const int64_t targets = kd_window_targets(&s->job->validation->item[i]);
    for (int64_t t = 0; t < targets; t++) {
        *loss += s->row_loss[place + (size_t)t];
        *right += s->row_right[place + (size_t)t];
    }
    return (double)targets;
}

static int task_evaluate(kd_estimate *out, void *context, kd_tape *tape) {
    speech *s = context;
    const kd_windows *windows = s->job->validation;
    const size_t longest = (size_t)windows->longest;
    double loss = 0, right = 0, rows = 0;
    int status = s->job->quantized ? kd_quantized_round(s->job->quantized) : KD_OK;
    const bool recording = tape->recording;
    tape->recording = tape->training = false;
    for (int64_t first = 0; first < windows->count && status == KD_OK; first += kd_rank_count()) {
        const int64_t own = first + kd_rank(), end = first + kd_rank_count();
        status = kd_ranks_worst(own < windows->count ? score_window(s, tape, own) : KD_OK);
        if (status < 0) break;
        kd_ranks_gather_parts(s->row_loss, kd_rank_count(), longest * sizeof *s->row_loss);
        kd_ranks_gather_parts(s->row_right, kd_rank_count(), longest * sizeof *s->row_right);
        for (int64_t i = first; i < kd_smaller(end, windows->count); i++)
            rows += add_window(s, i, (size_t)(i - first) * longest, &loss, &right);
    }
    tape->recording = tape->training = recording;
    out[KD_SPEECH_ACCURACY] = kd_estimate_plain(right / rows, (int64_t)rows);
    out[KD_SPEECH_LOSS] = kd_estimate_plain(loss / rows, (int64_t)rows);
    return status;
}

/* --- set-up ----------------------------------------------------------------------------------- */

/* That the store has a row for each window, made for the same tokens. */
static int check_store(const speech *s) {
    const kd_speech_job *job = s->job;
    int status = KD_OK;
    for (int64_t i = 0; i < job->train->count && status == KD_OK; i++) {
        const kd_window *w = &job->train->item[i];
        status = kd_store_check_run(job->store, w->id, kd_window_targets(w), kd_window_labels(w));
    }
    return status;
}

/* All there is to allocate besides the tape. */
static int allocate(speech *s) {
    const kd_speech_job *job = s->job;
    const int64_t rows = job->train->longest * job->loop.spec->batch;
    const int64_t scored = (job->validation ? job->validation->longest : 1) * kd_rank_count();
    s->order = malloc(kd_array_bytes(job->train->count, sizeof *s->order));
    s->token = malloc(kd_array_bytes(rows, sizeof *s->token));
    s->label = malloc(kd_array_bytes(rows, sizeof *s->label));
    s->valid = malloc(kd_array_bytes(rows, sizeof *s->valid));
    s->row_loss = malloc(kd_array_bytes(scored, sizeof *s->row_loss));
    s->row_right = malloc(kd_array_bytes(scored, sizeof *s->row_right));
    if (!(s->order && s->token && s->label && s->valid && s->row_loss && s->row_right))
        return kd_fail_memory(kd_array_bytes(rows, sizeof *s->token), "batches of tokens");
    return job->loss->kl > 0 ? kd_soft_runs_create(&s->soft, job->store, job->loss->temperature,
                                                   rows, job->train->longest)
                             : KD_OK;
}

static int speech_init(speech *s, kd_whisper *student, const kd_speech_job *job) {
    *s = (speech){.student = student, .job = job, .order_epoch = -1, .rounded_step = -1};
    int status = allocate(s);
    if (status < 0 || job->loss->kl <= 0) return status;
    return check_store(s);
}

static void speech_clear(speech *s) {
    free(s->order);
    free(s->token);
    free(s->label);
    free(s->valid);
    kd_soft_runs_clear(&s->soft);
    free(s->row_loss);
    free(s->row_right);
}

int kd_speech_train(kd_whisper *student, const kd_speech_job *job) {
    speech s;
    int status = speech_init(&s, student, job);
    if (status == KD_OK) {
        kd_objective task = {.context = &s,
                             .params = student->params,
                             .batches = (job->train->count + job->loop.spec->batch - 1) /
                                        job->loop.spec->batch,
                             .unit = "windows",
                             .term = kd_speech_terms,
                             .term_count = KD_SPEECH_TERMS,
                             .metric = kd_speech_validation,
                             .metric_count = KD_SPEECH_VALIDATION,
                             .rows = task_rows,
                             .loss = task_loss,
                             .evaluate = job->validation ? task_evaluate : NULL};
        status = kd_train(&task, &job->loop);
    }
    speech_clear(&s);
    return status;
}
