/* The objective of masked tokens. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "distill/loss.h"
#include "tasks/encoder/encoder_task.h"
#include "tasks/encoder/metrics.h"
#include "tasks/encoder/score.h"

typedef struct {
    kd_encoder_work work;
    kd_masked_rows rows;
    double chosen; /* masked tokens of the update whose rows were asked for last */
} masked;

static int init(void *task) {
    masked *m = task;
    return kd_masked_rows_init(&m->rows, m->work.job->loop.spec->batch, m->work.job->length);
}

static void clear(void *task) {
    masked *m = task;
    kd_masked_rows_clear(&m->rows);
}

/* The micro-batch's contexts → rows; adds how many tokens are there, and are masked. */
static int64_t read_batch(masked *m, int64_t epoch, int64_t batch, double *real, double *chosen) {
    int64_t first, there;
    const int64_t B = kd_encoder_batch(&m->work, batch, &first);
    for (int64_t b = 0; b < B; b++) {
        const int64_t i = kd_encoder_sample(&m->work, epoch, first + b);
        *chosen += (double)kd_masked_read(m->work.job->train, epoch, i, &m->rows, b, &there);
        *real += (double)there;
    }
    return B;
}

/* Tokens; how many of them are masked is kept. */
static double rows(void *task, const kd_train_place *at, int64_t n) {
    masked *m = task;
    double real = 0;
    m->chosen = 0;
    for (int64_t i = 0; i < n; i++) read_batch(m, at->epoch, at->batch + i, &real, &m->chosen);
    return real;
}

/* The teacher's last hidden states, and what its head makes of them. */
static int ask_teacher(masked *m, const kd_bert_input *in) {
    kd_encoder_work *w = &m->work;
    const kd_bert *teacher = w->job->teacher;
    const int64_t n = in->B * in->T, width = teacher->spec.width;
    int status = kd_encoder_ask(w, in);
    if (status < 0 || w->job->loss->kl <= 0) return status;
    if (kd_tape_guard(w->scratch)) return KD_EINTERNAL;
    kd_tensor x = {.rank = 2, .shape = {n, width}, .size = n * width, .value = w->states};
    const kd_tensor *h = kd_bert_head(teacher, w->scratch, &x);
    memcpy(w->hidden, h->value, (size_t)h->size * sizeof *w->hidden);
    kd_tape_reset(w->scratch);
    return KD_OK;
}

static kd_tensor *plus(kd_tape *tape, kd_tensor *a, kd_tensor *b) {
    return a ? kd_add(tape, a, b, KD_ACT_NONE) : b;
}

/* KL and cross-entropy: in one pass where both look at the masked tokens alone. */
static kd_tensor *vocabulary_loss(masked *m, kd_tape *tape, kd_tensor *h, double normalizer,
                                  kd_loss_parts *kl, kd_loss_parts *hard) {
    const kd_encoder_work *w = &m->work;
    const kd_encoder_loss *loss = w->job->loss;
    const kd_bert *teacher = w->job->teacher;
    kd_tensor *E = &w->student->embedding.table->tensor, *total = NULL;
    const double chosen = m->chosen > 0 ? m->chosen : 1;
    kd_soft_targets soft = {.hidden = w->hidden};
    kd_loss_spec spec = {.temperature = (kd_real)loss->temperature,
                         .bias = &w->student->bias->tensor};
    if (teacher) {
        soft.output = teacher->embedding.table->tensor.value;
        soft.bias = teacher->bias->tensor.value;
        soft.width = teacher->spec.width;
    }
    if (loss->kl > 0) {
        spec.kl_weight = (kd_real)loss->kl;
        spec.hard_weight = (kd_real)(loss->masked_only ? loss->hard : 0);
        spec.normalizer = loss->masked_only ? chosen : normalizer;
        total = kd_vocab_loss(tape, h, E, loss->masked_only ? m->rows.label : NULL,
                              loss->masked_only ? m->rows.chosen : m->rows.real, &soft, spec, kl);
        if (loss->masked_only) hard->hard = kl->hard;
    }
    if (loss->hard > 0 && (loss->kl <= 0 || !loss->masked_only)) {
        spec.kl_weight = 0;
        spec.hard_weight = (kd_real)loss->hard;
        spec.normalizer = chosen;
        total = plus(tape, total,
                     kd_vocab_loss(tape, h, E, m->rows.label, m->rows.chosen, NULL, spec, hard));
    }
    return total;
}

static int loss_of(kd_tensor **out, void *task, kd_tape *tape, const kd_train_place *at,
                   double normalizer, kd_loss_sums *sums) {
    masked *m = task;
    kd_encoder_work *w = &m->work;
    const kd_encoder_loss *loss = w->job->loss;
    kd_loss_parts kl = {0}, hard = {0};
    double real = 0, chosen = 0;
    const int64_t B = read_batch(m, at->epoch, at->batch, &real, &chosen);
    const kd_bert_input in = {m->rows.token, m->rows.first, m->rows.end, B, w->job->length};
    int status = w->job->teacher ? ask_teacher(m, &in) : KD_OK;
    if (status < 0) return status;
    kd_tensor *states = kd_bert_states(w->student, tape, &in);
    kd_tensor *h = kd_bert_head(w->student, tape, states);
    *out = vocabulary_loss(m, tape, h, normalizer, &kl, &hard);
    /* of the masked tokens, as if of all, by which the log divides */
    const double share = m->chosen > 0 ? normalizer / m->chosen : 0;
    sums->term[KD_ENCODER_KL] += loss->masked_only ? kl.kl * share : kl.kl;
    sums->term[KD_ENCODER_HARD] += hard.hard * share;
    if (loss->cosine > 0) {
        kd_tensor *cosine = kd_hint_cosine(tape, states, w->states, m->rows.real,
                                           (kd_real)loss->cosine, normalizer);
        sums->term[KD_ENCODER_COSINE] += (double)cosine->value[0] * normalizer / loss->cosine;
        *out = plus(tape, *out, cosine);
    }
    sums->rows += real;
    return KD_OK;
}

static int evaluate(kd_estimate *out, void *task, kd_tape *tape) {
    const kd_encoder_work *w = task;
    kd_encoder_score score;
    int status = kd_encoder_score_masked(&score, w->student, w->job->validation, tape);
    out[KD_ENCODER_ACCURACY] = kd_estimate_share(score.right, score.samples);
    out[KD_ENCODER_NATS] = kd_estimate_plain(score.nats / (double)score.samples, score.samples);
    return status;
}

const kd_encoder_objective kd_encoder_masked_objective = {.size = sizeof(masked),
                                                          .init = init,
                                                          .clear = clear,
                                                          .rows = rows,
                                                          .loss = loss_of,
                                                          .evaluate = evaluate,
                                                          .unit = "contexts"};
