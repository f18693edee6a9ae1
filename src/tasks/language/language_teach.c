#include "tasks/language/language_teach.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/size.h"
#include "distill/teach.h"

/* Contexts that are compared with the teacher once more. */
enum { SAMPLED = 4 };

typedef struct {
    const kd_language_teaching *job;
    kd_tape *tape;
    int32_t *token, *first, *label; /* (length) */
    uint8_t *valid;                 /* (length) */
    kd_real *hidden; /* (length,width)                                                  */
    float *values;   /* of a context: hidden states (length − 1,width) or logits (…,V)  */
    float *output;   /* (V,width) of the teacher                                        */
} teaching;

static const kd_llama *model_of(const teaching *t) {
    return t->job->teacher->model;
}

static int64_t positions(const teaching *t) {
    return kd_contexts_length(t->job->contexts) - 1;
}

static int teaching_init(teaching *t, const kd_language_teaching *job) {
    *t = (teaching){.job = job};
    const kd_tensor *output = &model_of(t)->output->tensor;
    const int64_t V = output->shape[0], width = output->shape[1];
    const int64_t n = kd_contexts_length(job->contexts);
    const int64_t size = n * V; /* logits, which are wider, also for the comparison */
    t->token = malloc(kd_array_bytes(n, sizeof *t->token));
    t->first = malloc(kd_array_bytes(n, sizeof *t->first));
    t->label = malloc(kd_array_bytes(n, sizeof *t->label));
    t->valid = malloc(kd_array_bytes(n, 1));
    t->hidden = malloc(kd_array_bytes(n * width, sizeof *t->hidden));
    t->values = malloc(kd_array_bytes(size, sizeof *t->values));
    t->output = malloc(kd_array_bytes(V * width, sizeof *t->output));
    if (!t->token || !t->first || !t->label || !t->valid || !t->hidden || !t->values || !t->output)
        return kd_fail_memory(kd_array_bytes(size, sizeof *t->values), "logits");
    for (int64_t i = 0; i < V * width; i++) t->output[i] = (float)output->value[i];
    int status = kd_tape_create(&t->tape, 0);
    if (status == KD_OK) t->tape->precision = job->precision;
    return status;
}

static void teaching_clear(teaching *t) {
    kd_tape_free(t->tape);
    free(t->token);
    free(t->first);
    free(t->label);
    free(t->valid);
    free(t->hidden);
    free(t->values);
    free(t->output);
}

static kd_store_header describe(const teaching *t) {
    const kd_language_teacher *how = t->job->how;
    static const kd_store_kind kind[] = {[KD_TEACHER_HIDDEN] = KD_STORE_HIDDEN,
                                         [KD_TEACHER_TOPK] = KD_STORE_TOPK,
                                         [KD_TEACHER_SAMPLED] = KD_STORE_SAMPLED};
    const bool hidden = how->targets == KD_TEACHER_HIDDEN;
    const kd_llama_spec *spec = &model_of(t)->spec;
    kd_store_header header = {.kind = kind[how->targets],
                              .dtype = how->dtype,
                              .sequences = true,
                              .classes = spec->vocabulary,
                              .k = how->targets == KD_TEACHER_TOPK ? how->k : 0,
                              .draws = how->targets == KD_TEACHER_SAMPLED ? how->draws : 0,
                              .seed = t->job->seed,
                              .temperature_count = hidden ? 0 : 1,
                              .temperature = {t->job->temperature},
                              .width = hidden ? spec->width : 0,
                              .output = hidden ? t->output : NULL,
                              .views = 1,
                              .teacher = t->job->hash,
                              .class_list = kd_text_tokenizer_hash(t->job->teacher->tokenizer),
                              .data = kd_contexts_hash(t->job->contexts)};
    snprintf(header.description, sizeof header.description, "%.255s", t->job->description);
    return header;
}

/* Hidden states, or logits, of context i → t->values. */
static int answer(teaching *t, int64_t i, bool logits) {
    const kd_llama *m = model_of(t);
    const int64_t T = positions(t) + 1, width = m->spec.width;
    kd_contexts_read(t->job->contexts, i, t->token, t->first, t->label, t->valid);
    int status = kd_llama_run(m, t->tape, t->hidden, t->token, 1, T, t->first);
    if (status < 0) return status;
    if (kd_tape_guard(t->tape)) return KD_EINTERNAL;
    kd_tensor h = {.rank = 2, .shape = {T - 1, width}, .size = (T - 1) * width, .value = t->hidden};
    const kd_tensor *x = logits ? kd_llama_logits(m, t->tape, &h) : &h;
    for (int64_t k = 0; k < x->size; k++) t->values[k] = (float)x->value[k];
    kd_tape_reset(t->tape);
    return KD_OK;
}

static int64_t one_context(const void *context, int64_t row) {
    (void)context;
    (void)row;
    return 1;
}

static int64_t positions_of_context(const void *context, int64_t row, int64_t n) {
    (void)row;
    return n * positions(context);
}

static int answer_context(void *context, const kd_store_header *header, int64_t row, int64_t n,
                          void *packed) {
    teaching *t = context;
    const uint64_t id = (uint64_t)row;
    (void)n;
    int status = answer(t, row, header->kind != KD_STORE_HIDDEN);
    return status < 0 ? status : kd_store_pack(packed, header, positions(t), &id, 0, t->values);
}

static int append_context(void *context, kd_store_writer *writer, int64_t row, int64_t n,
                          const void *packed) {
    teaching *t = context;
    (void)n;
    kd_contexts_read(t->job->contexts, row, t->token, t->first, t->label, t->valid);
    return kd_store_writer_append_run(writer, 0, (uint64_t)row, positions(t), t->token + 1, packed);
}

/* KL(teacher ‖ store) per token, over some contexts all through the store; of draws, which give
 * most tokens no probability, the other way round. */
static int report_divergence(teaching *t, const kd_store *store) {
    const int64_t count = kd_contexts_count(t->job->contexts);
    const int64_t sampled = count < SAMPLED ? count : SAMPLED;
    double sum = 0;
    for (int64_t k = 0; k < sampled; k++) {
        const int64_t i = k * count / sampled;
        double mean;
        int status = answer(t, i, true);
        if (status == KD_OK)
            status = kd_store_divergence(&mean, store, 0, (uint64_t)i, positions(t),
                                         t->job->temperature, t->values);
        if (status < 0) return status;
        sum += mean;
    }
    const bool drawn = t->job->how->targets == KD_TEACHER_SAMPLED;
    kd_log("teach: KL(%s) %.2g nats a token at temperature %g, on %lld of %lld contexts",
           drawn ? "store ‖ teacher" : "teacher ‖ store", sum / (double)sampled,
           t->job->temperature, (long long)sampled, (long long)count);
    if (drawn)
        kd_log("teach: %.1f different ones of %d draws a token, 3 bytes each: %.1f bytes a token",
               (double)kd_store_drawn(store) / (double)kd_store_positions(store),
               t->job->how->draws,
               3 * (double)kd_store_drawn(store) / (double)kd_store_positions(store));
    return KD_OK;
}

int kd_language_teach(kd_store **out, kd_hash *content, const char *path,
                      const kd_language_teaching *job) {
    *out = NULL;
    teaching t;
    int status = teaching_init(&t, job);
    kd_teaching rows = {.origin = job->origin,
                        .rows = kd_contexts_count(job->contexts),
                        .unit = "contexts",
                        .context = &t,
                        .batch = one_context,
                        .answer = answer_context,
                        .positions = positions_of_context,
                        .append = append_context};
    if (status == KD_OK) {
        rows.header = describe(&t);
        status = kd_teach(out, content, path, &rows);
    }
    if (status == KD_OK) status = report_divergence(&t, *out);
    if (status < 0) {
        kd_store_free(*out);
        *out = NULL;
    }
    teaching_clear(&t);
    return status;
}

double kd_language_teach_bytes(const kd_language_teacher *how, const kd_llama_spec *teacher,
                               double tokens) {
    const double number = how->dtype == KD_STORE_F16 ? 2 : 4;
    if (how->targets == KD_TEACHER_TOPK) return tokens * (how->k * (4 + number) + 4);
    if (how->targets == KD_TEACHER_SAMPLED) /* one in four is new, of 50 draws */
        return tokens * 3 * (1 + how->draws / 4.0);
    return tokens * number * teacher->width + 4.0 * teacher->vocabulary * teacher->width;
}
