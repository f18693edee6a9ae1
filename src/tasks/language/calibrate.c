#include "tasks/language/calibrate.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/order.h"
#include "base/rng.h"
#include "distill/budget.h"
#include "distill/trainer.h"

static const uint64_t SHUFFLE_SEED = 0x63616c6962;

typedef struct {
    const kd_llama *model;
    kd_contexts *contexts;
    int64_t *order;                 /* (contexts) */
    int32_t *token, *first, *label; /* (length) */
    uint8_t *valid;                 /* (length) */
    kd_tape *tape;
} reading;

/* Memory, and the contexts in the order in which they are taken. */
static int begin(reading *r) {
    const size_t count = (size_t)kd_contexts_count(r->contexts);
    const size_t length = (size_t)kd_contexts_length(r->contexts);
    r->order = malloc(count * sizeof *r->order);
    r->token = malloc(length * sizeof *r->token);
    r->first = malloc(length * sizeof *r->first);
    r->label = malloc(length * sizeof *r->label);
    r->valid = malloc(length);
    if (!r->order || !r->token || !r->first || !r->label || !r->valid)
        return kd_fail_memory(count * sizeof *r->order, "calibration contexts");
    kd_rng rng = kd_rng_init(SHUFFLE_SEED, 1);
    kd_rng_permutation(&rng, r->order, kd_contexts_count(r->contexts));
    return kd_tape_create(&r->tape, 0);
}

static void end(reading *r) {
    kd_tape_free(r->tape);
    free(r->order);
    free(r->token);
    free(r->first);
    free(r->label);
    free(r->valid);
}

/* The whole model over context i, the output matrix too. */
static kd_tensor *logits_of(reading *r, kd_tape *tape, int64_t i) {
    kd_contexts_read(r->contexts, i, r->token, r->first, r->label, r->valid);
    kd_tensor *h =
        kd_llama_hidden(r->model, tape, r->token, 1, kd_contexts_length(r->contexts), r->first);
    return kd_llama_logits(r->model, tape, h);
}

static int read_context(reading *r, int64_t i) {
    if (kd_tape_guard(r->tape)) return KD_EINTERNAL;
    kd_tape_reset(r->tape);
    logits_of(r, r->tape, i);
    return KD_OK;
}

static int read_all(reading *r, int64_t samples) {
    kd_progress progress;
    const int64_t n = kd_smaller(samples, kd_contexts_count(r->contexts));
    int status = KD_OK;
    r->tape->recording = r->tape->training = false;
    kd_progress_begin(&progress, "calibrate", "contexts", 1, 0, n);
    for (int64_t i = 0; i < n && status == KD_OK; i++) {
        status = read_context(r, r->order[i]);
        if (status == KD_OK && kd_train_take_stop())
            status = kd_fail(KD_EAGAIN, "stopped while calibrating; run again to go on");
        if (status == KD_OK) kd_progress_show(&progress, i + 1, "");
    }
    kd_progress_end(&progress);
    return status;
}

int kd_language_calibrate(kd_quantized *q, const kd_llama *model, kd_contexts *contexts,
                          int64_t samples) {
    reading r = {.model = model, .contexts = contexts};
    int status = begin(&r);
    if (status == KD_OK) do {
            kd_quantized_watch(q, r.tape);
            status = read_all(&r, samples);
            kd_quantized_unwatch(r.tape);
            if (status == KD_OK) status = kd_quantized_calibrated(q);
        } while (status == KD_CALIBRATE_AGAIN);
    end(&r);
    return status;
}

int kd_language_watch(kd_input_squares *seen, const kd_llama *model, kd_contexts *contexts,
                      int64_t samples) {
    reading r = {.model = model, .contexts = contexts};
    int status = begin(&r);
    if (status == KD_OK) {
        kd_input_squares_watch(seen, r.tape);
        status = read_all(&r, samples);
    }
    if (status == KD_OK) status = kd_input_squares_finish(seen);
    end(&r);
    return status;
}

static int answer(kd_tensor **out, void *context, kd_tape *tape, int64_t i) {
    reading *r = context;
    *out = logits_of(r, tape, r->order[i]);
    return KD_OK;
}

int kd_language_budget(kd_budget **out, const kd_budget_spec *spec,
                       const kd_quantizable *quantizable, const kd_llama *model,
                       kd_contexts *contexts, const char *name) {
    reading r = {.model = model, .contexts = contexts};
    int status = begin(&r);
    const kd_answers answers = {.params = model->params,
                                .samples = kd_smaller(spec->samples, kd_contexts_count(contexts)),
                                .answer = answer,
                                .context = &r};
    *out = NULL;
    if (status == KD_OK) status = kd_budget_make(out, spec, quantizable, &answers, name);
    end(&r);
    return status;
}
