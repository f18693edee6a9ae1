#include "tasks/language/score.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/ranks.h"
#include "base/size.h"
#include "distill/loss.h"

/* A context, and what the two make of it. */
typedef struct {
    const kd_llama *model, *teacher;
    int64_t length;
    int32_t *token, *first, *label; /* (length)                                  */
    uint8_t *valid;                 /* (length)                                  */
    kd_real *hidden, *taught;       /* (length,width of the model, the teacher)  */
} work;

static int work_init(work *w, const kd_llama *model, const kd_llama *teacher, int64_t length) {
    const int64_t width = model->spec.width, wide = teacher ? teacher->spec.width : 1;
    *w = (work){.model = model, .teacher = teacher, .length = length};
    w->token = malloc(kd_array_bytes(length, sizeof *w->token));
    w->first = malloc(kd_array_bytes(length, sizeof *w->first));
    w->label = malloc(kd_array_bytes(length, sizeof *w->label));
    w->valid = malloc(kd_array_bytes(length, 1));
    w->hidden = malloc(kd_array_bytes(length * width, sizeof *w->hidden));
    w->taught = malloc(kd_array_bytes(length * wide, sizeof *w->taught));
    return w->token && w->first && w->label && w->valid && w->hidden && w->taught
               ? KD_OK
               : kd_fail_memory(kd_array_bytes(length * width, sizeof *w->hidden), "a context");
}

static void work_clear(work *w) {
    free(w->token);
    free(w->first);
    free(w->label);
    free(w->valid);
    free(w->hidden);
    free(w->taught);
}

/* The logits of neither exist as a whole (kd_vocab_loss). */
static int score(kd_language_score *out, work *w, kd_tape *tape) {
    const int64_t T = w->length, width = w->model->spec.width;
    const double began = kd_clock();
    int status = kd_llama_run(w->model, tape, w->hidden, w->token, 1, T, w->first);
    out->seconds += kd_clock() - began;
    if (status == KD_OK && w->teacher)
        status = kd_llama_run(w->teacher, tape, w->taught, w->token, 1, T, w->first);
    if (status < 0) return status;
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    kd_tensor h = {.rank = 2, .shape = {T, width}, .size = T * width, .value = w->hidden};
    kd_soft_targets soft = {.hidden = w->taught};
    if (w->teacher) {
        soft.output = w->teacher->output->tensor.value;
        soft.width = w->teacher->spec.width;
    }
    const kd_loss_spec spec = {
        .hard_weight = 1, .kl_weight = w->teacher != NULL, .temperature = 1, .normalizer = 1};
    kd_loss_parts parts = {0};
    kd_vocab_loss(tape, &h, &w->model->output->tensor, w->label, w->valid,
                  w->teacher ? &soft : NULL, spec, &parts);
    out->nats += parts.hard;
    out->divergence += parts.kl;
    out->right += parts.right;
    out->agreed += parts.agreed;
    out->targets += parts.rows;
    return KD_OK;
}

/* Of the ratio Σ nats / Σ targets, contexts drawn independently. */
static double standard_error(const kd_language_score *all, const kd_language_score *each,
                             int64_t n) {
    const double mean = all->nats / all->targets;
    double squares = 0;
    for (int64_t i = 0; i < n; i++) squares += pow(each[i].nats - mean * each[i].targets, 2);
    return n > 1 ? sqrt(squares * (double)n / (double)(n - 1)) / all->targets : NAN;
}

/* This rank's share of the contexts → its places in `each`. */
static int score_share(kd_language_score *each, work *w, kd_contexts *contexts, kd_tape *tape) {
    int64_t first, end;
    int status = KD_OK;
    kd_ranks_part(kd_rank(), kd_contexts_count(contexts), &first, &end);
    for (int64_t i = first; i < end && status == KD_OK; i++) {
        kd_ranks_alive("score", i - first);
        if (kd_contexts_read(contexts, i, w->token, w->first, w->label, w->valid) > 0)
            status = score(&each[i], w, tape);
    }
    return status;
}

int kd_language_score_of(kd_language_score *out, const kd_llama *model, const kd_llama *teacher,
                         kd_contexts *contexts, kd_tape *tape) {
    const int64_t count = kd_contexts_count(contexts);
    const size_t bytes = kd_array_bytes(count, sizeof *out);
    const bool recording = tape->recording, training = tape->training;
    work w;
    *out = (kd_language_score){0};
    kd_language_score *each = calloc(1, bytes + 1);
    int status = work_init(&w, model, teacher, kd_contexts_length(contexts));
    if (!each) status = kd_fail_memory(bytes, "the scores of contexts");
    tape->recording = tape->training = false;
    if (status == KD_OK) status = score_share(each, &w, contexts, tape);
    tape->recording = recording;
    tape->training = training;
    status = kd_ranks_worst(status);
    if (status == KD_OK) kd_ranks_gather_parts(each, count, sizeof *each);
    for (int64_t i = 0; i < count && status == KD_OK; i++) { /* in their order */
        out->nats += each[i].nats;
        out->divergence += each[i].divergence;
        out->right += each[i].right;
        out->agreed += each[i].agreed;
        out->targets += each[i].targets;
        out->seconds += each[i].seconds;
    }
    if (status == KD_OK) out->error = standard_error(out, each, count);
    free(each);
    work_clear(&w);
    return status;
}

/* --- beside another model ---------------------------------------------------------------------
 */

/* The logits of a context, in memory of the tape. */
static int logits_of(kd_tensor **out, const work *w, const kd_llama *model, kd_tape *tape) {
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    kd_tape_reset(tape);
    *out = kd_llama_logits(model, tape,
                           kd_llama_hidden(model, tape, w->token, 1, w->length, w->first));
    return KD_OK;
}

static int compare(kd_fidelity *f, const work *w, float *p, kd_tape *tape) {
    kd_tensor *z;
    const int64_t V = w->model->spec.vocabulary;
    int status = logits_of(&z, w, w->teacher, tape);
    if (status < 0) return status;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < w->length; t++) kd_fidelity_log_softmax(p + t * V, z->value + t * V, V);
    status = logits_of(&z, w, w->model, tape);
    return status < 0 ? status : kd_fidelity_add(f, p, z->value, w->length, V);
}

int kd_language_fidelity(kd_fidelity *f, const kd_llama *model, const kd_llama *like,
                         kd_contexts *contexts, kd_tape *tape) {
    work w;
    const bool recording = tape->recording, training = tape->training;
    const size_t bytes =
        kd_array_bytes(kd_contexts_length(contexts) * model->spec.vocabulary, sizeof(float));
    float *p = malloc(bytes);
    int status = work_init(&w, model, like, kd_contexts_length(contexts));
    if (!p) status = kd_fail_memory(bytes, "a context's answers");
    tape->recording = tape->training = false;
    for (int64_t i = 0; i < kd_contexts_count(contexts) && status == KD_OK; i++)
        if (kd_contexts_read(contexts, i, w.token, w.first, w.label, w.valid) > 0)
            status = compare(f, &w, p, tape);
    tape->recording = recording;
    tape->training = training;
    free(p);
    work_clear(&w);
    return status;
}
