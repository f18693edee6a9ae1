/* The objective of classes of sentences. */
#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"
#include "distill/loss.h"
#include "tasks/encoder/encoder_task.h"
#include "tasks/encoder/metrics.h"
#include "tasks/encoder/score.h"

typedef struct {
    kd_encoder_work work;
    kd_sentence_row row;
    int64_t *which; /* (batch) */
    kd_real *told;  /* (batch,classes) the teacher's logits */
} sentences;

static int init(void *task) {
    sentences *s = task;
    const kd_encoder_job *job = s->work.job;
    const int64_t n = job->loop.spec->batch, classes = s->work.student->spec.classes;
    s->which = malloc(kd_array_bytes(n, sizeof *s->which));
    s->told = malloc(kd_array_bytes(n * classes, sizeof *s->told));
    if (!s->which || !s->told)
        return kd_fail_memory((size_t)(n * classes) * sizeof *s->told, "a batch of sentences");
    return kd_sentence_row_init(&s->row, n, job->length);
}

static void clear(void *task) {
    sentences *s = task;
    kd_sentence_row_clear(&s->row);
    free(s->which);
    free(s->told);
}

static double rows(void *task, const kd_train_place *at, int64_t n) {
    int64_t first, count = 0;
    for (int64_t i = 0; i < n; i++) count += kd_encoder_batch(task, at->batch + i, &first);
    return (double)count;
}

static int ask_teacher(sentences *s, const kd_bert_input *in) {
    kd_encoder_work *w = &s->work;
    const kd_bert *teacher = w->job->teacher;
    const int64_t width = teacher->spec.width;
    int status = kd_encoder_ask(w, in);
    if (status < 0) return status;
    if (kd_tape_guard(w->scratch)) return KD_EINTERNAL;
    kd_tensor x = {.rank = 3, .shape = {1, in->T, width}, .size = in->T * width};
    x.value = w->states;
    const kd_tensor *z = kd_bert_classes(teacher, w->scratch, &x, s->row.start, s->row.n);
    for (int64_t i = 0; i < z->size; i++) s->told[i] = z->value[i];
    kd_tape_reset(w->scratch);
    return KD_OK;
}

static int loss_of(kd_tensor **out, void *task, kd_tape *tape, const kd_train_place *at,
                   double normalizer, kd_loss_sums *sums) {
    sentences *s = task;
    kd_encoder_work *w = &s->work;
    const kd_encoder_loss *loss = w->job->loss;
    int64_t first;
    const int64_t n = kd_encoder_batch(w, at->batch, &first);
    for (int64_t i = 0; i < n; i++) s->which[i] = kd_encoder_sample(w, at->epoch, first + i);
    kd_sentence_row_fill(&s->row, w->job->taught, s->which, 0, n);
    const kd_bert_input in = {s->row.token, s->row.first, s->row.end, 1, s->row.tokens};
    int status = w->job->teacher ? ask_teacher(s, &in) : KD_OK;
    if (status < 0) return status;
    const kd_soft_targets soft = {.logits = s->told};
    const kd_loss_spec spec = {.hard_weight = (kd_real)loss->hard,
                               .kl_weight = (kd_real)loss->kl,
                               .temperature = (kd_real)loss->temperature,
                               .normalizer = normalizer};
    kd_loss_parts parts = {0};
    kd_tensor *states = kd_bert_states(w->student, tape, &in);
    kd_tensor *z = kd_bert_classes(w->student, tape, states, s->row.start, n);
    *out = kd_distill_loss(tape, z, s->row.label, NULL, loss->kl > 0 ? &soft : NULL, spec, &parts);
    sums->term[KD_ENCODER_KL] += parts.kl;
    sums->term[KD_ENCODER_HARD] += parts.hard;
    sums->rows += parts.rows;
    return KD_OK;
}

static int evaluate(kd_estimate *out, void *task, kd_tape *tape) {
    const kd_encoder_work *w = task;
    kd_encoder_score score;
    int status = kd_encoder_score_sentences(&score, w->student, w->job->held, w->job->length, tape);
    out[KD_ENCODER_ACCURACY] = kd_estimate_share(score.right, score.samples);
    out[KD_ENCODER_NATS] = kd_estimate_plain(score.nats / (double)score.samples, score.samples);
    return status;
}

const kd_encoder_objective kd_encoder_sentence_objective = {.size = sizeof(sentences),
                                                            .init = init,
                                                            .clear = clear,
                                                            .rows = rows,
                                                            .loss = loss_of,
                                                            .evaluate = evaluate,
                                                            .unit = "sentences"};
