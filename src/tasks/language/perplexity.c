#include "tasks/language/perplexity.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "distill/loss.h"

/* A context: tokens first … end − 1, of which those from `counted` on are foretold. */
typedef struct {
    int64_t first, end, counted;
} piece;

typedef struct {
    const kd_llama *model;
    kd_tape *tape;
    kd_real *hidden; /* (context,width)                                       */
    uint8_t *valid;  /* (context) whether the token behind this one counts    */
} work;

static int work_init(work *w, const kd_llama *model, int64_t context) {
    const size_t rows = (size_t)context;
    *w = (work){.model = model,
                .hidden = malloc(rows * (size_t)model->spec.width * sizeof *w->hidden),
                .valid = malloc(rows)};
    if (!w->hidden || !w->valid)
        return kd_fail_memory(rows * (size_t)model->spec.width * sizeof *w->hidden, "a context");
    return kd_tape_create(&w->tape, 0);
}

static void work_clear(work *w) {
    kd_tape_free(w->tape);
    free(w->hidden);
    free(w->valid);
}

/* The logits are made and dropped by tiles of the vocabulary (kd_vocab_loss). */
static int measure(work *w, kd_perplexity *out, const int32_t *id, const piece *p) {
    const int64_t T = p->end - p->first, width = w->model->spec.width;
    int status = kd_llama_run(w->model, w->tape, w->hidden, id + p->first, 1, T, NULL);
    if (status < 0) return status;
    if (kd_tape_guard(w->tape)) return KD_EINTERNAL;
    for (int64_t t = 0; t < T; t++) w->valid[t] = t + 1 < T && p->first + t + 1 >= p->counted;
    kd_tensor hidden = {
        .rank = 2, .shape = {T - 1, width}, .size = (T - 1) * width, .value = w->hidden};
    const kd_loss_spec spec = {.hard_weight = 1, .temperature = 1, .normalizer = 1};
    kd_loss_parts parts = {0};
    kd_vocab_loss(w->tape, &hidden, &w->model->output->tensor, id + p->first + 1, w->valid, NULL,
                  spec, &parts);
    out->nats += parts.hard;
    out->tokens += (int64_t)parts.rows;
    return KD_OK;
}

int kd_perplexity_of(kd_perplexity *out, const kd_llama *model, const int32_t *id, int64_t n,
                     int64_t context, int64_t stride, void (*done)(void *context, int64_t tokens),
                     void *told) {
    KD_CONTRACT(n >= 2 && context >= 2 && context <= model->spec.context && stride >= 0 &&
                    stride <= context,
                "%lld tokens, contexts of %lld, stride %lld", (long long)n, (long long)context,
                (long long)stride);
    work w;
    *out = (kd_perplexity){0};
    int status = work_init(&w, model, context);
    const int64_t step = stride > 0 ? stride : context;
    int64_t seen = 0;
    for (int64_t first = 0; first < n && seen < n && status == KD_OK; first += step) {
        const piece p = {.first = first,
                         .end = first + context < n ? first + context : n,
                         .counted = stride > 0 && seen > 0 ? seen : first + 1};
        if (p.end - p.first >= 2) status = measure(&w, out, id, &p);
        seen = p.end;
        if (done) done(told, seen);
    }
    work_clear(&w);
    return status;
}
